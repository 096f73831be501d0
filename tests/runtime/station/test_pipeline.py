"""Each part gets exactly one outcome, in time, whatever inspection does."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from benchmarks.load.line.plant import wait_for
from runtime.errors import BadImageError, ServerUnavailableError, UnknownProductError
from runtime.inspections.inspection import Inspection
from runtime.station.parts import pipeline as pipeline_module
from runtime.station.parts.counters import Counters
from runtime.station.parts.frame import Frame, LostFrame
from runtime.station.parts.ledger import Ledger
from runtime.station.parts.outcome import Outcome
from runtime.station.parts.pipeline import Pipeline
from runtime.station.settings.station_settings import InspectionSettings
from tests.parts.inspections import ACCEPTED
from tests.parts.small import random_image


def settings(**changes: object) -> InspectionSettings:
    values = {"model": Path("m"), "not_inspected": "reject", "when_full": "drop-oldest", **changes}
    return InspectionSettings(**values)  # type: ignore[arg-type]


def frame(number: int = 1) -> Frame:
    return Frame(source="side", frame_id=str(number), image=random_image(4, 4))


class Told:
    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    def are(self, count: int) -> bool:
        return len(self.outcomes) >= count

    def __call__(self, _: object, outcome: Outcome, inspection: Inspection | None) -> None:
        self.outcomes.append(outcome)


@contextmanager
def pipeline(
    folder: Path, inspect: Callable[[Frame], Inspection], **changes: object
) -> Iterator[tuple[Pipeline, Told, Counters]]:
    told, counters = Told(), Counters()
    ledger = Ledger(folder, [])
    with Pipeline(
        "press3", settings(**changes), ledger, counters, inspects=[inspect], decided=told
    ) as opened:
        yield opened, told, counters
    ledger.close()


@pytest.mark.parametrize(
    ("score", "verdict", "action"),
    [(0.5, "good", "accept"), (0.9, "review", "review"), (1.5, "defective", "reject")],
)
def test_a_verdict_says_what_the_machine_shall_do(
    tmp_path: Path, score: float, verdict: str, action: str
) -> None:
    inspection = replace(ACCEPTED, score=score, review_threshold=0.8)
    with pipeline(tmp_path, lambda _: inspection) as (opened, told, _):
        opened.take(frame())
        wait_for(lambda: told.outcomes, "an outcome")
    (outcome,) = told.outcomes
    assert (outcome.verdict, outcome.action, outcome.score) == (verdict, action, score)


@pytest.mark.parametrize(
    "error",
    [
        BadImageError("the image is cut"),
        UnknownProductError("unknown product 'nut'"),
        ServerUnavailableError("no server answers"),
        ZeroDivisionError("a fault of ours"),
    ],
)
def test_a_part_that_cannot_be_inspected_is_told_with_the_reason(
    tmp_path: Path, error: Exception
) -> None:
    def inspect(_: Frame) -> Inspection:
        raise error

    with pipeline(tmp_path, inspect, not_inspected="review") as (opened, told, _):
        opened.take(frame())
        opened.take(frame(2))
        wait_for(lambda: len(told.outcomes) == 2, "two outcomes")
    outcome = told.outcomes[0]
    assert (outcome.verdict, outcome.action) == ("not inspected", "review")
    assert str(error) in outcome.reason
    assert outcome.score is None


def test_a_part_is_told_at_its_deadline_and_not_again_when_inspection_ends(
    tmp_path: Path,
) -> None:
    goes_on = threading.Event()

    def inspect(_: Frame) -> Inspection:
        goes_on.wait(10)
        return ACCEPTED

    with pipeline(tmp_path, inspect, deadline_ms=100.0) as (opened, told, counters):
        opened.take(frame())
        wait_for(lambda: told.outcomes, "an outcome at the deadline")
        goes_on.set()
        wait_for(lambda: counters.total("inspected_too_late"), "the end of the inspection")
    (outcome,) = told.outcomes
    assert outcome.verdict == "not inspected"
    assert outcome.reason == "no verdict within 100 ms"
    assert 100 <= outcome.latency_ms < 1000
    assert counters.total("inspected") == 0


def test_a_part_whose_deadline_has_passed_is_not_inspected(tmp_path: Path) -> None:
    begun = []
    first = threading.Event()

    def inspect(part: Frame) -> Inspection:
        begun.append(part.frame_id)
        first.wait(10)
        return ACCEPTED

    with pipeline(tmp_path, inspect, deadline_ms=100.0) as (opened, told, _):
        for number in (1, 2, 3):
            opened.take(frame(number))
        wait_for(lambda: len(told.outcomes) == 3, "three outcomes")
        first.set()
    assert begun == ["1"]


def test_a_line_that_is_too_fast_has_what_can_be_inspected_in_time(tmp_path: Path) -> None:
    def inspect(_: Frame) -> Inspection:
        time.sleep(0.1)
        return ACCEPTED

    changes = {"deadline_ms": 300.0, "waiting": 20}
    with pipeline(tmp_path, inspect, **changes) as (opened, told, counters):
        for number in range(60):
            opened.take(frame(number))
            time.sleep(0.04)
        wait_for(lambda: len(told.outcomes) == 60, "all outcomes")
    assert counters.total("inspected") >= 10
    assert counters.total("inspected_too_late") <= 8


def test_inspection_that_was_slow_once_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline_module, "_KNOWN_FOR_S", 0.5)
    slow = [0.25, 0.25, 0.25]

    def inspect(_: Frame) -> Inspection:
        time.sleep(slow.pop() if slow else 0.0)
        return ACCEPTED

    def old_frame() -> Frame:
        # Its camera needed a while, so that no time is left for a slow inspection.
        return replace(frame(), triggered_s=time.monotonic() - 0.2)

    with pipeline(tmp_path, inspect, deadline_ms=400.0) as (opened, told, _):
        for number in range(3):
            opened.take(frame(number))
            wait_for(partial(told.are, number + 1), "an outcome")
        opened.take(old_frame())
        wait_for(lambda: len(told.outcomes) == 4, "an outcome")
        assert told.outcomes[-1].reason == "no time was left to inspect it"
        time.sleep(0.6)
        opened.take(old_frame())
        wait_for(lambda: len(told.outcomes) == 5, "an outcome")
    assert told.outcomes[-1].verdict == "good"


@pytest.mark.parametrize(("policy", "left_out"), [("drop-oldest", "2"), ("refuse", "4")])
def test_the_part_that_is_left_out_is_the_one_that_the_file_names(
    tmp_path: Path, policy: str, left_out: str
) -> None:
    busy, goes_on = threading.Event(), threading.Event()

    def inspect(_: Frame) -> Inspection:
        busy.set()
        goes_on.wait(10)
        return ACCEPTED

    with pipeline(tmp_path, inspect, when_full=policy, waiting=2) as (opened, told, _):
        opened.take(frame(1))
        assert busy.wait(10)
        for number in (2, 3, 4):
            opened.take(frame(number))
        (outcome,) = told.outcomes
        assert outcome.frame_id == left_out
        assert outcome.reason == "2 parts waited already"
        goes_on.set()
    assert sorted(one.frame_id for one in told.outcomes) == ["1", "2", "3", "4"]


def test_a_lost_frame_is_a_part_that_was_not_inspected(tmp_path: Path) -> None:
    with pipeline(tmp_path, lambda _: ACCEPTED) as (opened, told, counters):
        opened.lose(LostFrame(source="side", frame_id="17", reason="it did not come"))
    (outcome,) = told.outcomes
    assert (outcome.verdict, outcome.frame_id) == ("not inspected", "17")
    assert outcome.reason == "it did not come"
    assert counters.counts()["trigger_errors"] == {"side": 1}


def test_what_waits_at_the_end_is_inspected_first(tmp_path: Path) -> None:
    def inspect(_: Frame) -> Inspection:
        time.sleep(0.02)
        return ACCEPTED

    with pipeline(tmp_path, inspect, waiting=10) as (opened, told, _):
        for number in range(10):
            opened.take(frame(number))
    assert [outcome.verdict for outcome in told.outcomes] == ["good"] * 10


def test_stages_are_timed(tmp_path: Path) -> None:
    with pipeline(tmp_path, lambda _: ACCEPTED) as (opened, told, counters):
        for number in range(5):
            opened.take(frame(number))
        wait_for(lambda: len(told.outcomes) == 5, "five outcomes")
    timings = counters.timings()
    assert timings["decided"].count == timings["inspected"].count == 5
    assert timings["decided"].min_ms <= timings["decided"].p50_ms <= timings["decided"].max_ms
