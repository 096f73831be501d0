"""Opening the archive: SQLite by default, PostgreSQL by a URL."""

from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event, insert, select
from sqlalchemy.exc import SQLAlchemyError

from runtime.errors import ModelError, OptionError
from triton_repo.console.archive.tables import LAYOUT, LAYOUTS, METADATA

_BUSY_S = 5.0


def open_database(place: str) -> Engine:
    """Open the archive, and make its tables if it is new.

    Args:
        place: A file of SQLite, or the URL of a database as SQLAlchemy writes it, such as
            postgresql+psycopg://user@host/name.

    Raises:
        OptionError: It cannot be opened.
        ModelError: It is of another layout.
    """
    is_file = "://" not in place
    if is_file:
        Path(place).parent.mkdir(parents=True, exist_ok=True)
    url = f"sqlite:///{place}" if is_file else place
    try:
        engine = create_engine(url, **({"connect_args": {"timeout": _BUSY_S}} if is_file else {}))
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _prepare_sqlite)
        METADATA.create_all(engine)
        with engine.begin() as connection:
            found = connection.scalar(select(LAYOUTS.c.layout))
            if found is None:
                connection.execute(insert(LAYOUTS).values(layout=LAYOUT))
    except (SQLAlchemyError, ImportError) as error:
        raise OptionError(
            f"{place} cannot be opened as an archive ({_first_line(error)}); name a file that can "
            "be written, or the URL of a database whose driver is installed"
        ) from error
    if found not in (None, LAYOUT):
        raise ModelError(
            f"{place} is an archive of layout {found}; this version reads {LAYOUT}: use the "
            "version of l2bt-edge that wrote it"
        )
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    # Who reads does not wait for who writes.
    cursor.execute("PRAGMA journal_mode = WAL")
    # A power cut loses nothing that was taken from the journal.
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
