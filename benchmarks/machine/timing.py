"""How long something takes, and how many times faster one way is than another.

On a shared machine the same step takes 20 % longer a minute later. So ways that are compared take
turns within one run, and what is told is the ratio within each turn, with its spread.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from tqdm import tqdm


@dataclass(frozen=True, kw_only=True)
class Timing:
    """How long a step took, over all its repetitions after the warm-up.

    Attributes:
        count: Repetitions.
        p50_ms: Median.
        p90_ms: 90th percentile.
        p99_ms: 99th percentile; with fewer than 100 repetitions it is close to the longest.
        max_ms: The longest.
        samples_ms: Each of them, in order.
    """

    count: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float
    samples_ms: tuple[float, ...]

    @classmethod
    def of(cls, samples_ms: list[float]) -> "Timing":
        """Sum up what was measured.

        Raises:
            ValueError: Nothing was measured.
        """
        if not samples_ms:
            raise ValueError("nothing was measured")
        p50, p90, p99 = (float(value) for value in np.percentile(samples_ms, (50, 90, 99)))
        return cls(
            count=len(samples_ms),
            p50_ms=p50,
            p90_ms=p90,
            p99_ms=p99,
            max_ms=max(samples_ms),
            samples_ms=tuple(round(sample, 3) for sample in samples_ms),
        )


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """How many times as long one way takes as another that took turns with it.

    Attributes:
        median: Of the ratios of each turn.
        low: Their lower quartile.
        high: Their upper quartile.
    """

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, numerators: list[float], denominators: list[float]) -> "Ratio":
        """Of pairs that were measured right after each other."""
        pairs = np.array(numerators) / np.array(denominators)
        low, middle, high = (float(value) for value in np.percentile(pairs, (25, 50, 75)))
        return cls(median=middle, low=low, high=high)

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


def take_turns(
    steps: Mapping[str, Callable[[], Any]],
    *,
    repetitions: int,
    warm_up: int = 1,
    budget_s: float = float("inf"),
    least: int = 3,
    progress: str = "",
) -> dict[str, list[float]]:
    """Time several ways in turns, each turn beginning with another one.

    Args:
        steps: Ways by name.
        repetitions: Turns that count.
        warm_up: Turns before them that do not.
        budget_s: No further turn is begun after so many seconds, once there are `least`.
        least: Turns that are made whatever they cost.
        progress: What the progress bar says; no bar if empty.

    Returns:
        Milliseconds by name, as many for each.
    """
    names = list(steps)
    times_ms: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(warm_up):
        for step in steps.values():
            step()
    begun = perf_counter()
    for turn in tqdm(range(repetitions), progress, unit="turn", disable=not progress, leave=False):
        if turn >= least and perf_counter() - begun > budget_s:
            break
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            start = perf_counter()
            steps[name]()
            times_ms[name].append(1e3 * (perf_counter() - start))
    return times_ms
