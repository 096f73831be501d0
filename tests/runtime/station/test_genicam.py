"""A GenICam camera: Aravis's own GigE Vision camera that is none, on loopback."""

import itertools
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from benchmarks.load.line.plant import fake_camera
from runtime.errors import SourceAwayError
from runtime.station.parts.frame import Frame, LostFrame
from runtime.station.settings.source_settings import GenicamSource
from runtime.station.sources.genicam import GenicamCamera
from runtime.station.sources.genicam_grabber import _between
from runtime.station.sources.source import TriggerMessage, Triggers
from tests.parts.station import with_camera

CAMERA = "Aravis-L2BT1"


def settings(**changes: Any) -> GenicamSource:
    values = {"name": "side", "camera": CAMERA, "pixels": "Mono8", "answers_within_s": 2.0}
    return GenicamSource(**{**values, **changes})


def frames(camera: GenicamCamera, count: int) -> list[Frame | LostFrame]:
    try:
        return list(itertools.islice(camera.frames(threading.Event()), count))
    finally:
        camera.close()


@pytest.fixture
def camera() -> Iterator[None]:
    with fake_camera("L2BT1"):
        yield


@with_camera
def test_a_free_running_camera_gives_frame_after_frame(camera: None) -> None:
    found = frames(GenicamCamera(settings(frames_per_second=20.0), Triggers()), 10)
    whole = [frame for frame in found if isinstance(frame, Frame)]
    assert len(whole) >= 9
    numbers = [int(frame.frame_id) for frame in found]
    assert numbers == list(range(numbers[0], numbers[0] + 10))
    stamps = [frame.camera_time_ns or 0 for frame in whole]
    assert stamps == sorted(stamps)
    assert whole[0].pixel_rule == "Mono8, 0..255 to 0..255"
    image = whole[0].image
    assert isinstance(image, np.ndarray)
    assert image.shape == (512, 512, 3)
    assert image.dtype == np.uint8
    assert image.std() > 10


@with_camera
def test_each_message_takes_one_frame_and_gives_it_its_name(camera: None) -> None:
    triggers = Triggers()
    for name in ("A1", "A2", "A3"):
        triggers.put(TriggerMessage(request=name, product="bolt"))
    found = frames(GenicamCamera(settings(trigger="message"), triggers), 3)
    assert [frame.request for frame in found] == ["A1", "A2", "A3"]
    assert {frame.product for frame in found} == {"bolt"}


@with_camera
def test_a_software_trigger_comes_every_so_often(camera: None) -> None:
    found = frames(GenicamCamera(settings(trigger="software", every_s=0.1), Triggers()), 5)
    times = [frame.triggered_s for frame in found]
    assert np.diff(times) == pytest.approx([0.1] * 4, abs=0.09)


@with_camera
def test_the_station_files_scale_is_applied(camera: None) -> None:
    plain = frames(GenicamCamera(settings(trigger="software", every_s=0.1), Triggers()), 2)
    dark = settings(trigger="software", every_s=0.1, scale="200..255")
    scaled = frames(GenicamCamera(dark, Triggers()), 2)

    def mean(found: list[Frame | LostFrame]) -> float:
        return max(float(np.mean(one.image)) for one in found if isinstance(one, Frame))  # type: ignore[arg-type]

    assert mean(scaled) < mean(plain) / 2


@with_camera
def test_what_the_camera_cannot_is_said_in_its_own_words(camera: None) -> None:
    with pytest.raises(SourceAwayError, match=r"Aravis-L2BT1: .*BayerRG12"):
        frames(GenicamCamera(settings(pixels="BayerRG12", scale="0..4095"), Triggers()), 1)
    with pytest.raises(SourceAwayError, match="NoSuchFeature"):
        frames(GenicamCamera(settings(features={"NoSuchFeature": 3}), Triggers()), 1)


@with_camera
def test_a_camera_that_is_not_there_is_away() -> None:
    with pytest.raises(SourceAwayError, match="Aravis-NONE"):
        frames(GenicamCamera(settings(camera="Aravis-NONE"), Triggers()), 1)


@with_camera
def test_a_camera_that_is_unplugged_is_away_and_comes_back() -> None:
    source = GenicamCamera(settings(camera="Aravis-L2BT2", frames_per_second=10.0), Triggers())
    with fake_camera("L2BT2") as process:
        stream = source.frames(threading.Event())
        assert isinstance(next(stream), Frame | LostFrame)
        process.kill()
        with pytest.raises(SourceAwayError, match="Aravis-L2BT2"):
            for _ in itertools.islice(stream, 1000):
                pass
    with fake_camera("L2BT2"):
        time.sleep(0.5)
        assert len(frames(source, 3)) == 3


@with_camera
def test_a_trigger_that_gets_no_frame_is_lost_and_not_taken_for_the_next() -> None:
    triggers = Triggers()
    source = GenicamCamera(settings(camera="Aravis-L2BT3", trigger="message"), triggers)
    with fake_camera("L2BT3") as process:
        stream = source.frames(threading.Event())
        triggers.put(TriggerMessage(request="A1"))
        assert next(stream).request == "A1"
        process.kill()
        triggers.put(TriggerMessage(request="A2"))
        lost = next(stream)
        assert isinstance(lost, LostFrame)
        assert lost.request == "A2"
        with pytest.raises(SourceAwayError):
            next(stream)
        source.close()


@with_camera
def test_a_frame_that_nobody_asked_for_is_not_taken_for_the_next_part(camera: None) -> None:
    triggers = Triggers()
    source = GenicamCamera(settings(trigger="message"), triggers)
    stream = source.frames(threading.Event())

    def whole_frame(name: str) -> Frame:
        for _ in range(10):
            triggers.put(TriggerMessage(request=name))
            found = next(stream)
            assert found.request == name
            if isinstance(found, Frame):
                return found
        raise AssertionError("no whole frame of ten")

    first = whole_frame("A1")
    assert source._grabber is not None
    source._grabber.trigger()
    time.sleep(0.5)
    second = whole_frame("A2")
    source.close()
    assert int(second.frame_id) > int(first.frame_id) + 1


@pytest.mark.parametrize(
    ("before", "number", "missing"),
    [
        (None, 7, []),
        (7, 8, []),
        (7, 10, [8, 9]),
        (65535, 1, []),
        (65534, 2, [65535, 1]),
        (500, 1, []),
        (7, 7, []),
    ],
)
def test_missing_frames_are_known_by_their_numbers(
    before: int | None, number: int, missing: list[int]
) -> None:
    assert list(_between(before, number)) == missing


def test_a_python_without_aravis_is_told_how_to_get_it() -> None:
    import sys
    from pathlib import Path

    with pytest.raises(SourceAwayError, match=r"gir1\.2-aravis-0\.8"):
        frames(GenicamCamera(settings(python=Path(sys.executable)), Triggers()), 1)
