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
    console = RunningConsole(folder.folder, NOBODY)
    with httpx.Client(base_url=console.address) as client:
        _begin(console, client)
        for number in range(300):
            journal.append(record(number))
        console.kill()
        for number in range(300, 400):
            journal.append(record(number))
        journal.close()
        again = RunningConsole(folder.folder, NOBODY)
        assert "/first" not in again.link
        client.base_url = httpx.URL(again.address)
        requests: list[str] = []
        for _ in range(100):
            page = client.get("/api/inspections", params={"most": 500}).json()
            requests = [one["request_id"] for one in page["inspections"]]
            if len(requests) == 400:
                break
        assert sorted(requests) == sorted(f"request-{number}" for number in range(400))
        again.end()


def test_with_a_certificate_it_speaks_tls_alone_and_its_cookie_is_for_that(
    folder: RecordFolder, tmp_path: Path
) -> None:
    made = tmp_path / "certificates"
    make_certificates(made, ["127.0.0.1"])
    console = RunningConsole(
        folder.folder,
        NOBODY,
        options=(
            *("--tls-certificate", str(made / "server.pem")),
            *("--tls-key", str(made / "server.key")),
        ),
    )
    assert console.address.startswith("https://")
    trust = ssl.create_default_context(cafile=str(made / "ca.pem"))
    with httpx.Client(base_url=console.address, verify=trust) as client:
        _begin(console, client)
        assert client.get("/").status_code == 200
        again = client.post("/sign-in", data={"name": "Ada", "password": PASSWORD, "then": "/"})
        assert "Secure" in again.headers["Set-Cookie"]
    with pytest.raises(httpx.HTTPError):
        httpx.get(console.address.replace("https", "http"))
    console.end()


def test_two_consoles_do_not_read_one_folder(folder: RecordFolder) -> None:
    console = RunningConsole(folder.folder, NOBODY)
    command = [sys.executable, "-m", "l2bt", "console", "--records", str(folder.folder)]
    second = subprocess.run(
        [*command, "--port", "0"], capture_output=True, text=True, timeout=60, check=False
    )
    console.end()
    assert second.returncode == 1
    assert "another" in second.stderr


def test_a_port_that_is_taken_is_named(folder: RecordFolder, tmp_path: Path) -> None:
    console = RunningConsole(folder.folder, NOBODY)
    port = console.address.rpartition(":")[2]
    other = tmp_path / "other"
    RecordSettings(records=other).to_environment()
    command = [sys.executable, "-m", "l2bt", "console", "--records", str(other)]
    second = subprocess.run(
        [*command, "--port", port], capture_output=True, text=True, timeout=60, check=False
    )
    console.end()
    assert second.returncode == 1
    assert f"the console cannot listen at 127.0.0.1:{port}" in second.stderr
