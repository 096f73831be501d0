"""The overload benchmark in tables and a picture."""

from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.load.open_loop import IN_TIME, LATE, LOST, REFUSED, WRONG
from benchmarks.load.overload.results import GOAL, LoadResult, OverloadResult, SetupResult
from benchmarks.machine.result_files import table
from benchmarks.machine.timing import Timing

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def to_markdown(result: OverloadResult) -> str:
    """The measurements as tables and sentences."""
    products = f"{len(result.products)} product{'s' if len(result.products) > 1 else ''}"
    sections = [
        f"{result.network}, {products}, small JPEG files by gRPC; deadline "
        f"{result.deadline_s:g} s; {result.rounds} rounds of {result.period_s:g} s a load. Server "
        f"and clients on {result.machine}; load before it {result.conditions.load_average:.1f}.",
        *(_setup(setup) for setup in result.setups),
        f"Goal, {GOAL:.0%} of the goodput at four times the capacity, with the queues bounded by "
        f"the deadline: {'met' if result.meets_goal else '**not met**'}.",
    ]
    problems = {
        problem
        for setup in result.setups
        for load in (*setup.loads, setup.batch)
        for problem in load.problems
    }
    sections += [f"Lost: {problem}" for problem in sorted(problems)]
    return "\n\n".join(section.strip() for section in sections) + "\n"


def _setup(one: SetupResult) -> str:
    setup = one.setup
    settings = f"max_queue_requests {setup.max_queue_requests}"
    if setup.max_batch_tiles is not None:
        settings += f", max_batch_tiles {setup.max_batch_tiles}"
    if setup.queue_timeout_ms:
        settings += f", queue_timeout_ms {setup.queue_timeout_ms}"
    ratios = "; ".join(f"{name} {ratio}" for name, ratio in one.goodput_ratios.items())
    return "\n\n".join(
        [
            f"**{setup.name.capitalize()}** ({settings}): capacity {one.capacity_hz:.1f} images/s",
            _loads(one).strip(),
            f"Goodput over that at the capacity, round by round: {ratios or 'none in time'}.",
            _line(one).strip(),
        ]
    )


def _loads(one: SetupResult) -> str:
    head = ["offered", "goodput", "sent", "in time", "late", "refused", "lost", "wrong"]
    head += ["answer p50 / p99", "refusal p50 / p99", "sender's share of a core"]
    return table(head, [_load(load) for load in (*one.loads, one.batch)])


def _load(load: LoadResult) -> list[str]:
    note = " as batch work" if load.priority == "batch" else ""
    counts = [load.counts[name] for name in (IN_TIME, LATE, REFUSED, LOST, WRONG)]
    return [
        f"{load.factor}x{note}, {load.offered_hz:.1f}/s",
        f"{median(load.goodput_hz):.1f}/s",
        f"{load.sent:,}",
        *(f"{count:,}" for count in counts),
        _times(load.answers),
        _times(load.refusals),
        f"{load.client_cpu:.0%}",
    ]


def _line(one: SetupResult) -> str:
    alone, beside = one.line_unanswered
    rows = [
        ["alone", _times(one.line_alone), f"{alone}"],
        [f"beside batch work of {one.batch.factor}x", _times(one.line_beside), f"{beside}"],
    ]
    found = table(["the line, one image at a time", "p50 / p99", "not answered in time"], rows)
    if one.line_ratio is None:
        return found
    return f"{found}\nMedian beside batch work over that alone, round by round: {one.line_ratio}."


def _times(timing: Timing | None) -> str:
    return "-" if timing is None else f"{timing.p50_ms:,.0f} / {timing.p99_ms:,.0f} ms"


def draw(result: OverloadResult) -> "Figure":
    """Goodput over the offered load, with the quartiles of the rounds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.5), layout="constrained")
    axis: Any = figure.subplots()
    for setup in result.setups:
        factors = [load.factor for load in setup.loads]
        low, middle, high = np.array(
            [np.percentile(load.goodput_hz, (25, 50, 75)) for load in setup.loads]
        ).T
        axis.errorbar(
            factors,
            middle,
            yerr=(middle - low, high - middle),
            marker="o",
            capsize=3,
            label=setup.setup.name,
        )
    axis.axhline(
        result.setups[-1].capacity_hz, color="grey", linestyle=":", label="capacity, closed loop"
    )
    axis.set(
        xlabel="offered, in multiples of the capacity",
        ylabel=f"right answers within {result.deadline_s:g} s, a second",
        ylim=(0, None),
    )
    figure.legend(loc="outside lower center", ncols=3, fontsize=8)
    return figure
