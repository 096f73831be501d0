"""The console's people: names, roles, passwords, and an audit trail of what they changed."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from runtime.errors import L2BTError, OptionError
from runtime.extras import require
from triton_repo.console.archive.tables import AUDIT, PEOPLE, SESSIONS
from triton_repo.console.people.roles import ROLES, Role

_SHORTEST_PASSWORD = 10
_LONGEST_PASSWORD = 200
_LONGEST_NAME = 60
_LONGEST_NOTE = 500


@dataclass(frozen=True)
class Person:
    """Whoever is signed in.

    Attributes:
        name: As it stands in reviews and in the audit trail.
        role: What this person may do.
    """

    name: str
    role: str


@dataclass
class Trail:
    """What the audit trail says of a change.

    Attributes:
        what: In the past tense, once it is made.
    """

    what: str


class People:
    """All who may sign in.

    Args:
        engine: The archive.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        argon2: Any = require("argon2")
        self._hasher = argon2.PasswordHasher()
        self._mismatch: tuple[type[Exception], ...] = (
            argon2.exceptions.VerificationError,
            argon2.exceptions.InvalidHashError,
        )
        # Compared with where the name is unknown, so that both take as long.
        self._nobody = self._hasher.hash("nobody has this password")

    def are_none(self) -> bool:
        """Whether nobody can sign in yet."""
        with self._engine.connect() as connection:
            return not connection.scalar(select(func.count()).select_from(PEOPLE))

    def add(self, name: str, role: Role, password: str, *, by: str) -> Person:
        """Let somebody sign in.

        Raises:
            OptionError: The name, the role or the password cannot be, or the name is taken.
        """
        name = name.strip()
        if not name or len(name) > _LONGEST_NAME or not name.isprintable():
            raise OptionError(f"a name has 1 to {_LONGEST_NAME} printable characters")
        if role not in ROLES:
            raise OptionError(f"role {role!r}: expected one of {', '.join(ROLES)}")
        row = {"name": name, "role": role, "password_hash": self._hash(password)}
        try:
            with self._engine.begin() as connection:
                connection.execute(insert(PEOPLE).values(**row))
        except IntegrityError as error:
            raise OptionError(f"{name} can sign in already; choose another name") from error
        self.note(by, f"{name} may sign in as {role}")
        return Person(name, role)

    def remove(self, name: str, *, by: str) -> None:
        """Let somebody sign in no longer; ends this person's sessions.

        Raises:
            OptionError: It is the last engineer, who could let nobody in any more.
        """
        with self._engine.begin() as connection:
            found = connection.execute(select(PEOPLE.c.name, PEOPLE.c.role))
            roles = {row.name: row.role for row in found}
            if name not in roles:
                raise OptionError(f"nobody is called {name!r}")
            if roles[name] == "engineer" and list(roles.values()).count("engineer") == 1:
                raise OptionError(f"{name} is the last engineer; add another one first")
            connection.execute(delete(PEOPLE).where(PEOPLE.c.name == name))
            connection.execute(delete(SESSIONS).where(SESSIONS.c.name == name))
        self.note(by, f"{name} may sign in no longer")

    def check(self, name: str, password: str) -> Person | None:
        """The person, if the password is right."""
        with self._engine.connect() as connection:
            row = connection.execute(select(PEOPLE).where(PEOPLE.c.name == name)).mappings().first()
        known = self._nobody if row is None else str(row["password_hash"])
        try:
            self._hasher.verify(known, password[:_LONGEST_PASSWORD])
        except self._mismatch:
            return None
        return None if row is None else Person(str(row["name"]), str(row["role"]))

    def change_password(self, name: str, password: str) -> None:
        """Give somebody another password; ends this person's sessions, programs' too.

        Raises:
            OptionError: The password cannot be.
        """
        changed = (
            update(PEOPLE).where(PEOPLE.c.name == name).values(password_hash=self._hash(password))
        )
        with self._engine.begin() as connection:
            connection.execute(changed)
            connection.execute(delete(SESSIONS).where(SESSIONS.c.name == name))
        self.note(name, "changed the password")

    def all(self) -> list[Person]:
        """Everybody, by name."""
        with self._engine.connect() as connection:
            rows = connection.execute(select(PEOPLE.c.name, PEOPLE.c.role).order_by(PEOPLE.c.name))
            return [Person(str(name), str(role)) for name, role in rows]

    def note(self, who: str, what: str) -> int:
        """Write a change into the audit trail; the number of its entry."""
        row = {"at_s": time.time(), "who": who, "what": what[:_LONGEST_NOTE]}
        with self._engine.begin() as connection:
            written = connection.execute(insert(AUDIT).values(**row).returning(AUDIT.c.number))
            return int(written.scalar_one())

    @contextmanager
    def changing(self, who: str, what: str) -> Iterator[Trail]:
        """Write into the audit trail what is about to be changed elsewhere, then what came of it.

        Written beforehand, so that nothing is changed without a trace where the archive is full.

        Args:
            who: Who changes it.
            what: What is wished.

        Yields:
            What the trail shall say in the end.
        """
        number = self.note(who, f"{what}: begun")
        trail = Trail(what)
        try:
            yield trail
        except L2BTError:
            self._tell(number, f"{what}: refused")
            raise
        self._tell(number, trail.what)

    def audit(self, most: int = 200) -> list[Mapping[str, Any]]:
        """The latest changes, the newest first."""
        query = select(AUDIT).order_by(AUDIT.c.number.desc()).limit(most)
        with self._engine.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def _tell(self, number: int, what: str) -> None:
        told = update(AUDIT).where(AUDIT.c.number == number).values(what=what[:_LONGEST_NOTE])
        with self._engine.begin() as connection:
            connection.execute(told)

    def _hash(self, password: str) -> str:
        if not _SHORTEST_PASSWORD <= len(password) <= _LONGEST_PASSWORD:
            raise OptionError(
                f"a password has {_SHORTEST_PASSWORD} to {_LONGEST_PASSWORD} characters, and this "
                f"one has {len(password)}"
            )
        return str(self._hasher.hash(password))
