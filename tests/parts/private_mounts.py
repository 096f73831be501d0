"""Commands in a mount namespace of their own, where a small file system can be full."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def _cannot() -> str:
    if not sys.platform.startswith("linux") or shutil.which("unshare") is None:
        return "there is no unshare"
    command = ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stderr.strip() if result.returncode else ""


CANNOT_MOUNT = _cannot()
with_private_mounts = pytest.mark.skipif(
    bool(CANNOT_MOUNT), reason=f"needs a mount namespace of its own: {CANNOT_MOUNT}"
)


def command_with_small(folder: Path, kib: int, command: list[str]) -> list[str]:
    """A command that sees a small, empty file system at a folder; nobody else sees it."""
    script = f'mount -t tmpfs -o size={kib}k tmpfs "$0" && exec "$@"'
    return ["unshare", "-rm", "sh", "-c", script, str(folder), *command]


def run_with_small(
    folder: Path, kib: int, command: list[str]
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command_with_small(folder, kib, command),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
