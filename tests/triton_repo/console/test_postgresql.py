"""A console whose archive is a real PostgreSQL."""

import time
from dataclasses import replace
from pathlib import Path

from runtime.records.journal import Journal
from runtime.records.record_settings import RecordSettings
from tests.parts.console import Pages
from tests.parts.records import record
from triton_repo.console.console import open_console
from triton_repo.console.settings import ConsoleSettings


def test_a_console_keeps_all_that_it_knows_in_postgresql(
    tmp_path: Path, empty_database: str
) -> None:
    RecordSettings(records=tmp_path / "records").to_environment()
    settings = ConsoleSettings(
        records=tmp_path / "records",
        archive=empty_database,
        inboxes=tmp_path / "inboxes",
        metrics="127.0.0.1:9",
    )
    journal = Journal(settings.folder.journal, limit_bytes=10**9)
    with open_console(settings) as console:
        pages = Pages(console, journal)
        pages.write(record(0), record(1))
        engineer = pages.visitor("engineer")
        form = {"review": "good", "csrf": pages.csrf(engineer)}
        assert engineer.post("/review/1", data=form).status_code == 200
        console.pauses.begin("engineer", "cleaning")
        pages.write(replace(record(2), at_s=time.time()))
        for path in ("/", "/archive", "/defects", "/review", "/people", "/metrics"):
            assert engineer.get(path).status_code == 200
    with open_console(settings) as again:
        assert again.pauses.now() is not None
        assert [row["review"] for row in again.inspections.find_since(0)] == ["good", None, None]
        assert [row["is_paused"] for row in again.inspections.find_since(0)] == [False, False, True]
    assert not (tmp_path / "records" / "archive.sqlite").exists()
    journal.close()
