"""Taking a server's records into the archive as they are written, each once.

How far a segment was read is committed together with its records, so an end at any moment neither
loses nor doubles one. A segment that is read to its end, and that nobody writes to any more, is
removed.
"""

import fcntl
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from runtime.errors import OptionError
from runtime.records.journal import is_complete, read_from, segments
from triton_repo.console.archive.inspections import Inspections, Row
from triton_repo.console.repeated import Repeated

logger = logging.getLogger("l2bt.console")

_POLL_S = 0.05
_AFTER_FAILURE_S = 2.0
_LOCK = ".reader"


class Follower(Repeated):
    """Takes records over in a thread of its own; a context manager.

    Args:
        journal: Folder of a server's segments.
        inspections: The archive's.
        tell: Called with what has come into the archive, in this thread.

    Raises:
        OptionError: Another console reads there, or the folder cannot be read.
    """

    def __init__(
        self,
        journal: Path,
        inspections: Inspections,
        *,
        tell: Callable[[Sequence[Row]], None],
    ) -> None:
        super().__init__("follower", self._follow)
        self._journal = journal
        self._inspections = inspections
        self._tell = tell
        self._read: dict[str, int] = {}
        self.failure = ""
        self._lock = _take_alone(journal)

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        os.close(self._lock)

    def _follow(self) -> float:
        try:
            took = self.take()
            self.failure = ""
        except (OSError, SQLAlchemyError) as error:
            # Such as a full disk or a locked database: the records stay in the journal.
            self.failure = str(error).splitlines()[0]
            logger.warning("records wait in %s: %s", self._journal, self.failure)
            return _AFTER_FAILURE_S
        return 0.0 if took else _POLL_S

    def take(self) -> int:
        """Take over what is there now; how many records it was.

        Raises:
            OSError: A segment cannot be read.
            SQLAlchemyError: The archive cannot be written.
        """
        took = 0
        for path, size in segments(self._journal):
            name = path.stem
            if name not in self._read:
                self._read[name] = self._inspections.read_bytes(name)
            # Asked before it is read: what is written until then is read.
            complete = is_complete(path) if size == self._read[name] else False
            if size > self._read[name]:
                took += self._take_from(path)
            elif complete and path.stat().st_size == self._read[name]:
                path.unlink(missing_ok=True)
                self._inspections.forget_segment(name)
                del self._read[name]
        return took

    def _take_from(self, path: Path) -> int:
        name = path.stem
        read = read_from(path, self._read[name])
        if read.unreadable:
            logger.warning("%s holds %d lines that are no records", path, read.unreadable)
        if read.end == self._read[name]:
            # A line that a process was killed in; it is never completed.
            if is_complete(path):
                path.unlink(missing_ok=True)
                self._inspections.forget_segment(name)
                del self._read[name]
            return 0
        rows = self._inspections.add(read.records, segment=name, read_bytes=read.end)
        self._read[name] = read.end
        if rows:
            self._tell(rows)
        return len(rows)


def _take_alone(journal: Path) -> int:
    try:
        lock = os.open(journal / _LOCK, os.O_CREAT | os.O_RDWR, 0o644)
    except OSError as error:
        raise OptionError(
            f"{journal} cannot be read ({error.strerror}); name the folder that the server writes "
            "to with --records, as in l2bt serve --records FOLDER"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise OptionError(
            f"another console takes over the records of {journal}; open that one in the browser, "
            "or end it first"
        ) from error
    return lock
