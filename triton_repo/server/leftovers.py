"""Removing what a supervisor that was killed has left behind."""

import os
from pathlib import Path
from typing import Any

from runtime.errors import ModelError, OptionError
from runtime.extras import require
from runtime.storage.json_files import read_json
from triton_repo.server.event_log import ServerState

_SHARED_MEMORY = Path("/dev/shm")


def remove_leftovers(state_path: Path) -> None:
    """Remove the shared memory of a server whose supervisor was killed.

    The server itself ends with its supervisor.

    Args:
        state_path: What that supervisor kept.

    Raises:
        OptionError: That supervisor is still at work.
    """
    try:
        before = read_json(state_path, ServerState)
    except ModelError:
        # None, or not one of ours; it is replaced.
        return
    if before.state == "stopped":
        return
    if _is_alive(before.supervisor_pid):
        raise OptionError(
            f"{state_path}: process {before.supervisor_pid} keeps a server at work with it; end "
            "that one, or choose another file with --state-path"
        )
    if before.shared_memory_prefix.startswith("l2bt"):
        remove_shared_memory(before.shared_memory_prefix)


def remove_shared_memory(prefix: str) -> None:
    """Remove the shared memory of python models whose name begins so."""
    for leftover in _SHARED_MEMORY.glob(f"{prefix}*"):
        leftover.unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    """Whether a process is a supervisor; its number may have been given to another one since."""
    psutil: Any = require("psutil")
    try:
        command = psutil.Process(pid).cmdline()
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
    return pid != os.getpid() and "serve" in command
