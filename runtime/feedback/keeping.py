"""What a server keeps by itself of what it rejected, or nearly rejected, for people to review.

The server's first step leaves the image in a spool, and the last takes it from there: a thread of
its own puts what is to be kept into the inbox, and the rest is dropped. Nothing of it delays an
answer but the writing of the spool's file; what comes faster than it can be kept is dropped, and
told.
"""

import logging
import queue
import threading
import time

from runtime.errors import L2BTError
from runtime.feedback.inbox import KEPT_BY, Inbox
from runtime.feedback.keep_settings import KeepSettings
from runtime.feedback.reviewed_part import Kept
from runtime.images.spool import Spool
from runtime.inspections.inspection import Inspection

logger = logging.getLogger("l2bt.feedback")

_SWEEP_EVERY_S = 15.0
_MOST_WAITING = 32
# Some of the parts show what has changed; a line makes hundreds a minute.
_DRIFTED_EVERY_S = 10.0


class Keeper:
    """Takes what is to be kept from the spool into the inboxes, in a thread of its own.

    Args:
        settings: What is kept, and where.
    """

    def __init__(self, settings: KeepSettings) -> None:
        self._settings = settings
        self._spool = Spool(settings.spool)
        self._waiting: queue.Queue[tuple[str, str, Inspection, Kept] | None] = queue.Queue(
            _MOST_WAITING
        )
        self._inboxes: dict[str, Inbox] = {}
        self._drifted_at: dict[str, float] = {}
        self._thread = threading.Thread(target=self._work, name="keeper", daemon=True)
        self._thread.start()

    def consider(
        self, key: str, request_id: str, inspection: Inspection, *, has_drifted: bool = False
    ) -> None:
        """Keep the image of an inspection, if it is one to be kept; returns at once.

        Args:
            key: Of the spool.
            request_id: Names the image, if there is one.
            inspection: What came of it.
            has_drifted: Whether the product's drift is raised; then one part in ten seconds is
                kept that is not for another reason.
        """
        kind = self._settings.kept_as(
            inspection, has_drifted=has_drifted and self._wants_drifted(inspection.product)
        )
        if kind is None:
            self._spool.drop(key)
            return
        try:
            self._waiting.put_nowait((key, request_id, inspection, kind))
            if kind == "drifted":
                self._drifted_at[inspection.product] = time.monotonic() + _DRIFTED_EVERY_S
        except queue.Full:
            self._spool.drop(key)
            logger.warning("an image is not kept: %d others wait to be", _MOST_WAITING)

    def _wants_drifted(self, product: str) -> bool:
        return time.monotonic() >= self._drifted_at.get(product, 0.0)

    def close(self) -> None:
        """Keep what waits, and end."""
        self._waiting.put(None)
        self._thread.join()
        for inbox in self._inboxes.values():
            inbox.close()

    def _work(self) -> None:
        while True:
            try:
                self._spool.sweep()
                job = self._waiting.get(timeout=_SWEEP_EVERY_S)
                if job is None:
                    return
                self._keep(*job)
            except queue.Empty:
                continue
            except (L2BTError, OSError) as error:
                # Such as a full disk: the server goes on.
                logger.warning("an image is not kept: %s", error)
            except Exception:
                logger.exception("an image is not kept")

    def _keep(self, key: str, request_id: str, inspection: Inspection, kind: Kept) -> None:
        content = self._spool.take(key)
        if content is None:
            return
        product = inspection.product
        if product not in self._inboxes:
            self._inboxes[product] = Inbox(self._settings.inboxes, product)
        inbox = self._inboxes[product]
        if inbox.holds(content):
            # A line may show the same part twice; what was said of it stays.
            return
        inbox.add(
            content,
            name=request_id or key,
            review=None,
            who=KEPT_BY,
            score=inspection.score,
            threshold=inspection.threshold,
            version=inspection.version,
            kept=kind,
        )
        inbox.forget_oldest(round(self._settings.keep_limit_gb * 1e9))
