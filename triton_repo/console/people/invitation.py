"""The link that lets the first engineer in: it holds once, while nobody can sign in."""

import secrets
import threading

from runtime.errors import OptionError
from triton_repo.console.people.people import People, Person


class Invitation:
    """Held in memory alone, so that the next start of the console makes another one.

    Args:
        key: What the link carries; None if somebody can sign in already.
    """

    def __init__(self, key: str | None) -> None:
        self.key = key
        self._lock = threading.Lock()

    def holds(self, key: str) -> bool:
        """Whether a link with this key lets somebody in."""
        return self.key is not None and secrets.compare_digest(self.key.encode(), key.encode())

    def accept(self, key: str, people: People, *, name: str, password: str) -> Person:
        """Let the first engineer in.

        Raises:
            OptionError: The link has been used, or the name or the password cannot be.
        """
        with self._lock:
            if not self.holds(key):
                raise OptionError(
                    "this link has been used, or the console was started again since; its latest "
                    "start printed the one that holds"
                )
            person = people.add(name, "engineer", password, by="the one-time link")
            self.key = None
        return person
