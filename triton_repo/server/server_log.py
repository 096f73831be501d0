"""tritonserver's log: appended to, and rotated when it is large or somebody asks for it."""

import os
import shutil
from pathlib import Path
from typing import BinaryIO

MOST_BYTES = 64 << 20


class ServerLog:
    """A log file that a running server writes to at its end.

    Args:
        path: The file; what was in it before the last rotation stands beside it, with `.1` behind
            its name.
        most_bytes: From which size `rotate_if_large` rotates.
    """

    def __init__(self, path: Path, *, most_bytes: int = MOST_BYTES) -> None:
        self.path = path
        self._most_bytes = most_bytes
        self._start = 0

    def open(self) -> BinaryIO:
        """Open it for a server that starts; what earlier ones wrote stays."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # In this mode each write goes to the end, wherever a rotation has put that.
        file = self.path.open("ab")
        self._start = file.tell()
        return file

    def end(self, *, characters: int = 3000) -> str:
        """The last of what was written since `open`."""
        with self.path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            # After a rotation everything in it is newer.
            start = self._start if self._start <= size else 0
            file.seek(max(start, size - 4 * characters))
            return file.read().decode(errors="replace")[-characters:]

    def rotate(self) -> None:
        """Move what is in it aside, while the server goes on writing.

        The server keeps the file open, so its content is copied and the file emptied; what the
        server writes between the two is lost, which is a line at most.
        """
        with self.path.open("rb+") as file:
            aside = self.path.with_name(f"{self.path.name}.1")
            temporary = self.path.with_name(f".{self.path.name}.1.part")
            try:
                with temporary.open("wb") as copy:
                    shutil.copyfileobj(file, copy)
                temporary.replace(aside)
            finally:
                temporary.unlink(missing_ok=True)
            file.truncate(0)
        self._start = 0

    def rotate_if_large(self) -> bool:
        """Rotate it beyond its size, and say whether that was so."""
        if self.path.stat().st_size < self._most_bytes:
            return False
        self.rotate()
        return True
