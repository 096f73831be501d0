"""The command `l2bt`, as a user types it."""

import subprocess
import sys
from pathlib import Path


def l2bt(*arguments: object, folder: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "l2bt", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
