"""Records on their way from a server's processes to whoever collects them, by files of lines.

Each process appends to a segment of its own, which it holds locked as long as it writes to it. So
a reader knows by the lock whether more may come, whatever has become of the process. A record is
one line, written by one call; what a full disk cuts off is taken back. What was written survives
the end of the process in any way, and not that of the machine: nothing is synchronised to the disk.
"""

import fcntl
import logging
import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from runtime.records.record import InspectionRecord

logger = logging.getLogger("l2bt.records")

_SEGMENT_BYTES = 8_000_000
_SUFFIX = ".jsonl"
_LARGEST_READ_BYTES = 1_000_000


class Journal:
    """Writes records; for one process, and one thread of it.

    Args:
        folder: Where all segments lie; it must be there.
        limit_bytes: Of all segments together; the oldest that are complete go first.
        segment_bytes: From which size on a new segment is begun.
    """

    def __init__(
        self, folder: Path, *, limit_bytes: int, segment_bytes: int = _SEGMENT_BYTES
    ) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._segment_bytes = segment_bytes
        self._file: int | None = None
        self._name = ""
        self._size = 0
        self._records = 0

    def next_key(self) -> str:
        """The key for the next record.

        Raises:
            OSError: No segment can be begun.
        """
        if self._file is None or self._size >= self._segment_bytes:
            self._begin()
        return f"{self._name}-{self._records}"

    def append(self, record: InspectionRecord) -> None:
        """Write a record, whole or not at all.

        Raises:
            OSError: The disk is full, or the folder is gone.
        """
        line = msgspec.json.encode(record) + b"\n"
        if self._file is None:
            self._begin()
        assert self._file is not None
        written = os.write(self._file, line)
        if written < len(line):
            os.ftruncate(self._file, self._size)
            raise OSError(28, "the disk is full; a record is not written", str(self._folder))
        self._size += written
        self._records += 1

    def close(self) -> None:
        """Complete the segment; the next record begins another."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def _begin(self) -> None:
        self.close()
        self._drop_oldest()
        # Segments sort by their beginning.
        self._name = f"{time.time_ns():x}-{secrets.token_hex(3)}"
        hidden = self._folder / f".{self._name}"
        file = os.open(hidden, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o644)
        try:
            # Locked before it can be seen: no reader takes it for complete.
            fcntl.flock(file, fcntl.LOCK_EX)
            hidden.rename(self._folder / (self._name + _SUFFIX))
        except OSError:
            os.close(file)
            hidden.unlink(missing_ok=True)
            raise
        self._file, self._size, self._records = file, 0, 0

    def _drop_oldest(self) -> None:
        found = segments(self._folder)
        total = sum(size for _, size in found)
        for path, size in found:
            if total <= self._limit_bytes:
                return
            if is_complete(path):
                path.unlink(missing_ok=True)
                total -= size
                logger.warning(
                    "%s is dropped: nobody has collected its records, and all together have more "
                    "than %.3g GB",
                    path,
                    self._limit_bytes / 1e9,
                )


@dataclass(frozen=True, kw_only=True)
class Read:
    """What was read of a segment.

    Attributes:
        records: In their order.
        end: Where the next record begins, in bytes.
        unreadable: Lines that are no record.
    """

    records: tuple[InspectionRecord, ...]
    end: int
    unreadable: int


def segments(folder: Path) -> list[tuple[Path, int]]:
    """All segments with their sizes in bytes, the oldest first."""
    found = []
    for entry in os.scandir(folder):
        if entry.name.endswith(_SUFFIX) and not entry.name.startswith("."):
            try:
                found.append((Path(entry.path), entry.stat().st_size))
            except FileNotFoundError:
                # Dropped meanwhile.
                continue
    return sorted(found)


def is_complete(segment: Path) -> bool:
    """Whether nobody writes to it any more."""
    try:
        file = os.open(segment, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(file)
    return True


def read_from(segment: Path, start: int) -> Read:
    """Read a segment's next records, about a megabyte at most.

    Args:
        segment: Its file.
        start: Where to begin, in bytes: 0, or the `end` of what was read before.
    """
    with segment.open("rb") as file:
        file.seek(start)
        content = file.read(_LARGEST_READ_BYTES)
        if b"\n" not in content:
            content += file.readline()
    whole, found, _ = content.rpartition(b"\n")
    records, unreadable = [], 0
    for line in whole.split(b"\n") if found else ():
        try:
            records.append(msgspec.json.decode(line, type=InspectionRecord))
        except (msgspec.DecodeError, UnicodeDecodeError):
            unreadable += 1
    return Read(records=tuple(records), end=start + len(whole) + len(found), unreadable=unreadable)


def each_record(folder: Path) -> Iterator[InspectionRecord]:
    """All records that lie in a journal now, the oldest segment first; none is taken away."""
    for path, _ in segments(folder):
        end = -1
        read = read_from(path, 0)
        while read.end > end:
            yield from read.records
            end = read.end
            read = read_from(path, end)
