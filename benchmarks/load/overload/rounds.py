"""The rounds of the overload benchmark against one running server."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from time import monotonic, perf_counter, sleep

from tqdm import tqdm

from benchmarks.load.open_loop import IN_TIME, OUTCOMES, REFUSED, Load, OpenLoop
from benchmarks.load.overload.results import LoadResult, Setup, SetupResult
from benchmarks.machine.timing import Ratio, Timing
from benchmarks.workload.question import Question
from runtime.client.client import Client
from runtime.errors import DeadlineExceededError, ServerError, ServerUnavailableError

FACTORS = (1, 2, 4)
# Until the queue of the batch work is full.
_RAMP_S = 1.0
# The line's own pace.
_LINE_PAUSE_S = 0.05


def measure_setup(
    setup: Setup,
    address: str,
    questions: Sequence[Question],
    *,
    capacity_hz: float,
    deadline_s: float,
    rounds: int,
    period_s: float,
) -> SetupResult:
    """Offer all loads in turn, and ask as the line does, alone and beside batch work.

    Args:
        setup: How the server's repository was filled.
        address: host:port of its gRPC interface.
        questions: What is sent, in turn.
        capacity_hz: What the loads are multiples of.
        deadline_s: Seconds within which an answer is of use.
        rounds: Turns.
        period_s: Seconds of each load in each turn.

    Raises:
        ServerError: The line got a wrong answer, or an error that is no refusal.
    """
    loads: dict[int, list[Load]] = {factor: [] for factor in FACTORS}
    batches: list[Load] = []
    alone: list[_Answers] = []
    beside: list[_Answers] = []
    with (
        OpenLoop(address, questions, deadline_s=deadline_s) as line_load,
        OpenLoop(address, questions, deadline_s=deadline_s, priority="batch") as batch_load,
        Client(address, transport="grpc", patience_s=0, timeout_s=deadline_s) as line,
        Client(address, transport="grpc") as patient,
        ThreadPoolExecutor(1) as pool,
    ):

        def settle() -> None:
            """Wait until what is left of the load before has been worked off."""
            patient.inspect(questions[0].image, product=questions[0].product, want_map=False)

        for number in tqdm(range(rounds), setup.name, unit="turn"):
            first = number % len(FACTORS)
            for factor in FACTORS[first:] + FACTORS[:first]:
                settle()
                loads[factor].append(line_load.run(factor * capacity_hz, period_s))
            settle()
            alone.append(_ask_as_the_line(line, questions, period_s))
            settle()
            job = pool.submit(batch_load.run, FACTORS[-1] * capacity_hz, _RAMP_S + period_s)
            sleep(_RAMP_S)
            beside.append(_ask_as_the_line(line, questions, period_s))
            batches.append(job.result())
    return SetupResult(
        setup=setup,
        capacity_hz=capacity_hz,
        loads=tuple(_sum_up(factor, "line", found) for factor, found in loads.items()),
        goodput_ratios=_goodput_ratios(loads),
        line_alone=_timing([one.latencies_ms for one in alone]),
        line_beside=_timing([one.latencies_ms for one in beside]),
        line_ratio=_line_ratio(alone, beside),
        line_unanswered=(_unanswered(alone), _unanswered(beside)),
        batch=_sum_up(FACTORS[-1], "batch", batches),
    )


class _Answers:
    """What the line got in one stretch of time."""

    def __init__(self) -> None:
        self.latencies_ms: list[float] = []
        self.unanswered = 0


def _ask_as_the_line(client: Client, questions: Sequence[Question], period_s: float) -> _Answers:
    """One image after the other, each once."""
    answers = _Answers()
    number, end = 0, monotonic() + period_s
    while monotonic() < end:
        question = questions[number % len(questions)]
        number += 1
        start = perf_counter()
        try:
            found = client.inspect(question.image, product=question.product, want_map=False)
        except (DeadlineExceededError, ServerUnavailableError):
            answers.unanswered += 1
        else:
            if not question.is_right(found.score):
                raise ServerError(f"a score of {found.score}, expected {question.score}")
            answers.latencies_ms.append(1e3 * (perf_counter() - start))
        sleep(_LINE_PAUSE_S)
    return answers


def _goodput_ratios(loads: dict[int, list[Load]]) -> dict[str, Ratio]:
    ones = [one.goodput_hz for one in loads[1]]
    if not all(ones):
        return {}
    return {
        f"{factor}x": Ratio.of([one.goodput_hz for one in found], ones)
        for factor, found in loads.items()
        if factor > 1
    }


def _sum_up(factor: int, priority: str, loads: Sequence[Load]) -> LoadResult:
    return LoadResult(
        factor=factor,
        priority=priority,
        offered_hz=median(one.offered_hz for one in loads),
        sent=sum(one.sent for one in loads),
        counts={name: sum(one.counts[name] for one in loads) for name in OUTCOMES},
        goodput_hz=tuple(one.goodput_hz for one in loads),
        answers=_timing([one.latencies_ms[IN_TIME] for one in loads]),
        refusals=_timing([one.latencies_ms[REFUSED] for one in loads]),
        client_cpu=median(one.client_cpu for one in loads),
        problems=tuple(sorted({problem for one in loads for problem in one.problems})),
    )


def _timing(rounds_ms: Sequence[list[float]]) -> Timing | None:
    """Of all rounds together; None if nothing was measured in any."""
    samples_ms = [sample for one in rounds_ms for sample in one]
    return Timing.of(samples_ms) if samples_ms else None


def _line_ratio(alone: Sequence[_Answers], beside: Sequence[_Answers]) -> Ratio | None:
    if not all(one.latencies_ms for one in (*alone, *beside)):
        return None
    return Ratio.of(
        [median(one.latencies_ms) for one in beside], [median(one.latencies_ms) for one in alone]
    )


def _unanswered(answers: Sequence[_Answers]) -> int:
    return sum(one.unanswered for one in answers)
