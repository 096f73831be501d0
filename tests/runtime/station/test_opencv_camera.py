"""Streams by OpenCV: FFmpeg sends a real one over loopback."""

import itertools
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from benchmarks.load.line.plant import free_port
from runtime.errors import SourceAwayError
from runtime.station.parts.frame import Frame, LostFrame
from runtime.station.settings.source_settings import CameraSource
from runtime.station.sources.opencv_camera import OpenCvCamera
from runtime.station.sources.source import TriggerMessage, Triggers

pytestmark = pytest.mark.skipif(
    shutil.which("ffmpeg") is None, reason="needs ffmpeg (Debian: apt install ffmpeg)"
)


@contextmanager
def stream(seconds: float) -> Iterator[str]:
    """An address at which FFmpeg gives so many seconds of test pictures, 10 a second."""
    url = f"tcp://127.0.0.1:{free_port()}"
    picture = f"testsrc=size=320x240:rate=10:duration={seconds}"
    process = subprocess.Popen(
        [
            *("ffmpeg", "-loglevel", "quiet", "-re", "-f", "lavfi", "-i", picture),
            *("-c:v", "mpeg2video", "-q:v", "3", "-f", "mpegts", f"{url}?listen=1"),
        ]
    )
    try:
        yield url
    finally:
        process.kill()
        process.wait()


def camera(url: str, triggers: Triggers | None = None, **changes: Any) -> OpenCvCamera:
    settings = CameraSource(name="top", device=url, **{"answers_within_s": 3.0, **changes})
    return OpenCvCamera(settings, triggers or Triggers())


def taken(source: OpenCvCamera, count: int) -> list[Frame | LostFrame]:
    """The first frames; FFmpeg may need a moment until it listens."""
    for _ in range(20):
        try:
            return list(itertools.islice(source.frames(threading.Event()), count))
        except SourceAwayError as error:
            if "cannot be opened" not in str(error):
                raise
            threading.Event().wait(0.2)
    raise AssertionError("the stream cannot be opened")


def test_a_stream_gives_frame_after_frame_in_rgb() -> None:
    with stream(5) as url:
        source = camera(url)
        found = taken(source, 8)
        source.close()
    whole = [frame for frame in found if isinstance(frame, Frame)]
    assert [int(frame.frame_id) for frame in found] == list(range(1, 9))
    image = whole[0].image
    assert isinstance(image, np.ndarray)
    assert image.shape == (240, 320, 3)
    assert len(whole) >= 4


def test_a_stream_that_ends_is_away() -> None:
    with stream(1) as url, pytest.raises(SourceAwayError, match="no more frames|no frame for"):
        taken(camera(url), 1000)


def test_a_message_takes_the_next_frame() -> None:
    triggers = Triggers()
    triggers.put(TriggerMessage(request="A1"))
    triggers.put(TriggerMessage(request="A2"))
    with stream(6) as url:
        source = camera(url, triggers, trigger="message")
        found = taken(source, 2)
        source.close()
    assert [frame.request for frame in found] == ["A1", "A2"]


def test_what_the_camera_does_not_give_is_refused() -> None:
    with stream(5) as url:
        source = camera(url, size_wh=(640, 480))
        with pytest.raises(SourceAwayError, match="320 px wide, and 640 were asked for"):
            taken(source, 1)


def test_a_camera_that_is_not_there_is_away() -> None:
    with pytest.raises(SourceAwayError, match="/dev/video77 is not there"):
        taken(camera("/dev/video77"), 1)


def test_a_trigger_that_comes_as_the_camera_goes_is_lost_and_not_forgotten() -> None:
    triggers = Triggers()
    with stream(1) as url:
        source = camera(url, triggers, trigger="message", answers_within_s=1.0)
        triggers.put(TriggerMessage(request="A1", part=1))
        (first,) = taken(source, 1)
        assert source._reader is not None
        frames = source._triggered(source._reader, threading.Event())
        threading.Event().wait(3)
        triggers.put(TriggerMessage(request="A2", part=2))
        lost = next(frames)
        with pytest.raises(SourceAwayError):
            next(frames)
        source.close()
    assert first.request == "A1"
    assert isinstance(lost, LostFrame)
    assert (lost.request, lost.part) == ("A2", 2)
