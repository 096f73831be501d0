"""Who is signed in: random tokens, of which the archive keeps digests alone."""

import hashlib
import secrets
import threading
import time
from dataclasses import dataclass

from sqlalchemy import Engine, delete, insert, select

from triton_repo.console.archive.tables import PEOPLE, SESSIONS
from triton_repo.console.people.people import Person

SESSION_S = 12 * 3600.0
"""How long a browser stays signed in: a shift and a half."""
PROGRAM_S = 5 * 365 * 86400.0
"""How long a program's token holds."""
_TRIES = 5
_WAIT_S = 30.0


@dataclass(frozen=True)
class Session:
    """Of a browser or a program.

    Attributes:
        person: Who is signed in.
        csrf: What each change must carry along, so that no other page can send it.
    """

    person: Person
    csrf: str


class Sessions:
    """All sessions.

    Args:
        engine: The archive.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def begin(self, name: str, *, lasts_s: float = SESSION_S) -> str:
        """Sign somebody in; the token to show from now on."""
        token = secrets.token_urlsafe(32)
        row = {
            "digest": _digest(token),
            "name": name,
            "csrf": secrets.token_urlsafe(24),
            "ends_at_s": time.time() + lasts_s,
        }
        with self._engine.begin() as connection:
            connection.execute(delete(SESSIONS).where(SESSIONS.c.ends_at_s < time.time()))
            connection.execute(insert(SESSIONS).values(**row))
        return token

    def find(self, token: str) -> Session | None:
        """The session of a token; None if it has ended."""
        query = (
            select(SESSIONS.c.name, PEOPLE.c.role, SESSIONS.c.csrf)
            .join_from(SESSIONS, PEOPLE, SESSIONS.c.name == PEOPLE.c.name)
            .where(SESSIONS.c.digest == _digest(token), SESSIONS.c.ends_at_s > time.time())
        )
        with self._engine.connect() as connection:
            row = connection.execute(query).first()
        return None if row is None else Session(Person(str(row[0]), str(row[1])), str(row[2]))

    def end(self, token: str) -> None:
        """Sign out."""
        with self._engine.begin() as connection:
            connection.execute(delete(SESSIONS).where(SESSIONS.c.digest == _digest(token)))


class Tries:
    """Wrong passwords of late: after some, a name and an address have to wait."""

    def __init__(self) -> None:
        self._wrong: dict[str, list[float]] = {}
        self._lock = threading.Lock()

    def begin(self, *whoever: str) -> float:
        """Count a try, as a wrong one until it is known to be right.

        Counted beforehand, so that many tries at once are no way around it.

        Returns:
            How long these have to wait before they may try, in seconds; then none was counted.
        """
        now_s = time.monotonic()
        with self._lock:
            waits = []
            for one in whoever:
                recent = [at for at in self._wrong.get(one, ()) if at > now_s - _WAIT_S]
                if len(recent) >= _TRIES:
                    waits.append(recent[-_TRIES] + _WAIT_S - now_s)
            if waits:
                return max(waits)
            for known, at in list(self._wrong.items()):
                if at[-1] < now_s - _WAIT_S:
                    del self._wrong[known]
            for one in whoever:
                self._wrong.setdefault(one, []).append(now_s)
            return 0.0

    def right(self, *whoever: str) -> None:
        """Forget wrong ones."""
        with self._lock:
            for one in whoever:
                self._wrong.pop(one, None)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
