"""GigE Vision and USB3 Vision cameras by Aravis, which runs in a process of its own."""

import json
import logging
import mmap
import queue
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from runtime.errors import SourceAwayError
from runtime.station.parts.frame import Frame, LostFrame
from runtime.station.settings.source_settings import GenicamSource
from runtime.station.sources.pixels import describe_rule, to_rgb
from runtime.station.sources.source import (
    TriggerMessage,
    Triggers,
    each_trigger,
    lost_trigger,
)

logger = logging.getLogger("l2bt.station")

_GRABBER = Path(__file__).with_name("genicam_grabber.py")
_SHARED_MEMORY = Path("/dev/shm")
_OPEN_WITHIN_S = 20.0
_END_WITHIN_S = 3.0
_LOOK_EVERY_S = 0.2
# How old a frame can be by the machine's clock, which may have been set meanwhile.
_OLDEST_S = 1.0


class GenicamCamera:
    """A GenICam camera.

    Args:
        settings: The source's.
        triggers: Messages for it.
    """

    def __init__(self, settings: GenicamSource, triggers: Triggers) -> None:
        self._settings = settings
        self._triggers = triggers
        self._scale = settings.pixel_scale()
        self._rule = describe_rule(settings.pixels, self._scale)
        self._grabber: _Grabber | None = None

    def frames(self, stop: threading.Event) -> Iterator[Frame | LostFrame]:
        """Frames as they come, or as they are asked for."""
        self.close()
        grabber = self._grabber = _Grabber(self._settings, stop)
        if self._settings.trigger in ("free", "hardware"):
            yield from self._untriggered(grabber, stop)
        else:
            yield from self._triggered(grabber, stop)

    def finished(self, frame: Frame) -> None:
        """Nothing is to be done: the frame was copied."""

    def close(self) -> None:
        """End the camera's process."""
        grabber, self._grabber = self._grabber, None
        if grabber is not None:
            grabber.close()

    def _untriggered(
        self, grabber: "_Grabber", stop: threading.Event
    ) -> Iterator[Frame | LostFrame]:
        is_free = self._settings.trigger == "free"
        last_s = time.monotonic()
        while not stop.is_set():
            line = grabber.next_line(0.2)
            if line is not None:
                last_s = time.monotonic()
                yield self._item(grabber, line, None)
            elif is_free and time.monotonic() - last_s > self._settings.answers_within_s:
                raise SourceAwayError(
                    f"{self._settings.camera} has given no frame for "
                    f"{self._settings.answers_within_s:g} s"
                )

    def _triggered(self, grabber: "_Grabber", stop: threading.Event) -> Iterator[Frame | LostFrame]:
        for message in each_trigger(self._triggers, self._settings.every_s, stop):
            if message is None:
                grabber.check()
                continue
            try:
                grabber.drop_waiting()
                grabber.trigger()
                line = grabber.answer(self._settings.answers_within_s)
            except SourceAwayError as error:
                yield lost_trigger(self._settings.name, message, str(error))
                raise
            if line is None:
                reason = (
                    f"{self._settings.camera} has not answered a trigger within "
                    f"{self._settings.answers_within_s:g} s"
                )
                yield lost_trigger(self._settings.name, message, reason)
                # Begun anew, lest its frame come late and be taken for the next part's.
                raise SourceAwayError(reason)
            yield self._item(grabber, line, message)

    def _item(
        self, grabber: "_Grabber", line: dict[str, Any], message: TriggerMessage | None
    ) -> Frame | LostFrame:
        if "lost" in line:
            if message is not None:
                return lost_trigger(self._settings.name, message, line["reason"])
            return LostFrame(
                source=self._settings.name, frame_id=line["lost"], reason=line["reason"]
            )
        age_s = min(line["age_ns"] / 1e9, _OLDEST_S)
        message = message or TriggerMessage(
            triggered_s=time.monotonic() - age_s, at_s=time.time() - age_s
        )
        content = grabber.take(line["slot"], line["bytes"])
        image = to_rgb(
            content,
            pixels=self._settings.pixels,
            width=line["width"],
            height=line["height"],
            scale=self._scale,
        )
        return Frame(
            source=self._settings.name,
            frame_id=line["frame"],
            image=image,
            triggered_s=message.triggered_s,
            at_s=message.at_s,
            camera_time_ns=line["camera_time_ns"],
            product=message.product,
            request=message.request,
            part=message.part,
            pixel_rule=self._rule,
        )


class _Grabber:
    """The camera's process, once the camera runs.

    Args:
        settings: The source's.
        stop: Set where nobody wants the camera any more.

    Raises:
        SourceAwayError: It cannot be started, or the camera cannot be opened as wished.
    """

    def __init__(self, settings: GenicamSource, stop: threading.Event) -> None:
        self._camera = settings.camera
        self._memory_file = tempfile.NamedTemporaryFile(  # noqa: SIM115
            prefix="l2bt-camera-", dir=_SHARED_MEMORY
        )
        self._memory: mmap.mmap | None = None
        self._payload = 0
        self._lines: queue.Queue[dict[str, Any]] = queue.Queue()
        by = {"software": "Software", "message": "Software", "hardware": settings.trigger_line}
        wishes = {
            "camera": settings.camera,
            "pixels": settings.pixels,
            "features": settings.features,
            "exposure_us": settings.exposure_us,
            "gain": settings.gain,
            "frames_per_second": settings.frames_per_second,
            "trigger_source": by.get(settings.trigger),
            "buffers": settings.buffers,
            "packet_bytes": settings.packet_bytes,
            "packet_socket": settings.packet_socket,
            "memory": self._memory_file.name,
        }
        try:
            self._process = subprocess.Popen(
                [str(settings.python), "-I", str(_GRABBER), json.dumps(wishes)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                bufsize=1,
            )
        except OSError as error:
            self._memory_file.close()
            raise SourceAwayError(f"{settings.python} cannot be run: {error.strerror}") from error
        threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True).start()
        try:
            self._begin(stop)
        except BaseException:
            self.close()
            raise

    def next_line(self, timeout_s: float) -> dict[str, Any] | None:
        """The next frame, or word of a lost one; None if none comes in time.

        Raises:
            SourceAwayError: The camera is away.
        """
        try:
            line = self._lines.get(block=timeout_s > 0, timeout=timeout_s or None)
        except queue.Empty:
            return None
        if "away" in line:
            raise SourceAwayError(f"{self._camera}: {line['away']}")
        return line

    def drop_waiting(self) -> None:
        """Drop frames that came without a trigger, lest one be taken for the next part's.

        Raises:
            SourceAwayError: The camera is away.
        """
        while not self._lines.empty():
            line = self.next_line(0.0)
            if line is not None and "frame" in line:
                logger.warning("%s: frame %s came without a trigger", self._camera, line["frame"])
                self.take(line["slot"], 0)

    def answer(self, timeout_s: float) -> dict[str, Any] | None:
        """A trigger's frame, or word that it is lost; None if none comes in time.

        Raises:
            SourceAwayError: The camera is away.
        """
        end_s = time.monotonic() + timeout_s
        while (left_s := end_s - time.monotonic()) > 0:
            line = self.next_line(left_s)
            # A number that was left out is no answer: each trigger's frame is known by itself.
            if line is None or not line.get("missing"):
                return line
        return None

    def check(self) -> None:
        """Raise `SourceAwayError` if the camera is away."""
        if self._process.poll() is not None:
            self.next_line(0.1)
            raise SourceAwayError(f"{self._camera}: its process has ended")

    def trigger(self) -> None:
        """Send the camera a software trigger."""
        self._send("trigger")

    def take(self, slot: int, size: int) -> bytes:
        """A copy of a frame's bytes; its slot is free then."""
        assert self._memory is not None
        start = slot * self._payload
        content = self._memory[start : start + size]
        self._send(f"free {slot}")
        return content

    def close(self) -> None:
        """End the process; may be called twice."""
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(_END_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._memory is not None:
            self._memory.close()
            self._memory = None
        self._memory_file.close()

    def _begin(self, stop: threading.Event) -> None:
        end_s = time.monotonic() + _OPEN_WITHIN_S
        line = None
        while line is None and time.monotonic() < end_s and not stop.is_set():
            line = self.next_line(_LOOK_EVERY_S)
        if line is None or "ready" not in line:
            raise SourceAwayError(
                f"{self._camera} is not open within {_OPEN_WITHIN_S:g} s"
                if line is None
                else f"{self._camera}: {line}"
            )
        ready = line["ready"]
        self._payload = ready["payload"]
        self._memory = mmap.mmap(self._memory_file.fileno(), 0, prot=mmap.PROT_READ)
        said = ", ".join(f"{name} = {value}" for name, value in ready["set"].items())
        logger.info("camera %s: %s %s, %s", self._camera, ready["vendor"], ready["model"], said)

    def _send(self, command: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(command + "\n")
            self._process.stdin.flush()
        except OSError as error:
            # It says why with its last line.
            self.next_line(1.0)
            raise SourceAwayError(f"{self._camera}: its process has ended") from error

    def _read(self, stream: IO[str]) -> None:
        for line in stream:
            self._lines.put(json.loads(line))
        self._lines.put({"away": "its process has ended"})
