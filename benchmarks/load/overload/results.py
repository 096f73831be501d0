"""What the overload benchmark measures."""

from dataclasses import dataclass

from benchmarks.machine.machine import Conditions
from benchmarks.machine.timing import Ratio, Timing

GOAL = 0.8
"""Goodput at four times the capacity, as a share of that at the capacity."""


@dataclass(frozen=True, kw_only=True)
class Setup:
    """How the server's repository was filled.

    Attributes:
        name: In words.
        max_queue_requests: Requests that may wait before each of `preprocess` and `engine`.
        queue_timeout_ms: How long they may; 0 for as long as their clients do.
        max_batch_tiles: The most tiles that the engine runs at once; None for the product's own.
    """

    name: str
    max_queue_requests: int
    queue_timeout_ms: int
    max_batch_tiles: int | None


@dataclass(frozen=True, kw_only=True)
class LoadResult:
    """One load over all rounds.

    Attributes:
        factor: Images offered, as a multiple of the capacity.
        priority: "line" or "batch".
        offered_hz: Images a second that were really sent; median of the rounds.
        sent: Images in all.
        counts: By outcome; together they are `sent`.
        goodput_hz: Right answers within the deadline a second, in each round.
        answers: Time of the answers within the deadline; None if there were none.
        refusals: Time to a refusal within the deadline; None if there were none.
        client_cpu: Share of one core that the sender took; median of the rounds.
        problems: What the lost ones got, each sentence once.
    """

    factor: int
    priority: str
    offered_hz: float
    sent: int
    counts: dict[str, int]
    goodput_hz: tuple[float, ...]
    answers: Timing | None
    refusals: Timing | None
    client_cpu: float
    problems: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class SetupResult:
    """The server in one setup.

    Attributes:
        setup: How its repository was filled.
        capacity_hz: Answers a second to a few clients that each wait for theirs; what the loads are
            multiples of.
        loads: By their factor, all of the line's priority.
        goodput_ratios: Goodput at a load over that at the capacity, round by round; none where a
            round had no answer in time at the capacity.
        line_alone: Time of the line's answers without another load.
        line_beside: The same beside batch work of the highest load.
        line_ratio: Of their medians, round by round; None if a round had no answers.
        line_unanswered: The line's requests that got no answer within the deadline, both ways.
        batch: That batch work.
    """

    setup: Setup
    capacity_hz: float
    loads: tuple[LoadResult, ...]
    goodput_ratios: dict[str, Ratio]
    line_alone: Timing | None
    line_beside: Timing | None
    line_ratio: Ratio | None
    line_unanswered: tuple[int, int]
    batch: LoadResult


@dataclass(frozen=True, kw_only=True)
class OverloadResult:
    """All measurements.

    Attributes:
        machine: What it ran on, clients included.
        conditions: In which state that was.
        versions: Versions of the libraries.
        network: The teacher, and the side of its input.
        products: That were asked for in turn.
        deadline_s: Seconds within which an answer is of use.
        period_s: Seconds of each load in each round.
        rounds: Turns of all loads.
        setups: The server as it comes, and with its queues bounded by the deadline.
        schema: Version of this file's layout.
    """

    machine: str
    conditions: Conditions
    versions: dict[str, str]
    network: str
    products: tuple[str, ...]
    deadline_s: float
    period_s: float
    rounds: int
    setups: tuple[SetupResult, ...]
    schema: str = "l2bt.overload_benchmark/1"

    @property
    def meets_goal(self) -> bool:
        """Whether the bounded server answers almost as many at the highest load, and none wrong."""
        bounded = self.setups[-1]
        highest = f"{bounded.loads[-1].factor}x"
        ratio = bounded.goodput_ratios.get(highest)
        loads = [load for one in self.setups for load in (*one.loads, one.batch)]
        wrong = sum(load.counts["wrong"] for load in loads)
        return ratio is not None and ratio.median >= GOAL and not wrong
