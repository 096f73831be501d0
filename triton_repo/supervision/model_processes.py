"""The processes of a server's python models, seen from outside.

Triton does not notice when one has died: it stays ready, and every request that meets it fails.
"""

from typing import Any

from runtime.extras import require

_STUB = "triton_python_backend_stub"


def model_processes(server_pid: int) -> dict[str, int]:
    """Process ids of the living python models, by the name of their instance.

    Args:
        server_pid: That of tritonserver.

    Returns:
        Such as {"preprocess_0_1": 4711}; empty if the server is not there.
    """
    psutil: Any = require("psutil")
    found = {}
    try:
        children = psutil.Process(server_pid).children()
    except psutil.NoSuchProcess:
        return {}
    for child in children:
        try:
            command = child.cmdline()
            alive = child.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            continue
        if alive and len(command) > 2 and command[0].endswith(_STUB):
            # The stub's arguments end with its instance's name and its runtime's.
            found[command[-2]] = child.pid
    return found


def model_of(instance: str) -> str:
    """The model of an instance: "preprocess" of "preprocess_0_1"."""
    return instance.rsplit("_", 2)[0]
