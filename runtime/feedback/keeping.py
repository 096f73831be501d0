"""What a server keeps by itself of what it rejected, or nearly rejected, for people to review.

The image is at the server's first step, the verdict at its last. So the first leaves the image in a
spool, under a key that travels with the request, and the last takes it from there: a thread of its
own puts what is to be kept into the inbox, and the rest is dropped. Nothing of it delays an answer
but the writing of the spool's file; what comes faster than it can be kept is dropped, and told.
"""

import io
import logging
import queue
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np

from runtime.errors import L2BTError
from runtime.feedback.inbox import Inbox
from runtime.feedback.keep_settings import SPOOL, KeepSettings
from runtime.feedback.reviewed_part import Kept
from runtime.images.decode import ImageArray
from runtime.inspections.inspection import Inspection

logger = logging.getLogger("l2bt.feedback")

# Longer than a request takes; what never comes to its end must not fill the disk.
_STALE_S = 60.0
_SWEEP_EVERY_S = 15.0
_MOST_WAITING = 32
_WHO = "server"
# Some of the parts show what has changed; a line makes hundreds a minute.
_DRIFTED_EVERY_S = 10.0


def key_of(stamps_ns: Iterable[int]) -> str:
    """The key of a request's image: the times of its first step, which no other has."""
    return "-".join(str(int(stamp)) for stamp in stamps_ns)


class Spool:
    """Images on their way from a server's first step to its last.

    Args:
        settings: What is kept, and where.
    """

    def __init__(self, settings: KeepSettings) -> None:
        self._folder = settings.inboxes / SPOOL

    def put(self, key: str, image: ImageArray | bytes) -> None:
        """Leave an image, or a file's bytes; a full disk loses it and nothing else."""
        path = self._path(key)
        try:
            if isinstance(image, bytes):
                path.write_bytes(image)
            else:
                with path.open("wb") as file:
                    np.save(file, image)
        except OSError as error:
            path.unlink(missing_ok=True)
            logger.warning("an image cannot be kept: %s", error)

    def take(self, key: str) -> bytes | None:
        """The image as a file's bytes, gone from the spool; None if it is not there."""
        path = self._path(key)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        self.drop(key)
        if not content.startswith(np.lib.format.MAGIC_PREFIX):
            return content
        return _png(np.load(io.BytesIO(content), allow_pickle=False))

    def drop(self, key: str) -> None:
        """Forget an image."""
        with suppress(OSError):
            self._path(key).unlink()

    def sweep(self, older_than_s: float = _STALE_S) -> None:
        """Forget what requests left that never came to their end."""
        before = time.time() - older_than_s
        with suppress(FileNotFoundError):
            for path in self._folder.iterdir():
                # Another process may sweep too.
                with suppress(FileNotFoundError):
                    if path.stat().st_mtime < before:
                        path.unlink()

    def _path(self, key: str) -> Path:
        return self._folder / key


class Keeper:
    """Takes what is to be kept from the spool into the inboxes, in a thread of its own.

    Args:
        settings: What is kept, and where.
    """

    def __init__(self, settings: KeepSettings) -> None:
        self._settings = settings
        self._spool = Spool(settings)
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
            who=_WHO,
            score=inspection.score,
            threshold=inspection.threshold,
            version=inspection.version,
            kept=kind,
        )
        inbox.forget_oldest(round(self._settings.keep_limit_gb * 1e9))


def _png(pixels: ImageArray) -> bytes:
    # Quick rather than small: an inbox has a limit of its own.
    found, encoded = cv2.imencode(".png", pixels[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not found:
        raise OSError("the image cannot be encoded as PNG")
    return encoded.tobytes()
