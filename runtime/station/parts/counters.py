"""What a station counts and times; safe from several threads."""

import threading
from collections import Counter, deque
from dataclasses import dataclass

import numpy as np

_REMEMBERED = 2_000


@dataclass(frozen=True)
class Timing:
    """How long a stage took, of all parts and of the last two thousand.

    Attributes:
        count: How many were timed.
        min_ms: Of all.
        mean_ms: Of all.
        max_ms: Of all.
        p50_ms: Of the last.
        p99_ms: Of the last.
    """

    count: int
    min_ms: float
    mean_ms: float
    max_ms: float
    p50_ms: float
    p99_ms: float


class Stopwatch:
    """Times of one stage, in milliseconds."""

    def __init__(self) -> None:
        self._count, self._sum, self._min, self._max = 0, 0.0, float("inf"), 0.0
        self._last: deque[float] = deque(maxlen=_REMEMBERED)

    def add(self, ms: float) -> None:
        """Add a time."""
        self._count += 1
        self._sum += ms
        self._min, self._max = min(self._min, ms), max(self._max, ms)
        self._last.append(ms)

    def timing(self) -> Timing | None:
        """All of it; None if nothing was timed."""
        if not self._count:
            return None
        p50, p99 = np.percentile(np.array(self._last), [50, 99])
        return Timing(
            count=self._count,
            min_ms=round(self._min, 3),
            mean_ms=round(self._sum / self._count, 3),
            max_ms=round(self._max, 3),
            p50_ms=round(float(p50), 3),
            p99_ms=round(float(p99), 3),
        )


class Counters:
    """Since the station's start."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._watches: dict[str, Stopwatch] = {}

    def count(self, what: str, of: str = "", by: int = 1) -> None:
        """Count something.

        Args:
            what: Such as "triggers".
            of: Such as the source's name.
            by: How many.
        """
        with self._lock:
            self._counts[what, of] += by

    def time(self, stage: str, ms: float) -> None:
        """Add a stage's time in milliseconds."""
        with self._lock:
            self._watches.setdefault(stage, Stopwatch()).add(ms)

    def total(self, what: str) -> int:
        """How many, of all sources or signals."""
        with self._lock:
            return sum(count for (name, _), count in self._counts.items() if name == what)

    def counts(self) -> dict[str, dict[str, int]]:
        """All counts, by what was counted and then by whose."""
        found: dict[str, dict[str, int]] = {}
        with self._lock:
            for (what, of), count in sorted(self._counts.items()):
                found.setdefault(what, {})[of] = count
        return found

    def timings(self) -> dict[str, Timing]:
        """All times, by stage."""
        with self._lock:
            found = {stage: watch.timing() for stage, watch in self._watches.items()}
        return {stage: timing for stage, timing in found.items() if timing is not None}
