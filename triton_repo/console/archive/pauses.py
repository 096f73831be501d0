"""Pauses of a line: while one lasts, what is inspected is marked, and counted apart."""

import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, insert, select, update

from runtime.errors import OptionError
from triton_repo.console.archive.tables import PAUSES

_LONGEST_REASON = 200


@dataclass(frozen=True, kw_only=True)
class Pause:
    """One pause.

    Attributes:
        began_at_s: When, in seconds since 1970.
        began_by: Who paused.
        why: For what reason.
        ended_at_s: When it ended; None while it lasts.
        ended_by: Who resumed.
    """

    began_at_s: float
    began_by: str
    why: str
    ended_at_s: float | None
    ended_by: str | None


class Pauses:
    """All pauses.

    Args:
        engine: The archive.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        with engine.connect() as connection:
            self._lasting = _now(connection)

    def now(self) -> Pause | None:
        """The pause that lasts; None if there is none."""
        return self._lasting

    def begin(self, who: str, why: str) -> Pause:
        """Pause.

        Raises:
            OptionError: There is a pause already, or no reason is given.
        """
        why = " ".join(why.split())
        if not 1 <= len(why) <= _LONGEST_REASON:
            raise OptionError(
                f"the reason has {len(why)} characters; say in 1 to {_LONGEST_REASON} why the line "
                "pauses"
            )
        with self._engine.begin() as connection:
            lasting = _now(connection)
            if lasting is not None:
                raise OptionError(f"{lasting.began_by} has paused already: {lasting.why}")
            begun = Pause(
                began_at_s=time.time(), began_by=who, why=why, ended_at_s=None, ended_by=None
            )
            connection.execute(insert(PAUSES).values(**vars(begun)))
        self._lasting = begun
        return begun

    def end(self, who: str) -> Pause:
        """Resume.

        Returns:
            The pause that lasted.

        Raises:
            OptionError: There is none.
        """
        with self._engine.begin() as connection:
            lasting = _now(connection)
            if lasting is None:
                raise OptionError("nothing is paused; somebody else has resumed already")
            connection.execute(
                update(PAUSES)
                .where(PAUSES.c.ended_at_s.is_(None))
                .values(ended_at_s=time.time(), ended_by=who)
            )
        self._lasting = None
        return lasting


def times_paused(
    connection: Connection, since_s: float, until_s: float
) -> list[tuple[float, float]]:
    """When it was paused between two times: beginnings and ends, in seconds since 1970."""
    columns = PAUSES.c
    query = select(columns.began_at_s, columns.ended_at_s).where(
        columns.began_at_s <= until_s,
        columns.ended_at_s.is_(None) | (columns.ended_at_s >= since_s),
    )
    return [
        (float(began_s), float("inf") if ended_s is None else float(ended_s))
        for began_s, ended_s in connection.execute(query)
    ]


def _now(connection: Connection) -> Pause | None:
    row = connection.execute(select(PAUSES).where(PAUSES.c.ended_at_s.is_(None))).mappings().first()
    return None if row is None else _pause(dict(row))


def _pause(row: dict[str, Any]) -> Pause:
    row.pop("number")
    return Pause(**row)
