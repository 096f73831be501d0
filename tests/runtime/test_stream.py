"""Overlapping stages give what one after the other would, and end cleanly."""

import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.detector import Detector, EngineDetector
from runtime.engines.engine import Engine, Slots
from runtime.errors import BadImageError, OptionError, UnknownProductError
from runtime.images.stream import overlapped
from runtime.inspections.inspection import Inspection
from runtime.models.exported_model import ExportedModel
from runtime.models.opened_network import NetworkOptions, open_network
from tests.parts.small import random_image


@given(st.lists(st.integers(), max_size=30), st.integers(1, 4), st.integers(1, 4))
def test_every_item_comes_through_all_stages_in_order(
    items: list[int], stages: int, ahead: int
) -> None:
    doubled = list(overlapped(items, [lambda item: 2 * item] * stages, ahead=ahead))
    assert doubled == [2**stages * item for item in items]


def test_stages_work_at_the_same_time() -> None:
    meeting = threading.Barrier(2, timeout=10)

    def first(item: int) -> int:
        if item > 0:
            meeting.wait()
        return item

    def second(item: int) -> int:
        # It goes on only while the first stage has the item after this one.
        if item < 2:
            meeting.wait()
        return item

    assert list(overlapped([0, 1, 2], [first, second], ahead=1)) == [0, 1, 2]


def test_an_error_of_a_stage_is_raised_in_its_turn() -> None:
    def refuse_two(item: int) -> int:
        if item == 2:
            raise ValueError("two")
        return item

    seen = []
    with pytest.raises(ValueError, match="two"):
        for item in overlapped([0, 1, 2, 3], [refuse_two], ahead=2):
            seen.append(item)
    assert seen == [0, 1]


def test_an_error_of_the_source_comes_after_what_it_gave() -> None:
    def source() -> Iterator[int]:
        yield 1
        raise OSError("the camera is gone")

    answers = overlapped(source(), [lambda item: item], ahead=2)
    assert next(answers) == 1
    with pytest.raises(OSError, match="the camera is gone"):
        next(answers)


def test_a_source_that_waits_does_not_hold_back_what_it_gave_before() -> None:
    go_on = threading.Event()

    def camera() -> Iterator[int]:
        yield 1
        go_on.wait(30)
        yield 2

    answers = overlapped(camera(), [lambda item: item] * 3, ahead=2)
    assert next(answers) == 1
    assert not go_on.is_set()
    go_on.set()
    assert list(answers) == [2]


def test_no_stage_runs_any_more_when_the_iterator_is_closed() -> None:
    calls: list[int] = []

    def slow(item: int) -> int:
        calls.append(item)
        time.sleep(0.01)
        return item

    answers = overlapped(iter(range(10**6)), [slow], ahead=2)
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    so_far = len(calls)
    time.sleep(0.1)
    assert len(calls) == so_far < 100


def test_many_images_get_the_answers_that_each_gets_alone(detector: Detector) -> None:
    images = [random_image(60 + 40 * number, 200, number) for number in range(7)]
    together = list(detector.inspect_many(images))
    for image, found in zip(images, together, strict=True):
        alone = detector.inspect(image)
        assert isinstance(found, Inspection)
        assert found.score == alone.score and found.regions == alone.regions
        assert np.array_equal(found.anomaly_map, alone.anomaly_map)  # type: ignore[arg-type]


def test_streams_of_the_network_keep_the_order_of_the_images(exported: ExportedModel) -> None:
    images = [random_image(60 + 40 * number, 200, number) for number in range(7)]
    with Detector(exported.folder, threads=2, streams=2) as detector:
        alone = [detector.inspect(image, want_map=False).score for image in images]
        together = list(detector.inspect_many(images, want_map=False))
    assert [found.score for found in together if isinstance(found, Inspection)] == alone


class SlowOnce:
    """A real engine that is slow to begin with its first image, so that later ones pass it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._calls = itertools.count()
        self.description = engine.description

    def infer(
        self, tiles: npt.NDArray[np.uint8], slots: Slots | None = None
    ) -> npt.NDArray[np.float32]:
        if next(self._calls) == 0:
            time.sleep(1)
        return self._engine.infer(tiles, slots)

    def close(self) -> None:
        self._engine.close()


def test_an_image_that_others_pass_in_the_network_keeps_its_own_tiles(
    exported: ExportedModel,
) -> None:
    images = [random_image(60, 90, seed=seed) for seed in range(16)]
    with Detector(exported.folder) as detector:
        right = [detector.inspect(image, want_map=False).score for image in images]
    opened = open_network(exported, NetworkOptions(threads=2, streams=2))
    with EngineDetector(SlowOnce(opened.engine), opened.products, streams=2) as detector:
        found = [
            one.score
            for one in detector.inspect_many(images, want_map=False, ahead=2)
            if isinstance(one, Inspection)
        ]
    assert found == pytest.approx(right)


def test_streams_that_cannot_be_are_refused(exported: ExportedModel) -> None:
    with pytest.raises(OptionError, match="streams is 0; expected at least 1"):
        Detector(exported.folder, streams=0)
    with pytest.raises(OptionError, match=r"at most as many as threads \(1\)"):
        Detector(exported.folder, threads=1, streams=2)


def test_the_stages_and_the_waiting_between_them_are_the_whole_time(detector: Detector) -> None:
    for found in detector.inspect_many([random_image(80, 80)] * 3, want_map=False):
        assert isinstance(found, Inspection)
        assert found.anomaly_map is None
        stages = dict(found.stage_ms)
        assert stages.pop("total") == pytest.approx(sum(stages.values()))


def test_a_bad_image_leaves_its_error_in_its_place(detector: Detector, tmp_path: Path) -> None:
    image = random_image(80, 80)
    first, bad, last = detector.inspect_many([image, tmp_path / "none.png", image])
    assert isinstance(bad, BadImageError)
    assert isinstance(first, Inspection) and isinstance(last, Inspection)
    assert first.score == last.score


def test_what_is_wrong_with_all_images_ends_the_stream(detector: Detector) -> None:
    with pytest.raises(UnknownProductError, match="unknown product 'bolt'"):
        list(detector.inspect_many([random_image(80, 80)], product="bolt"))
    with pytest.raises(OptionError, match="ahead is 0; expected at least 1"):
        detector.inspect_many([], ahead=0)


def test_a_detector_can_be_closed_after_a_stream_was_left(exported: ExportedModel) -> None:
    with Detector(exported.folder) as detector:
        stream = detector.inspect_many([random_image(80, 80)] * 50)
        assert isinstance(next(stream), Inspection)
        stream.close()  # type: ignore[attr-defined]


def test_a_program_may_end_while_a_stream_waits_half_way() -> None:
    program = """
from runtime.images.stream import overlapped
stream = overlapped(range(100), [lambda item: item, lambda item: item], ahead=2)
print(next(stream))
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert result.stdout == "0\n"
