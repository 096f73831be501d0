"""A Ray cluster that the user named, or one that lives as long as the command."""

import os
import secrets
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from runtime.cluster.silent_ray import silent_ray
from runtime.errors import OptionError

LOCAL = "local"
"""In place of an address: a cluster of this machine alone, for the time of the command."""

_LISTENS_WITHIN_S = 10
_OBJECT_STORE_BYTES = 256 << 20


@contextmanager
def open_cluster(address: str, *, cpus: int | None = None) -> Iterator[Any]:
    """Give the module `ray`, connected.

    A cluster of this machine alone ends with the command, whatever ends that. Ray listens on all of
    the machine's addresses; what comes without the cluster's own random token is refused. Nobody is
    told that it was used.

    Args:
        address: host:port of a running cluster's head, or "local".
        cpus: Of a local cluster; all cores by default.

    Raises:
        MissingExtraError: Ray is not installed.
        OptionError: No cluster answers there, or it runs another version.
    """
    # All of these are read as Ray is imported; `runtime.telemetry` has opted out of its reports.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if address == LOCAL and "ray" not in sys.modules and "RAY_AUTH_MODE" not in os.environ:
        # Ray would make a token by itself, but leave it in the home folder.
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    if address != LOCAL:
        _require_listener(address)
    ray = silent_ray()
    common = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}
    try:
        if address == LOCAL:
            ray.init(
                address=LOCAL,
                num_cpus=cpus,
                include_dashboard=False,
                # What goes between processes is small; Ray would take a third of the memory.
                object_store_memory=_OBJECT_STORE_BYTES,
                **common,
            )
        else:
            ray.init(address=address, **common)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise _unusable(address, f"{_first_line(error)}; here is Ray {ray.__version__}") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _require_listener(address: str) -> None:
    """Refuse an address where nobody listens, for which Ray itself would look for minutes."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), _LISTENS_WITHIN_S):
            pass
    except (OSError, ValueError) as error:
        raise _unusable(address, str(error)) from error


def _unusable(address: str, reason: str) -> OptionError:
    return OptionError(
        f"no Ray cluster can be used at {address!r} ({reason}); expected host:port as `ray start "
        "--head` says it, of the same Ray and Python, or 'local'"
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
