"""Old inspections leave the archive, some at a time, so that nobody waits for it."""

import logging
import threading
import time

from sqlalchemy.exc import SQLAlchemyError

from triton_repo.console.archive.inspections import Inspections

logger = logging.getLogger("l2bt.console")

_EVERY_S = 600.0
_PAUSE_S = 0.2
_DAY_S = 86400.0


class Retention:
    """Removes what is too old, in a thread of its own; a context manager.

    Args:
        inspections: The archive's.
        keep_days: How long they stay.
    """

    def __init__(self, inspections: Inspections, *, keep_days: float) -> None:
        self._inspections = inspections
        self._keep_s = keep_days * _DAY_S
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="retention", daemon=True)
        self._thread.start()

    def __enter__(self) -> "Retention":
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._ended.is_set():
            try:
                if self._inspections.forget_before(time.time() - self._keep_s):
                    self._ended.wait(_PAUSE_S)
                    continue
            except SQLAlchemyError as error:
                logger.warning("old inspections stay for now: %s", str(error).splitlines()[0])
            self._ended.wait(_EVERY_S)
