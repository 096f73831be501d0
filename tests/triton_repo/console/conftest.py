"""A console behind which a real server writes down what it inspects, and a real browser."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, sync_playwright

from runtime.feedback.keep_settings import KeepSettings
from runtime.models.exported_model import ExportedModel
from runtime.records.journal import Journal
from runtime.records.record_settings import RecordFolder, RecordSettings
from tests.parts.console import NAME, PASSWORD, Pages, RunningConsole, Watched
from triton_repo.configuration.build import build_repository
from triton_repo.console.archive.database import open_database
from triton_repo.console.archive.inspections import Inspections
from triton_repo.console.console import open_console
from triton_repo.console.settings import ConsoleSettings
from triton_repo.server.server import ServerSettings, TritonServer


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> RecordFolder:
    return RecordFolder(tmp_path_factory.mktemp("console") / "records")


@pytest.fixture(scope="module")
def recording_server(tiny_exported: ExportedModel, records: RecordFolder) -> Iterator[TritonServer]:
    records.folder.mkdir()
    repository = build_repository(tiny_exported, records.folder / "models")
    inboxes = records.folder.parent / "inboxes"
    keeping = KeepSettings(keep=("rejected", "borderline"), inboxes=inboxes)
    environment = {
        **RecordSettings(records=records.folder).to_environment(),
        **keeping.to_environment(),
    }
    ports = ServerSettings.on_free_ports(records.folder / "server.log")
    with TritonServer(repository, ports, environment=environment) as running:
        yield running


@pytest.fixture(scope="module")
def console(recording_server: TritonServer, records: RecordFolder) -> Iterator[RunningConsole]:
    running = RunningConsole(
        records.folder,
        recording_server.metrics_address,
        options=("--repository", str(records.folder / "models")),
    )
    yield running
    running.end()


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Inspections]:
    engine = open_database(str(tmp_path / "archive.sqlite"))
    yield Inspections(engine)
    engine.dispose()


@pytest.fixture
def pages(tmp_path: Path) -> Iterator[Pages]:
    settings = RecordSettings(records=tmp_path / "records")
    settings.to_environment()
    folder = RecordFolder(tmp_path / "records")
    journal = Journal(folder.journal, limit_bytes=10**9)
    with open_console(
        ConsoleSettings(
            records=folder.folder,
            inboxes=tmp_path / "inboxes",
            repository=tmp_path / "models",
            # Nobody answers at this port; the pages say so.
            metrics="127.0.0.1:9",
        )
    ) as console:
        yield Pages(console, journal)
    journal.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("no chromium on PATH looks at the console (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        # A container has no sandbox of its own to give, and root may not use chromium's.
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="session")
def axe() -> Axe:
    """What looks in a page for things that keep people out."""
    return Axe()


@pytest.fixture
def window(browser: Browser) -> Iterator[Watched]:
    opened = Watched(browser)
    yield opened
    opened.context.close()


@pytest.fixture(scope="module")
def engineer(console: RunningConsole, browser: Browser) -> RunningConsole:
    """The console, after the first engineer has come in by the link."""
    opened = Watched(browser)
    opened.page.goto(console.link)
    opened.page.get_by_label("Name").fill(NAME)
    opened.page.get_by_label("Password, ten").fill(PASSWORD)
    opened.page.get_by_label("The same again").fill(PASSWORD)
    opened.page.get_by_role("button", name="Begin").click()
    opened.page.get_by_role("heading", name="Live").wait_for(state="attached")
    opened.context.close()
    return console
