"""Which numbers a ledger gave out, told also on a full disk."""

import os
import struct
from pathlib import Path

_LAYOUT = struct.Struct("<QQ")


class GivenNumbers:
    """The last numbers that were given out, in a file that is overwritten where it lies.

    Args:
        path: The file; made if it is not there.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
        if os.fstat(self._file).st_size < _LAYOUT.size:
            self.write(0, 0)

    def read(self) -> tuple[int, int]:
        """The last part and the last sequence number."""
        part, sequence = _LAYOUT.unpack(os.pread(self._file, _LAYOUT.size, 0))
        return part, sequence

    def write(self, part: int, sequence: int) -> None:
        """Remember them."""
        os.pwrite(self._file, _LAYOUT.pack(part, sequence), 0)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)
