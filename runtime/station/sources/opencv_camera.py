"""USB cameras and streams such as RTSP, by OpenCV: frames as they come, and none that is stale."""

import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from runtime.errors import SourceAwayError
from runtime.station.parts.frame import Frame, LostFrame
from runtime.station.settings.source_settings import CameraSource
from runtime.station.sources.source import (
    TriggerMessage,
    Triggers,
    each_trigger,
    lost_trigger,
)

# Over TCP, so that no part of a frame is lost on the way without a word.
_STREAM_OPTIONS = "rtsp_transport;tcp"
_KEPT_FRAMES = 8


class OpenCvCamera:
    """A camera that runs all the time.

    OpenCV gives 8-bit colour whatever the camera sends, as its driver or FFmpeg makes it. It tells
    of no lost frames and has no frame numbers, so frames are numbered as they come.

    Args:
        settings: The source's.
        triggers: Messages for it.
    """

    def __init__(self, settings: CameraSource, triggers: Triggers) -> None:
        self._settings = settings
        self._triggers = triggers
        self._count = 0
        self._reader: _Reader | None = None

    def frames(self, stop: threading.Event) -> Iterator[Frame | LostFrame]:
        """Frames as they come, or as they are asked for."""
        self.close()
        reader = self._reader = _Reader(self._settings)
        if self._settings.trigger == "free":
            yield from self._free(reader, stop)
        else:
            yield from self._triggered(reader, stop)

    def finished(self, frame: Frame) -> None:
        """Nothing is to be done."""

    def close(self) -> None:
        """Release the camera."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    def _free(self, reader: "_Reader", stop: threading.Event) -> Iterator[Frame | LostFrame]:
        before = 0
        while not stop.is_set():
            found = reader.newer_than(before, self._settings.answers_within_s, stop)
            if found is None:
                return
            count, at_s, image = found
            for _ in range(before + 1, count):
                self._count += 1
                yield LostFrame(
                    source=self._settings.name,
                    frame_id=str(self._count),
                    reason="the station has not taken the frame before",
                    triggered_s=at_s,
                )
            before = count
            yield self._frame(image, at_s, TriggerMessage(triggered_s=at_s))

    def _triggered(self, reader: "_Reader", stop: threading.Event) -> Iterator[Frame | LostFrame]:
        for message in each_trigger(self._triggers, self._settings.every_s, stop):
            if message is None:
                reader.check()
                continue
            try:
                found = reader.newer_than(reader.count, self._settings.answers_within_s, stop)
            except SourceAwayError as error:
                yield lost_trigger(self._settings.name, message, str(error))
                raise
            if found is None:
                yield lost_trigger(self._settings.name, message, "the station is ending")
            else:
                yield self._frame(found[2], found[1], message)

    def _frame(self, image: Any, arrived_s: float, message: TriggerMessage) -> Frame:
        self._count += 1
        is_asked_for = self._settings.trigger != "free"
        triggered_s = message.triggered_s if is_asked_for else arrived_s
        return Frame(
            source=self._settings.name,
            frame_id=str(self._count),
            image=np.ascontiguousarray(image[..., ::-1]),
            triggered_s=triggered_s,
            at_s=message.at_s if is_asked_for else time.time() - (time.monotonic() - arrived_s),
            product=message.product,
            request=message.request,
            part=message.part,
            pixel_rule="8-bit colour as OpenCV gives it",
        )


class _Reader:
    """Reads a camera as fast as it comes, in a thread of its own, so that no frame grows old.

    Raises:
        SourceAwayError: The camera cannot be opened, or not as it was asked for.
    """

    def __init__(self, settings: CameraSource) -> None:
        self._settings = settings
        self._changed = threading.Condition()
        self.count = 0
        self._at_s = time.monotonic()
        # A stream's frames may come several at a time; a trigger wants the newest alone.
        kept = _KEPT_FRAMES if settings.trigger == "free" else 1
        self._frames: deque[tuple[int, float, Any]] = deque(maxlen=kept)
        self._is_ended = False
        self._failure = ""
        self._capture = _open(settings)
        self._thread = threading.Thread(
            target=self._run, name=f"camera {settings.name}", daemon=True
        )
        self._thread.start()

    def newer_than(
        self, count: int, timeout_s: float, stop: threading.Event
    ) -> tuple[int, float, Any] | None:
        """The first frame after a count: its count, when it came, its pixels; None at the stop.

        Raises:
            SourceAwayError: None comes within `timeout_s` seconds.
        """
        end_s = time.monotonic() + timeout_s
        with self._changed:
            while self.count <= count:
                if stop.is_set():
                    return None
                if self._failure:
                    raise SourceAwayError(self._failure)
                if not self._changed.wait(min(0.2, max(0.01, end_s - time.monotonic()))) and (
                    time.monotonic() > end_s
                ):
                    raise SourceAwayError(
                        f"{self._settings.device} has given no frame for {timeout_s:g} s"
                    )
            return next(frame for frame in self._frames if frame[0] > count)

    def check(self) -> None:
        """Raise `SourceAwayError` if the camera has ended or stands still."""
        with self._changed:
            if self._failure:
                raise SourceAwayError(self._failure)
            if time.monotonic() - self._at_s > self._settings.answers_within_s:
                raise SourceAwayError(
                    f"{self._settings.device} has given no frame for "
                    f"{self._settings.answers_within_s:g} s"
                )

    def close(self) -> None:
        """End the thread and release the camera, which a thread that hangs in it does itself."""
        self._is_ended = True
        self._thread.join(self._settings.answers_within_s)

    def _run(self) -> None:
        try:
            while not self._is_ended:
                found, image = self._capture.read()
                with self._changed:
                    if not found:
                        self._failure = f"{self._settings.device} gives no more frames"
                    elif image is None or image.ndim != 3 or image.dtype != np.uint8:
                        self._failure = f"{self._settings.device} gives no 8-bit colour"
                    else:
                        self.count, self._at_s = self.count + 1, time.monotonic()
                        self._frames.append((self.count, self._at_s, image))
                    self._changed.notify_all()
                    if self._failure:
                        return
        finally:
            self._capture.release()


def _open(settings: CameraSource) -> Any:
    device = settings.device
    is_stream = isinstance(device, str) and "://" in device
    if isinstance(device, str) and not is_stream and not Path(device).exists():
        raise SourceAwayError(f"{device} is not there")
    if is_stream:
        os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", _STREAM_OPTIONS)
    timeout_ms = int(1e3 * settings.answers_within_s)
    capture = (
        cv2.VideoCapture(
            device,
            cv2.CAP_FFMPEG,
            [
                *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, timeout_ms),
                *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, timeout_ms),
            ],
        )
        if isinstance(device, str) and (is_stream or not device.startswith("/dev/"))
        else cv2.VideoCapture(device, cv2.CAP_V4L2)
    )
    if not capture.isOpened():
        raise SourceAwayError(f"{device} cannot be opened; is it plugged in, and the stream on?")
    wished: list[tuple[int, float, str]] = []
    if settings.size_wh is not None:
        wished.append((cv2.CAP_PROP_FRAME_WIDTH, settings.size_wh[0], "px wide"))
        wished.append((cv2.CAP_PROP_FRAME_HEIGHT, settings.size_wh[1], "px high"))
    if settings.frames_per_second is not None:
        wished.append((cv2.CAP_PROP_FPS, settings.frames_per_second, "frames a second"))
    for option, value, _ in wished:
        capture.set(option, value)
    for option, value, words in wished:
        if abs(capture.get(option) - value) > 0.01 * value:
            given = capture.get(option)
            capture.release()
            raise SourceAwayError(f"{device} gives {given:g} {words}, and {value:g} were asked for")
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    return capture
