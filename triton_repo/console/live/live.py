"""The counters of the shift and the latest verdicts, for all browsers alike."""

import asyncio
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from triton_repo.console.archive.inspections import PAUSED, Inspections, Row
from triton_repo.console.live.shift import shift_start

_RATE_OVER_S = 10.0
_LATENCIES = 1000
_RECENT = 24


@dataclass(frozen=True, kw_only=True)
class Moment:
    """What the live page shows.

    Attributes:
        number: Rises with each change.
        latest: The latest inspection; None before the first.
        recent: The latest ones, the newest first.
        counts: Of the shift, by verdict; those of pauses as "paused".
        shift_began: When.
        rate_hz: Inspections a second over the last ten.
        p50_ms: Median time in the server, of the last thousand.
        p99_ms: Their 99th percentile.
    """

    number: int
    latest: Row | None
    recent: tuple[Row, ...] = field(repr=False)
    counts: Mapping[str, int]
    shift_began: datetime
    rate_hz: float
    p50_ms: float
    p99_ms: float

    @property
    def inspected(self) -> int:
        """Inspections of the shift, without those of pauses."""
        return sum(self.counts.values()) - self.counts.get(PAUSED, 0)


class Live:
    """Follows what comes into the archive; told by one thread, asked by others.

    Args:
        inspections: The archive's, from which the shift's counters begin.
        shift_starts: When shifts begin.
    """

    def __init__(self, inspections: Inspections, shift_starts: Sequence[str]) -> None:
        self._inspections = inspections
        self._starts = shift_starts
        self._lock = threading.Lock()
        self._number = 0
        self._recent: deque[Row] = deque(inspections.find_latest(_RECENT), _RECENT)
        self._latencies = deque([row["latency_ms"] for row in self._recent], _LATENCIES)
        self._times: deque[float] = deque()
        self._began = shift_start(datetime.now(), shift_starts)
        self._counts = Counter(inspections.count(since_s=self._began.timestamp()))
        self._changed: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}

    def tell(self, rows: Sequence[Row]) -> None:
        """Take what has come into the archive."""
        with self._lock:
            self._turn_over()
            began_s = self._began.timestamp()
            for row in rows:
                self._recent.appendleft(row)
                self._latencies.append(row["latency_ms"])
                self._times.append(row["at_s"])
                if row["at_s"] >= began_s:
                    self._counts[PAUSED if row["is_paused"] else row["verdict"]] += 1
            self._number += 1
            waiting = list(self._changed.items())
        for event, loop in waiting:
            loop.call_soon_threadsafe(event.set)

    def moment(self) -> Moment:
        """What there is to show now."""
        with self._lock:
            self._turn_over()
            now_s = time.time()
            while self._times and self._times[0] < now_s - _RATE_OVER_S:
                self._times.popleft()
            p50_ms, p99_ms = (
                np.percentile(self._latencies, (50, 99)) if self._latencies else (0.0, 0.0)
            )
            return Moment(
                number=self._number,
                latest=self._recent[0] if self._recent else None,
                recent=tuple(self._recent),
                counts=dict(self._counts),
                shift_began=self._began,
                rate_hz=len(self._times) / _RATE_OVER_S,
                p50_ms=float(p50_ms),
                p99_ms=float(p99_ms),
            )

    async def wait(self, number: int, timeout_s: float) -> None:
        """Wait until there is more than the moment of a number, or the time is over."""
        event = asyncio.Event()
        with self._lock:
            if self._number != number:
                return
            self._changed[event] = asyncio.get_running_loop()
        try:
            await asyncio.wait_for(event.wait(), timeout_s)
        except (asyncio.TimeoutError, TimeoutError):
            return
        finally:
            with self._lock:
                self._changed.pop(event, None)

    def _turn_over(self) -> None:
        began = shift_start(datetime.now(), self._starts)
        if began > self._began:
            self._began = began
            self._counts = Counter(self._inspections.count(since_s=began.timestamp()))
