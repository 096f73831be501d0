"""The room that pictures may take: whole folders go, the oldest first."""

import logging
import os
import shutil
from pathlib import Path

logger = logging.getLogger("l2bt.records")

# So many of the latest folders may still be written to.
_OPEN_FOLDERS = 2


class PictureRoom:
    """Keeps a folder of pictures within its room.

    Args:
        pictures: With a folder for each span of time, such as an hour, under its number.
        limit_bytes: Of all of them together.
    """

    def __init__(self, pictures: Path, *, limit_bytes: int) -> None:
        self._pictures = pictures
        self._limit_bytes = limit_bytes
        self._bytes_of: dict[Path, int] = {}

    def tidy(self) -> int:
        """Remove the oldest folders until the rest has room; how many were removed.

        The latest two always stay.

        Raises:
            OSError: A folder cannot be read or removed.
        """
        folders = sorted(
            (path for path in self._pictures.iterdir() if path.name.isdigit()),
            key=lambda path: int(path.name),
        )
        for path in folders[:-_OPEN_FOLDERS]:
            # What no picture comes to any more is looked over once.
            if path not in self._bytes_of:
                self._bytes_of[path] = _bytes_in(path)
        total = sum(self._bytes_of.get(path, 0) or _bytes_in(path) for path in folders)
        removed = 0
        for path in folders[:-_OPEN_FOLDERS]:
            if total <= self._limit_bytes:
                break
            # Another process may do the same.
            shutil.rmtree(path, ignore_errors=True)
            total -= self._bytes_of.pop(path)
            removed += 1
        if removed:
            logger.info("%d folders of pictures are removed, to keep within their room", removed)
        return removed


def _bytes_in(folder: Path) -> int:
    total = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    total += entry.stat().st_size
                except FileNotFoundError:
                    continue
    except FileNotFoundError:
        return 0
    return total
