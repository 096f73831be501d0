"""What a server's processes do to write down an inspection, with a small picture and its heat.

The record is written before the answer is sent, so whoever has an answer finds its record. Pictures
may be thinned out: accepted parts get a few a second, and a thread of its own draws the anomaly map
in a tenth of a core at most. Records are never thinned out.
"""

import hashlib
import logging
import queue
import threading
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from runtime.geometry.geometry import Geometry
from runtime.images.decode import ImageArray
from runtime.images.spool import Spool
from runtime.inspections.inspection import Inspection
from runtime.records.journal import Journal
from runtime.records.picture_room import PictureRoom
from runtime.records.record import InspectionRecord
from runtime.records.record_settings import RecordFolder, RecordSettings
from runtime.records.small_pictures import ShownParts, heat_png, small_jpeg, small_wh
from runtime.storage.atomic_write import atomic_write

logger = logging.getLogger("l2bt.records")

_DIGEST_CHARACTERS = 64
_MOST_WAITING = 16
_SHARE_OF_A_CORE = 0.1
_SWEEP_EVERY_S = 15.0
_TIDY_EVERY_S = 600.0


def leave_picture(spool: Spool, key: str, image: ImageArray, content: bytes | None) -> None:
    """Leave a small picture of an image for the last step, with the digest of what was sent.

    Args:
        spool: On its way.
        key: The request's.
        image: (H, W, 3) uint8 RGB.
        content: The file's bytes; None if the pixels were sent.
    """
    sent = np.ascontiguousarray(image).data if content is None else content
    spool.put(key, hashlib.sha256(sent).hexdigest().encode() + small_jpeg(image))


class Recorder:
    """Writes down a process's inspections.

    Args:
        settings: Where.
    """

    def __init__(self, settings: RecordSettings) -> None:
        assert settings.records is not None
        self._folder = RecordFolder(settings.records)
        self._spool = Spool(self._folder.spool)
        self._journal = Journal(
            self._folder.journal, limit_bytes=round(settings.records_limit_gb * 1e9)
        )
        self._room = PictureRoom(
            self._folder.pictures, limit_bytes=round(settings.pictures_limit_gb * 1e9)
        )
        self._tidy_at_s = 0.0
        self._shown = ShownParts()
        self._ended = threading.Event()
        self._waiting: queue.Queue[
            tuple[Path, tuple[int, int], npt.NDArray[np.float32], Geometry, float] | None
        ] = queue.Queue(_MOST_WAITING)
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
        self._thread.start()

    def record(
        self,
        key: str,
        request_id: str,
        inspection: Inspection,
        *,
        geometry: Geometry,
        patch_maps: npt.NDArray[np.float32],
    ) -> None:
        """Write down an inspection; a full disk costs the record, and is told.

        Args:
            key: Of the spool.
            request_id: Under which the server's log has it.
            inspection: What was found.
            geometry: That of the image.
            patch_maps: (N, rows, columns) float32, from which the heat is drawn.
        """
        left = self._spool.take(key)
        at_s = time.time()
        try:
            record = InspectionRecord.of(
                inspection,
                key=self._journal.next_key(),
                at_s=at_s,
                image_wh=(geometry.image_width, geometry.image_height),
                image_sha256="" if left is None else left[:_DIGEST_CHARACTERS].decode(),
                request_id=request_id,
            )
            picture = b"" if left is None else left[_DIGEST_CHARACTERS:]
            if picture and self._shown.wants(inspection, at_s):
                self._keep_picture(record, picture, geometry, patch_maps)
            self._journal.append(record)
        except OSError as error:
            logger.error("an inspection is not written down: %s", error)
            self._journal.close()
        except Exception:
            # The answer is worth more than its record.
            logger.exception("an inspection is not written down")

    def close(self) -> None:
        """Draw what waits, and end."""
        self._ended.set()
        self._waiting.put(None)
        self._thread.join()
        self._journal.close()

    def _keep_picture(
        self,
        record: InspectionRecord,
        jpeg: bytes,
        geometry: Geometry,
        patch_maps: npt.NDArray[np.float32],
    ) -> None:
        path = self._folder.picture(record.at_s, record.key)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(path, jpeg)
        except OSError as error:
            # The record counts more than its picture.
            logger.warning("a picture is not kept: %s", error)
            return
        size = small_wh(geometry.image_width, geometry.image_height)
        heat = self._folder.heat(record.at_s, record.key)
        try:
            # A copy, since the server's memory is another request's when the map is drawn.
            own = patch_maps.copy()
            self._waiting.put_nowait((heat, size, own, geometry, record.pixel_threshold))
        except queue.Full:
            logger.debug("the map of %s is not drawn: others wait", record.key)

    def _work(self) -> None:
        while True:
            try:
                self._spool.sweep()
                if time.monotonic() >= self._tidy_at_s:
                    self._tidy_at_s = time.monotonic() + _TIDY_EVERY_S
                    self._room.tidy()
                job = self._waiting.get(timeout=_SWEEP_EVERY_S)
                if job is None:
                    return
                began_s = time.thread_time()
                _draw_heat(*job)
                self._ended.wait((time.thread_time() - began_s) * (1 / _SHARE_OF_A_CORE - 1))
            except queue.Empty:
                continue
            except OSError as error:
                logger.warning("a map is not kept: %s", error)
            except Exception:
                logger.exception("a map is not kept")


def _draw_heat(
    path: Path,
    size: tuple[int, int],
    patch_maps: npt.NDArray[np.float32],
    geometry: Geometry,
    pixel_threshold: float,
) -> None:
    anomaly_map = geometry.pixel_map(patch_maps).pixels()
    atomic_write(path, heat_png(anomaly_map, size, pixel_threshold))
