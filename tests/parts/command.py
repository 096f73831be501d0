"""The command `l2bt`, as a user types it."""

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

from l2bt.command_line import main


def l2bt(*arguments: object, folder: Path) -> "subprocess.CompletedProcess[str]":
    """What the command's own function does and says, in this process: importing takes long.

    Args:
        *arguments: What stands behind `l2bt`.
        folder: Where the command is called.
    """
    command = ["l2bt", *map(str, arguments)]
    told, said = _Stream(errors="strict"), _Stream(errors="backslashreplace")
    with (
        _working_in(folder),
        patch.object(sys, "argv", command),
        patch.dict(os.environ),
        redirect_stdout(told),
        redirect_stderr(said),
    ):
        try:
            main()
        except SystemExit as end:
            status = end.code
            if isinstance(status, str):
                # As Python itself does it.
                print(status, file=sys.stderr)
                status = 1
    return subprocess.CompletedProcess(command, status or 0, told.text, said.text)


def l2bt_process(*arguments: object, folder: Path) -> "subprocess.CompletedProcess[str]":
    """The same in a process of its own, which has imported nothing before."""
    command = [sys.executable, "-m", "l2bt", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)


@contextmanager
def _working_in(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


class _Stream(io.TextIOWrapper):
    """Takes bytes too, and only text that can be encoded, as a process's stream does."""

    def __init__(self, *, errors: str) -> None:
        self._bytes = io.BytesIO()
        super().__init__(self._bytes, encoding="utf-8", errors=errors)

    @property
    def text(self) -> str:
        self.flush()
        return self._bytes.getvalue().decode()
