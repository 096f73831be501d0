"""What a station keeps of its parts: images, and records for the console."""

import hashlib
import logging
import queue
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from runtime.errors import OptionError
from runtime.images.decode import load_image, read_encoded
from runtime.inspections.inspection import Inspection
from runtime.records.journal import Journal
from runtime.records.picture_room import PictureRoom
from runtime.records.record import InspectionRecord
from runtime.records.record_settings import RecordFolder, RecordSettings
from runtime.records.small_pictures import ShownParts, heat_png, small_jpeg, small_wh
from runtime.station.parts.counters import Counters
from runtime.station.parts.frame import Frame
from runtime.station.parts.ledger import Ledger
from runtime.station.parts.outcome import Outcome
from runtime.station.settings.station_settings import ArchiveSettings
from runtime.storage.atomic_write import atomic_write

logger = logging.getLogger("l2bt.station")

IMAGES_NAME = "images"
_MOST_WAITING = 32
_TIDY_EVERY_S = 600.0
_FORGET_EVERY_S = 60.0
_FORGOTTEN_AT_ONCE = 1_000
# A camera's images fill a disk in minutes, so whole minutes go.
_IMAGES_SPAN_S = 60
_TIDY_IMAGES_EVERY_S = 20.0
# The ledger counts more than an image: so much of a disk, or this share of a small one, is left.
_LEAST_FREE_BYTES, _LEAST_FREE_SHARE = 1_000_000_000, 0.05
_DAY_S = 86_400.0
# A clock that is set by more than this is not a clock that runs a little fast.
_CLOCK_STEP_S = 60.0


class Archive:
    """Keeps images and records in a thread of its own, so that no part waits for the disk.

    Args:
        settings: What is kept.
        folder: The station's.
        ledger: Whose old outcomes are forgotten.
        counters: What is counted.
        finished: Called with each frame whose image is not needed any more.
        is_needed: Whether a file of a source, by its key, must be known again.

    Raises:
        OptionError: A folder cannot be written.
    """

    def __init__(
        self,
        settings: ArchiveSettings,
        folder: Path,
        ledger: Ledger,
        counters: Counters,
        *,
        finished: Callable[[Frame], None],
        is_needed: Callable[[str, str], bool],
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._counters = counters
        self._finished = finished
        self._is_needed = is_needed
        self._images = folder / IMAGES_NAME
        try:
            self._images.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OptionError(f"{self._images} cannot be written: {error.strerror}") from error
        self._room = PictureRoom(self._images, limit_bytes=round(settings.images_limit_gb * 1e9))
        self._records = None
        if settings.records is not None:
            self._records = _Records(RecordSettings(records=settings.records))
        self._clock = _Clock()
        self._waiting: queue.Queue[tuple[Frame, Outcome, Inspection | None] | None] = queue.Queue(
            _MOST_WAITING
        )
        self._thread = threading.Thread(target=self._run, name="archive", daemon=True)

    @property
    def wants_map(self) -> bool:
        """Whether it draws anomaly maps."""
        return self._records is not None

    @property
    def is_alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Keep what waits, and end."""
        self._waiting.put(None)
        self._thread.join()
        if self._records is not None:
            self._records.close()

    def keep(self, frame: Frame, outcome: Outcome, inspection: Inspection | None) -> None:
        """Keep what the station file says of a part; from any thread."""
        try:
            self._waiting.put_nowait((frame, outcome, inspection))
        except queue.Full:
            self._counters.count("images_not_kept", "too many at a time")
            self._finished(frame)

    def _run(self) -> None:
        forget_at_s, images_at_s = 0.0, 0.0
        while True:
            if time.monotonic() >= forget_at_s:
                forget_at_s = time.monotonic() + _FORGET_EVERY_S
                self._forget()
            if time.monotonic() >= images_at_s:
                images_at_s = time.monotonic() + _TIDY_IMAGES_EVERY_S
                self._tidy_images()
            try:
                part = self._waiting.get(timeout=1.0)
            except queue.Empty:
                self._ledger.flush()
                continue
            if part is None:
                return
            frame, outcome, inspection = part
            try:
                self._keep(frame, outcome, inspection)
            except OSError as error:
                self._counters.count("images_not_kept", "disk")
                logger.warning("part %d is not kept: %s", outcome.part, error)
            except Exception:
                self._counters.count("images_not_kept", "failed")
                logger.exception("part %d is not kept", outcome.part)
            self._finished(frame)

    def _keep(self, frame: Frame, outcome: Outcome, inspection: Inspection | None) -> None:
        wanted = self._settings.images
        if wanted == "all" or (wanted == "rejected" and outcome.action != "accept"):
            self._keep_image(frame, outcome)
        if self._records is not None and inspection is not None:
            self._records.write(frame, inspection)

    def _keep_image(self, frame: Frame, outcome: Outcome) -> None:
        if not self._has_room():
            self._counters.count("images_not_kept", "little room")
            return
        suffix, content = _file_of(frame)
        verdict = outcome.verdict.replace(" ", "-")
        span = self._images / str(int(outcome.at_s // _IMAGES_SPAN_S))
        atomic_write(span / f"{outcome.part}-{outcome.source}-{verdict}{suffix}", content)

    def _has_room(self) -> bool:
        disk = shutil.disk_usage(self._images)
        return disk.free >= min(_LEAST_FREE_BYTES, _LEAST_FREE_SHARE * disk.total)

    def _tidy_images(self) -> None:
        try:
            self._room.tidy()
            # What the limit leaves may still be too much for the disk.
            now = int(time.time() // _IMAGES_SPAN_S)
            spans = sorted(int(path.name) for path in self._images.iterdir() if path.name.isdigit())
            for span in spans:
                if self._has_room() or span == now:
                    return
                shutil.rmtree(self._images / str(span), ignore_errors=True)
        except OSError as error:
            logger.warning("old images stay: %s", error)

    def _forget(self) -> None:
        """Forget what is too old, and then the oldest of what is too much."""
        try:
            if self._clock.is_steady():
                self._ledger.prune(time.time() - self._settings.days * _DAY_S, self._is_needed)
            limit_bytes = self._settings.outcomes_limit_gb * 1e9
            while self._ledger.used_bytes() > limit_bytes:
                if not self._ledger.prune(float("inf"), self._is_needed, most=_FORGOTTEN_AT_ONCE):
                    return
        except sqlite3.Error as error:
            # Such as a full disk; the next minute tries again.
            logger.warning("old outcomes are not forgotten: %s", error)


class _Records:
    """Writes records and small pictures as a server does."""

    def __init__(self, settings: RecordSettings) -> None:
        settings.to_environment()
        assert settings.records is not None
        self._folder = RecordFolder(settings.records)
        self._journal = Journal(
            self._folder.journal, limit_bytes=round(settings.records_limit_gb * 1e9)
        )
        self._room = PictureRoom(
            self._folder.pictures, limit_bytes=round(settings.pictures_limit_gb * 1e9)
        )
        self._shown = ShownParts()
        self._tidy_at_s = 0.0

    def write(self, frame: Frame, inspection: Inspection) -> None:
        """Write an inspection down, with its picture where it gets one."""
        content = frame.image
        sent = read_encoded(content) if isinstance(content, Path) else content
        image = load_image(sent, name=frame.frame_id)
        digest = hashlib.sha256(sent if isinstance(sent, bytes) else image.data)
        at_s = time.time()
        height, width = image.shape[:2]
        record = InspectionRecord.of(
            inspection,
            key=self._journal.next_key(),
            at_s=at_s,
            image_wh=(width, height),
            image_sha256=digest.hexdigest(),
            request_id=inspection.request_id,
        )
        if self._shown.wants(inspection, at_s):
            picture = self._folder.picture(at_s, record.key)
            atomic_write(picture, small_jpeg(image))
            if inspection.anomaly_map is not None:
                size = small_wh(width, height)
                heat = heat_png(inspection.anomaly_map, size, inspection.pixel_threshold)
                atomic_write(self._folder.heat(at_s, record.key), heat)
        self._journal.append(record)
        if time.monotonic() >= self._tidy_at_s:
            self._tidy_at_s = time.monotonic() + _TIDY_EVERY_S
            self._room.tidy()

    def close(self) -> None:
        """Complete the journal's segment."""
        self._journal.close()


class _Clock:
    """Whether the wall clock has run as the machine's own since the last look."""

    def __init__(self) -> None:
        self._ahead_s = time.time() - time.monotonic()

    def is_steady(self) -> bool:
        """False once after it was set: what is old by it may not be old."""
        before_s, self._ahead_s = self._ahead_s, time.time() - time.monotonic()
        step_s = self._ahead_s - before_s
        if abs(step_s) > _CLOCK_STEP_S:
            logger.warning("the clock was set by %+.0f s; nothing is taken for old by it", step_s)
            return False
        return True


def _file_of(frame: Frame) -> tuple[str, bytes]:
    """The suffix and content of a frame's file: its own, or a PNG of its pixels."""
    if isinstance(frame.image, Path):
        return frame.image.suffix, read_encoded(frame.image)
    pixels = np.asarray(load_image(frame.image))[..., ::-1]
    found, encoded = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not found:
        raise OSError("the image cannot be encoded as PNG")
    return ".png", encoded.tobytes()
