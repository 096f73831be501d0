"""A console in a process of its own, asked as a program does."""

import contextlib
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from runtime.errors import ServerError
from triton_repo.console.archive.database import open_database
from triton_repo.console.people.people import People
from triton_repo.console.people.sessions import Sessions


class RunningConsole:
    """A console in a process of its own, and a program's token for it."""

    def __init__(self, folder: Path, *options: str) -> None:
        engine = open_database(str(folder / "archive.sqlite"))
        People(engine).add("benchmark", "engineer", "only in this folder", by="benchmark")
        token = Sessions(engine).begin("benchmark")
        engine.dispose()
        self._headers = {"Authorization": f"Bearer {token}"}
        command = [sys.executable, "-m", "l2bt", "console", "--records", str(folder), "--port", "0"]
        self._process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self._address = self._process.stdout.readline().strip()
        if not self._address.startswith("http"):
            raise ServerError("the console did not start; see what it said above")

    def open(self, path: str) -> contextlib.AbstractContextManager[Iterator[bytes]]:
        """The lines of an answer, as they come."""
        request = urllib.request.Request(self._address + path, headers=self._headers)
        return contextlib.closing(urllib.request.urlopen(request, timeout=60))

    def get(self, path: str) -> bytes:
        """A whole answer."""
        with self.open(path) as answer:
            return b"".join(answer)

    def end(self) -> None:
        """End its process."""
        self._process.terminate()
        self._process.wait(20)
