"""The console's own process: how it listens, ends and comes back."""

import ssl
import subprocess
import sys
from pathlib import Path

import httpx2 as httpx
import pytest

from runtime.records.journal import Journal
from runtime.records.record_settings import RecordFolder, RecordSettings
from tests.parts.console import PASSWORD, RunningConsole
from tests.parts.private_mounts import run_with_small, with_private_mounts
from tests.parts.records import record
from triton_repo.server.certificates import make_certificates

NOBODY = "127.0.0.1:9"


@pytest.fixture
def folder(tmp_path: Path) -> RecordFolder:
    RecordSettings(records=tmp_path / "records").to_environment()
    return RecordFolder(tmp_path / "records")


def _begin(console: RunningConsole, client: httpx.Client) -> None:
    key = console.link.partition("key=")[2]
    form = {"key": key, "name": "Ada", "password": PASSWORD, "again": PASSWORD}
    assert client.post("/first", data=form).status_code == 303


def test_a_console_that_is_killed_goes_on_where_it_was_and_keeps_its_people(
    folder: RecordFolder,
) -> None:
    journal = Journal(folder.journal, limit_bytes=10**9)
    with httpx.Client() as client:
        with RunningConsole(folder.folder, NOBODY) as console:
            client.base_url = httpx.URL(console.address)
            _begin(console, client)
            for number in range(300):
                journal.append(record(number))
            console.kill()
        for number in range(300, 400):
            journal.append(record(number))
        journal.close()
        with RunningConsole(folder.folder, NOBODY) as again:
            assert "/first" not in again.link
            client.base_url = httpx.URL(again.address)
            requests: list[str] = []
            for _ in range(100):
                page = client.get("/api/inspections", params={"most": 500}).json()
                requests = [one["request_id"] for one in page["inspections"]]
                if len(requests) == 400:
                    break
            assert sorted(requests) == sorted(f"request-{number}" for number in range(400))


def test_with_a_certificate_it_speaks_tls_alone_and_its_cookie_is_for_that(
    folder: RecordFolder, tmp_path: Path
) -> None:
    made = tmp_path / "certificates"
    make_certificates(made, ["127.0.0.1"])
    options = (
        *("--tls-certificate", str(made / "server.pem")),
        *("--tls-key", str(made / "server.key")),
    )
    with RunningConsole(folder.folder, NOBODY, options=options) as console:
        assert console.address.startswith("https://")
        trust = ssl.create_default_context(cafile=str(made / "ca.pem"))
        with httpx.Client(base_url=console.address, verify=trust) as client:
            _begin(console, client)
            assert client.get("/").status_code == 200
            form = {"name": "Ada", "password": PASSWORD, "then": "/"}
            assert "Secure" in client.post("/sign-in", data=form).headers["Set-Cookie"]
        with pytest.raises(httpx.HTTPError):
            httpx.get(console.address.replace("https", "http"))


def _start(*options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "l2bt", "console", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_two_consoles_do_not_read_one_folder(folder: RecordFolder) -> None:
    with RunningConsole(folder.folder, NOBODY):
        second = _start("--records", str(folder.folder), "--port", "0")
    assert second.returncode == 1
    assert "another" in second.stderr


def test_a_port_that_is_taken_is_named(folder: RecordFolder, tmp_path: Path) -> None:
    other = tmp_path / "other"
    RecordSettings(records=other).to_environment()
    with RunningConsole(folder.folder, NOBODY) as console:
        port = console.address.rpartition(":")[2]
        second = _start("--records", str(other), "--port", port)
    assert second.returncode == 1
    assert f"the console cannot listen at 127.0.0.1:{port}" in second.stderr


@with_private_mounts
def test_on_a_full_disk_nothing_is_lost_and_pages_say_what_is_the_matter(
    folder: RecordFolder, tmp_path: Path
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    result = run_with_small(small, 2048, [sys.executable, "-c", _FULL, str(small)])
    assert result.returncode == 0, result.stderr
    told = result.stdout.splitlines()
    assert "cannot be read or written at this moment" in told[0]
    assert told[1] == "500"


_FULL = """
import sys, time
from pathlib import Path
from runtime.records.journal import Journal
from runtime.records.record_settings import RecordSettings
from tests.parts.console import Pages
from tests.parts.records import record
from triton_repo.console.console import open_console
from triton_repo.console.settings import ConsoleSettings

small = Path(sys.argv[1])
records = small.parent / "on-another-disk"
RecordSettings(records=records).to_environment()
settings = ConsoleSettings(
    records=records, archive=str(small / "archive.sqlite"), metrics="127.0.0.1:9"
)
journal = Journal(settings.folder.journal, limit_bytes=10**9)
with open_console(settings) as console:
    pages = Pages(console, journal)
    engineer = pages.visitor("engineer")
    csrf = pages.csrf(engineer)
    ballast = small / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1024))
        except OSError:
            pass
    for number in range(500):
        journal.append(record(number))
    while not console.follower.failure:
        time.sleep(0.05)
    form = {"name": "Bob", "role": "viewer", "password": "ten letters and more", "csrf": csrf}
    answer = engineer.post("/people/add", data=form)
    assert answer.status_code == 503
    print(" ".join(answer.text.split()))
    ballast.unlink()
    while console.inspections.latest_number() < 500:
        time.sleep(0.05)
    print(len(console.inspections.find_since(0, most=1000)))
journal.close()
"""
