"""Old inspections leave the archive, some at a time, so that nobody waits for it."""

import logging
import time

from sqlalchemy.exc import SQLAlchemyError

from triton_repo.console.archive.inspections import Inspections
from triton_repo.console.repeated import Repeated

logger = logging.getLogger("l2bt.console")

_EVERY_S = 600.0
_PAUSE_S = 0.2
_DAY_S = 86400.0


class Retention(Repeated):
    """Removes what is too old, in a thread of its own; a context manager.

    Args:
        inspections: The archive's.
        keep_days: How long they stay.
    """

    def __init__(self, inspections: Inspections, *, keep_days: float) -> None:
        super().__init__("retention", self._forget)
        self._inspections = inspections
        self._keep_s = keep_days * _DAY_S

    def _forget(self) -> float:
        try:
            if self._inspections.forget_before(time.time() - self._keep_s):
                return _PAUSE_S
        except SQLAlchemyError as error:
            reason = str(error).splitlines()[0]
            logger.warning("old inspections cannot be removed, which is tried again: %s", reason)
        return _EVERY_S
