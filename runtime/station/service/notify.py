"""Word to systemd: the station is ready, alive, or ending."""

import os
import socket


def notify(*words: str) -> None:
    """Tell systemd, where it started this process and wants to be told (sd_notify(3)).

    Args:
        words: Such as "READY=1".
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        # A name in the kernel's own space.
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        try:
            sender.connect(address)
            sender.send("\n".join(words).encode())
        except OSError:
            # Systemd then misses a sign of life, and ends the process.
            return


def watchdog_s() -> float | None:
    """How often systemd wants a sign of life, in seconds; None if it wants none."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    us = os.environ.get("WATCHDOG_USEC", "")
    return int(us) / 1e6 if us.isdigit() and int(us) else None
