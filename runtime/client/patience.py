"""Trying again what may be tried again: an inspection changes nothing at the server."""

import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

from runtime.errors import ServerUnavailableError

logger = logging.getLogger("l2bt.client")
Answer = TypeVar("Answer")
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0


def with_patience(ask: Callable[[], Answer], *, patience_s: float) -> Answer:
    """Ask until there is an answer, or an error that another try would not mend.

    Only `ServerUnavailableError` is tried again: there was no server, it was starting or stopping,
    its queue was full, or a part of it had died. The pauses double, and each is drawn from zero to
    its length, so that many clients do not come back all at once ("full jitter"). Each is told to
    the logger "l2bt.client".

    Args:
        ask: Asks once.
        patience_s: Seconds after which no other try is begun.

    Raises:
        ServerUnavailableError: The last try's, once the patience is spent.
    """
    end = time.monotonic() + patience_s
    longest = _FIRST_PAUSE_S
    while True:
        try:
            return ask()
        except ServerUnavailableError as error:
            pause = random.uniform(0, longest)
            if time.monotonic() + pause >= end:
                raise
            logger.info("asking again in %.1f s: %s", pause, error)
            time.sleep(pause)
            longest = min(2 * longest, _LONGEST_PAUSE_S)
