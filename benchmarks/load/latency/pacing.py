"""What the line's rhythm does to the latency: back to back, at fixed rates, after idle gaps."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

from tqdm import tqdm

from benchmarks.machine.timing import Timing

RATES_HZ = (1.0, 5.0, 20.0)
# At most this share of the time may be work; else requests queue up without end.
_SUSTAINABLE = 0.9


@dataclass(frozen=True, kw_only=True)
class PacedResult:
    """One rhythm.

    Attributes:
        way: Who was asked.
        rhythm: Such as "5 a second".
        timing: From the moment at which a request was due; None if this machine cannot keep up.
        first_ms: The first request, after the pause before it.
    """

    way: str
    rhythm: str
    timing: Timing | None
    first_ms: float | None


def measure_rhythms(
    way: str,
    ask: Callable[[], object],
    *,
    seconds: float,
    gap_s: float,
    gaps: int,
) -> tuple[PacedResult, ...]:
    """Ask in several rhythms.

    Args:
        way: Its name in the results.
        ask: Makes one request.
        seconds: Of each rhythm.
        gap_s: Length of an idle gap in seconds.
        gaps: How many.
    """
    ask()
    back_to_back = _timed_until(ask, seconds)
    p50_s = Timing.of(back_to_back).p50_ms / 1e3
    results = [_result(way, "back to back", back_to_back)]
    for rate_hz in RATES_HZ:
        rhythm = f"{rate_hz:g} a second"
        if p50_s * rate_hz > _SUSTAINABLE:
            results.append(PacedResult(way=way, rhythm=rhythm, timing=None, first_ms=None))
            continue
        results.append(_result(way, rhythm, _at_rate(ask, rate_hz, seconds, way)))
    after_gaps = []
    for _ in tqdm(range(gaps), f"{way}, idle gaps", unit="gap", leave=False):
        time.sleep(gap_s)
        after_gaps.append(_timed(ask))
    results.append(_result(way, f"after {gap_s:g} s of rest", after_gaps))
    return tuple(results)


def _result(way: str, rhythm: str, samples_ms: list[float]) -> PacedResult:
    return PacedResult(way=way, rhythm=rhythm, timing=Timing.of(samples_ms), first_ms=samples_ms[0])


def _timed(ask: Callable[[], object]) -> float:
    start = perf_counter()
    ask()
    return 1e3 * (perf_counter() - start)


def _timed_until(ask: Callable[[], object], seconds: float) -> list[float]:
    end = perf_counter() + seconds
    samples: list[float] = []
    while perf_counter() < end or len(samples) < 3:
        samples.append(_timed(ask))
    return samples


def _at_rate(ask: Callable[[], object], rate_hz: float, seconds: float, way: str) -> list[float]:
    count = max(3, round(rate_hz * seconds))
    begin = perf_counter()
    samples: list[float] = []
    for number in tqdm(range(count), f"{way}, {rate_hz:g} a second", unit="image", leave=False):
        due = begin + number / rate_hz
        time.sleep(max(0.0, due - perf_counter()))
        ask()
        # From when it was due: a request that had to wait for the one before it waited.
        samples.append(1e3 * (perf_counter() - due))
    return samples
