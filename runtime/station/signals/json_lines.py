"""A line of JSON for each outcome, at the end of a file or on the output stream."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from runtime.errors import SignalAwayError
from runtime.station.settings.signal_settings import STDOUT, JsonLinesSignal
from runtime.station.signals.delivery import Send


class JsonLines:
    """Writes lines, each whole or not at all.

    Args:
        settings: The signal's.
    """

    def __init__(self, settings: JsonLinesSignal) -> None:
        self.name = settings.name
        self._path = None if settings.path == STDOUT else settings.path

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Send]:
        """Nothing is kept open, so that the file may be rotated."""
        if self._path is not None:
            await asyncio.to_thread(_drop_half_line, self._path)
        yield self._send

    async def _send(self, content: bytes) -> None:
        await asyncio.to_thread(self._write, content + b"\n")

    def _write(self, line: bytes) -> None:
        try:
            if self._path is None:
                sys.stdout.buffer.write(line)
                sys.stdout.flush()
            else:
                _append(self._path, line)
        except OSError as error:
            where = self._path or "the output stream"
            raise SignalAwayError(f"{where} cannot be written: {error.strerror}") from error


def _append(path: Path, line: bytes) -> None:
    file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
    try:
        before = os.fstat(file).st_size
        written = os.write(file, line)
        if written < len(line):
            os.ftruncate(file, before)
            raise OSError(28, "No space left on device")
    finally:
        os.close(file)


def _drop_half_line(path: Path) -> None:
    """Take away what the end of a process or a full disk left of a line; it is told again."""
    try:
        with path.open("r+b") as file:
            end = file.seek(0, os.SEEK_END)
            tail_from = max(0, end - (1 << 20))
            file.seek(tail_from)
            whole = file.read().rfind(b"\n") + 1
            if tail_from + whole < end and (whole or not tail_from):
                file.truncate(tail_from + whole)
    except FileNotFoundError:
        return
    except OSError as error:
        raise SignalAwayError(f"{path} cannot be written: {error.strerror}") from error
