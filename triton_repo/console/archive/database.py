"""Opening the archive: SQLite by default, PostgreSQL by a URL."""

from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import SQLAlchemyError

from runtime.errors import ModelError, OptionError

_BUSY_S = 5.0


def open_database(place: str) -> Engine:
    """Open the archive, and make its tables if it is new.

    Args:
        place: A file of SQLite, or the URL of a database as SQLAlchemy writes it, such as
            postgresql+psycopg://user@host/name.

    Raises:
        OptionError: It cannot be opened.
        ModelError: A later version wrote it.
    """
    is_file = "://" not in place
    if is_file:
        Path(place).parent.mkdir(parents=True, exist_ok=True)
    url = f"sqlite:///{place}" if is_file else place
    try:
        engine = create_engine(url, **({"connect_args": {"timeout": _BUSY_S}} if is_file else {}))
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _prepare_sqlite)
        _bring_up_to_date(engine, place)
    except (SQLAlchemyError, ImportError) as error:
        raise OptionError(
            f"{place} cannot be opened as an archive ({_first_line(error)}); name a file that can "
            "be written, or the URL of a database whose driver is installed"
        ) from error
    return engine


def migrations() -> Config:
    """Where Alembic finds how archives are brought up to date."""
    config = Config()
    folder = Path(__file__).parent / "migrations"
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    return config


def _bring_up_to_date(engine: Engine, place: str) -> None:
    config = migrations()
    script = ScriptDirectory.from_config(config)
    with engine.begin() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
        if found == script.get_current_head():
            return
        known = {one.revision for one in script.walk_revisions()}
        if found is not None and found not in known:
            raise ModelError(
                f"{place} is an archive of revision {found}, which this version does not know; "
                "use the version of l2bt-edge that wrote it"
            )
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    # Who reads does not wait for who writes.
    cursor.execute("PRAGMA journal_mode = WAL")
    # A power cut loses nothing that was taken from the journal.
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
