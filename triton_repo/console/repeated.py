"""What the console does again and again beside its pages."""

import logging
import threading
from collections.abc import Callable
from typing import TypeVar

logger = logging.getLogger("l2bt.console")

_AFTER_FAILURE_S = 5.0
_Self = TypeVar("_Self", bound="Repeated")


class Repeated:
    """Work that is done again and again, in a thread of its own; a context manager.

    Args:
        name: Of the thread.
        work: Does it once, and says how long to wait until the next time, in seconds.
    """

    def __init__(self, name: str, work: Callable[[], float]) -> None:
        self._repeat = work
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self: _Self) -> _Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(self._once()):
            pass

    def _once(self) -> float:
        try:
            return self._repeat()
        except Exception:
            # Pages must not stand still for good because of something that nobody thought of.
            logger.exception("%s failed, and is tried again", self._thread.name)
            return _AFTER_FAILURE_S
