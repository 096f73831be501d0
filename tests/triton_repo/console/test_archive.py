"""The archive: each record once, found again, and quick to look through."""

import csv
import io
import multiprocessing
import os
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.errors import ModelError, OptionError
from runtime.records.journal import Journal
from runtime.records.record_settings import RecordSettings
from tests.parts.console import Pages
from tests.parts.records import RECORD, record
from triton_repo.console.archive.database import open_database
from triton_repo.console.archive.follow import Follower
from triton_repo.console.archive.inspections import Inspections, Place, Wanted
from triton_repo.console.archive.sheets import as_csv, as_parquet, each_row
from triton_repo.console.archive.tables import METADATA


def _follow_until_killed(archive: Path, journal: Path) -> None:
    with Follower(journal, Inspections(open_database(str(archive))), tell=lambda _: None):
        time.sleep(600)


def test_no_record_is_lost_or_doubled_while_the_console_is_killed_again_and_again(
    tmp_path: Path,
) -> None:
    folder, archive = tmp_path / "journal", tmp_path / "archive.sqlite"
    folder.mkdir()
    Inspections(open_database(str(archive)))
    # Two processes of a server write; segments are small, so that many are completed and removed.
    writers = [Journal(folder, limit_bytes=10**9, segment_bytes=100_000) for _ in range(2)]
    written: list[str] = []
    started = multiprocessing.get_context("spawn")
    for _ in range(3):
        process = started.Process(target=_follow_until_killed, args=(archive, folder), daemon=True)
        process.start()
        for _ in range(1700):
            for writer in writers:
                one = replace(record(len(written)), key=writer.next_key())
                writer.append(one)
                written.append(one.key)
        time.sleep(0.3)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    for writer in writers:
        writer.close()
    inspections = Inspections(open_database(str(archive)))
    told: list[str] = []
    before = inspections.latest_number()
    with Follower(folder, inspections, tell=lambda rows: told.extend(row["key"] for row in rows)):
        for _ in range(600):
            if not list(folder.glob("*.jsonl")):
                break
            time.sleep(0.1)
    assert list(folder.glob("*.jsonl")) == []
    assert len(told) == len(written) - before
    found = [row["key"] for row in _all(inspections, Wanted())]
    assert Counter(found) == Counter(written)


def _all(inspections: Inspections, wanted: Wanted) -> list[Any]:
    found: list[Any] = []
    after: Place | None = None
    while rows := inspections.find(wanted, after=after, most=7):
        found += rows
        after = Place.read(str(Place.of(rows[-1])))
    return found


_RECORDS = st.lists(
    st.tuples(
        st.sampled_from(("plate", "pasta")),
        st.sampled_from(("good", "review", "defective")),
        st.integers(0, 4),
        st.sampled_from((0.0, 0.91, 1.0, 1.5)),
    ),
    max_size=40,
)


@given(
    rows=_RECORDS,
    product=st.sampled_from((None, "plate", "nothing")),
    verdict=st.sampled_from((None, "good", "defective")),
    since=st.sampled_from((None, 0, 2)),
    least=st.sampled_from((None, 0.91, 1.2)),
)
@settings(max_examples=40)
def test_pages_of_a_search_give_each_that_is_wanted_once_the_newest_first(
    rows: Sequence[tuple[str, str, int, float]],
    product: str | None,
    verdict: Any,
    since: int | None,
    least: float | None,
) -> None:
    inspections = Inspections(open_database(":memory:"))
    records = [
        replace(RECORD, key=f"key-{number}", product=name, verdict=kind, at_s=at_s, score=score)
        for number, (name, kind, at_s, score) in enumerate(rows)
    ]
    inspections.add(records, segment="segment", read_bytes=1)
    wanted = Wanted(product=product, verdict=verdict, since_s=since, least_score=least)
    expected = [
        one
        for one in records
        if product in (None, one.product)
        and verdict in (None, one.verdict)
        and (since is None or one.at_s >= since)
        and (least is None or one.score >= least)
    ]
    # Of the same time, those come first that came last.
    expected.sort(key=lambda one: (one.at_s, records.index(one)), reverse=True)
    assert [row["key"] for row in _all(inspections, wanted)] == [one.key for one in expected]


def test_rejected_and_borderline_parts_wait_for_a_person_until_somebody_says_what_they_are(
    archive: Inspections,
) -> None:
    kinds = (("good", 0.89), ("good", 0.95), ("review", 0.97), ("defective", 1.5))
    records = [
        replace(record(number), verdict=verdict, score=score)
        for number, (verdict, score) in enumerate(kinds)
    ]
    archive.add(records, segment="segment", read_bytes=1)
    waiting = archive.find(Wanted(to_review=True))
    assert [row["score"] for row in waiting] == [1.5, 0.97, 0.95]
    archive.review(waiting[0]["number"], "good", who="Ada")
    assert archive.count_to_review() == 2
    assert (archive.last_reviewed("Ada") or {})["number"] == waiting[0]["number"]
    archive.review(waiting[0]["number"], None, who="")
    assert archive.count_to_review() == 3
    assert archive.last_reviewed("Ada") is None


def test_old_inspections_leave_the_archive_and_no_number_is_given_twice(
    archive: Inspections,
) -> None:
    archive.add([record(number) for number in range(10)], segment="segment", read_bytes=1)
    highest = archive.latest_number()
    assert archive.forget_before(record(4).at_s, most=3) == 3
    assert archive.forget_before(record(4).at_s, most=3) == 1
    assert archive.forget_before(record(20).at_s) == 6
    (row,) = archive.add([record(11)], segment="segment", read_bytes=2)
    assert row["number"] > highest


def test_tables_for_other_programs_hold_what_is_in_the_archive(archive: Inspections) -> None:
    records = [replace(record(0), product="=1+1"), record(1)]
    archive.add(records, segment="segment", read_bytes=1)
    lines = list(csv.DictReader(io.StringIO("".join(as_csv(each_row(archive, Wanted()))))))
    # A spreadsheet would compute what begins like a formula.
    assert [line["product"] for line in lines] == ["plate", "'=1+1"]
    assert [float(line["score"]) for line in lines] == [1.5, 1.5]
    table = pyarrow.parquet.read_table(io.BytesIO(as_parquet(each_row(archive, Wanted()))))
    rows = table.to_pylist()
    assert [row["product"] for row in rows] == ["plate", "=1+1"]
    expected = datetime.fromtimestamp(records[1].at_s, timezone.utc)
    assert (rows[0]["time"], rows[0]["regions"], rows[0]["review"]) == (expected, 1, None)
    assert as_parquet([])


def test_a_locked_database_keeps_records_waiting_and_pages_say_so_until_it_is_free(
    pages: Pages,
) -> None:
    pages.write(record(0))
    viewer = pages.visitor("viewer")
    other = sqlite3.connect(pages.console.settings.database, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    pages.journal.append(record(1))
    for _ in range(600):
        if pages.console.follower.failure:
            break
        time.sleep(0.05)
    assert "locked" in pages.console.follower.failure
    # Readers do not wait for the lock.
    assert "wait to be taken into the archive" in viewer.get("/").text
    assert "locked" in viewer.get("/api/counters").json()["records_wait"]
    answer = viewer.post("/sign-out", data={"csrf": pages.csrf(viewer)})
    assert answer.status_code == 503
    assert "No inspection is lost" in answer.text
    other.execute("ROLLBACK")
    other.close()
    for _ in range(200):
        if pages.console.inspections.latest_number() == 2:
            break
        time.sleep(0.05)
    assert pages.console.inspections.latest_number() == 2
    assert pages.console.follower.failure == ""


def test_a_second_console_is_refused_while_one_takes_the_records(pages: Pages) -> None:
    with pytest.raises(OptionError, match="another console takes over the records"):
        Follower(
            pages.console.settings.folder.journal, pages.console.inspections, tell=lambda _: None
        )


def test_what_is_no_archive_is_refused_with_its_name(tmp_path: Path) -> None:
    wrong = tmp_path / "picture.jpg"
    wrong.write_bytes(b"no database" * 1000)
    with pytest.raises(OptionError, match=r"picture\.jpg cannot be opened as an archive"):
        open_database(str(wrong))
    with pytest.raises(OptionError, match="whose driver is installed"):
        open_database("nothing://host/name")
    later = tmp_path / "later.sqlite"
    open_database(str(later)).dispose()
    with sqlite3.connect(later) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    with pytest.raises(ModelError, match="revision 9999, which this version does not know"):
        open_database(str(later))


def test_an_archive_that_was_brought_up_to_date_has_the_tables_of_this_version(
    archive: Inspections,
) -> None:
    with archive.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []


def test_without_a_folder_of_records_the_console_says_where_it_comes_from(tmp_path: Path) -> None:
    archive = Inspections(open_database(":memory:"))
    with pytest.raises(OptionError, match="l2bt serve --records FOLDER"):
        Follower(tmp_path / "missing", archive, tell=lambda _: None)


def test_a_segment_that_was_cut_by_a_kill_is_read_as_far_as_it_goes_and_removed(
    tmp_path: Path,
) -> None:
    folder = RecordSettings(records=tmp_path)
    folder.to_environment()
    journal = Journal(tmp_path / "journal", limit_bytes=10**9)
    journal.append(record(0))
    journal.close()
    (segment,) = (tmp_path / "journal").glob("*.jsonl")
    with segment.open("ab") as file:
        file.write(b'{"key": "cut')
    inspections = Inspections(open_database(str(tmp_path / "archive.sqlite")))
    with Follower(tmp_path / "journal", inspections, tell=lambda _: None):
        for _ in range(100):
            if not segment.exists():
                break
            time.sleep(0.05)
    assert not segment.exists()
    assert inspections.latest_number() == 1
