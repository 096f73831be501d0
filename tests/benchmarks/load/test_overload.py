"""The overload benchmark loses sight of no request, and believes no answer that is wrong."""

from dataclasses import replace

import pytest

from benchmarks.load.open_loop import IN_TIME, LATE, LOST, OUTCOMES, REFUSED, WRONG, OpenLoop
from benchmarks.load.overload.overload import bounded_settings, capacity_hz, make_questions
from benchmarks.load.overload.report import draw, to_markdown
from benchmarks.load.overload.results import OverloadResult, Setup, SetupResult
from benchmarks.load.overload.rounds import measure_setup
from benchmarks.machine.machine import read_conditions
from benchmarks.machine.timing import Ratio
from benchmarks.workload.question import Question
from runtime.client.client import Client
from runtime.detector import Detector
from runtime.errors import ServerError
from runtime.models.exported_model import ExportedModel
from triton_repo.server.server import TritonServer

SETUP = Setup(name="a test", max_queue_requests=64, queue_timeout_ms=0, max_batch_tiles=None)


@pytest.fixture(scope="module")
def questions(exported: ExportedModel) -> list[Question]:
    return make_questions(exported)


@pytest.fixture
def idle_server(server: TritonServer, questions: list[Question]) -> TritonServer:
    """The server of all tests, once it has worked off what the test before left in its queues."""
    with Client(server.grpc_address, patience_s=60) as client:
        client.inspect(questions[0].image, want_map=False)
    return server


def test_the_scores_are_the_detectors(questions: list[Question], detector: Detector) -> None:
    assert len({question.score for question in questions}) == len(questions)
    for question in questions:
        assert question.is_right(detector.inspect(question.image).score)
        assert not question.is_right(question.score * 1.001)


def test_what_is_sent_is_answered_late_refused_or_lost(
    idle_server: TritonServer, questions: list[Question]
) -> None:
    with OpenLoop(idle_server.grpc_address, questions, deadline_s=3) as loop:
        # Far more at once than the queues hold.
        load = loop.run(2000, 0.12)
    assert load.sent == 240
    assert sum(load.counts.values()) == load.sent
    assert set(load.counts) == set(OUTCOMES)
    assert {name: len(found) for name, found in load.latencies_ms.items()} == load.counts
    assert load.counts[REFUSED] > 0
    assert (load.counts[LOST], load.counts[WRONG], load.problems) == (0, 0, ())
    assert all(latency <= 3000 for latency in load.latencies_ms[IN_TIME])


def test_an_answer_after_the_deadline_is_late(
    idle_server: TritonServer, questions: list[Question]
) -> None:
    with OpenLoop(idle_server.grpc_address, questions, deadline_s=0.002) as loop:
        load = loop.run(20, 0.2)
    assert load.counts[LATE] == load.sent == 4
    assert load.goodput_hz == 0


def test_a_wrong_score_is_no_goodput(idle_server: TritonServer, questions: list[Question]) -> None:
    others = [replace(questions[0], score=2 * questions[0].score)]
    with OpenLoop(idle_server.grpc_address, others, deadline_s=60) as loop:
        load = loop.run(20, 0.1)
    assert load.counts[WRONG] == load.sent == 2
    assert "instead of" in load.problems[0]
    with pytest.raises(ServerError, match="expected"):
        capacity_hz(idle_server.grpc_address, others, period_s=0.1, clients=1)


def test_an_error_that_overload_does_not_explain_is_lost_with_its_reason(
    idle_server: TritonServer, questions: list[Question]
) -> None:
    unknown = [replace(questions[0], product="no-such-product")]
    with OpenLoop(idle_server.grpc_address, unknown, deadline_s=60) as loop:
        load = loop.run(20, 0.1)
    assert load.counts[LOST] == load.sent == 2
    assert "no-such-product" in load.problems[0]


@pytest.mark.parametrize(("rate_hz", "period_s"), [(1.0, 0.1), (1e6, 1.0)])
def test_loads_without_bounds_are_refused(
    rate_hz: float, period_s: float, questions: list[Question]
) -> None:
    with (
        OpenLoop("127.0.0.1:1", questions, deadline_s=1) as loop,
        pytest.raises(ValueError, match="images"),
    ):
        loop.run(rate_hz, period_s)


def test_the_queues_are_bounded_by_time_and_never_full() -> None:
    slow = bounded_settings(capacity_hz=2, deadline_s=1, tiles=6)
    assert (slow.max_queue_requests, slow.queue_timeout_ms, slow.max_batch_tiles) == (64, 500, 6)
    fast = bounded_settings(capacity_hz=100, deadline_s=2, tiles=1)
    # At four times the capacity 400 come in the second that they may wait.
    assert (fast.max_queue_requests, fast.queue_timeout_ms) == (800, 1000)
    chosen = bounded_settings(capacity_hz=2, deadline_s=1, tiles=1, queue=3, queue_timeout_ms=100)
    assert (chosen.max_queue_requests, chosen.queue_timeout_ms) == (3, 100)


def test_the_rounds_against_a_server_become_a_report(
    idle_server: TritonServer, questions: list[Question]
) -> None:
    found = measure_setup(
        SETUP,
        idle_server.grpc_address,
        questions,
        capacity_hz=5,
        deadline_s=20,
        rounds=1,
        period_s=0.4,
    )
    assert [load.factor for load in found.loads] == [1, 2, 4]
    assert [load.sent for load in found.loads] == [2, 4, 8]
    assert found.batch.priority == "batch"
    result = result_of(found)
    text = to_markdown(result)
    assert "**A test** (max_queue_requests 64): capacity 5.0 images/s" in text
    assert "| 4x as batch work, 20.0/s |" in text
    assert draw(result).axes[0].get_ylim()[0] == 0


def result_of(setup: SetupResult) -> OverloadResult:
    return OverloadResult(
        machine="a test",
        conditions=read_conditions(),
        versions={},
        network="a network",
        products=("plate",),
        deadline_s=1,
        period_s=1,
        rounds=1,
        setups=(setup,),
    )


def test_the_goal_wants_the_goodput_and_no_wrong_answer(
    idle_server: TritonServer, questions: list[Question]
) -> None:
    found = measure_setup(
        SETUP,
        idle_server.grpc_address,
        questions[:1],
        capacity_hz=5,
        deadline_s=20,
        rounds=1,
        period_s=0.2,
    )

    def at_four_times(ratio: float, setup: SetupResult = found) -> OverloadResult:
        spread = Ratio(median=ratio, low=ratio, high=ratio)
        return result_of(replace(setup, goodput_ratios={"4x": spread}))

    assert at_four_times(0.85).meets_goal
    assert not at_four_times(0.75).meets_goal
    assert not result_of(replace(found, goodput_ratios={})).meets_goal
    wrong = replace(found.batch, counts={**found.batch.counts, WRONG: 1})
    assert not at_four_times(0.85, replace(found, batch=wrong)).meets_goal
