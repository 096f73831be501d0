"""A console behind which a real server writes down what it inspects, and a real browser."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from pgserver.postgres_server import get_server
from playwright.sync_api import Browser, sync_playwright
from sqlalchemy import create_engine, text

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
    with RunningConsole(
        records.folder,
        recording_server.metrics_address,
        options=("--repository", str(records.folder / "models")),
    ) as running:
        yield running


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a real PostgreSQL, without a database yet that a test uses."""
    with get_server(tmp_path_factory.mktemp("pg"), cleanup_mode="stop") as running:
        yield str(running.get_uri()).replace("postgresql://", "postgresql+psycopg://")


@pytest.fixture
def empty_database(postgresql: str, request: pytest.FixtureRequest) -> str:
    """Address of a database of its own."""
    name = f"archive_{abs(hash(request.node.nodeid))}"
    engine = create_engine(postgresql, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return postgresql.replace("/postgres?", f"/{name}?")


@pytest.fixture(params=["sqlite", "postgresql"])
def archive(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Inspections]:
    place = str(tmp_path / "archive.sqlite")
    if request.param == "postgresql":
        place = request.getfixturevalue("empty_database")
    engine = open_database(place)
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
            reports=tmp_path / "reports",
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
