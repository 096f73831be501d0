"""Per-region overlap: AU-PRO up to a limit of the false-positive rate, exactly or by 99 points.

PRO at a threshold is the mean, over all components of the test set, of the share of the component
that is at or above the threshold; the false-positive rate counts all pixels outside the components
(Bergmann et al., "The MVTec Anomaly Detection Dataset", IJCV 129, 2021). The area is divided by the
limit. Components outside a bin of sizes are neither hit nor false positive.
"""

from dataclasses import dataclass

import numpy as np

from benchmarks.evaluation.metrics.components import QUARTILES, SizeQuartiles
from benchmarks.evaluation.metrics.defect_ranks import DefectRanks, Shares
from benchmarks.evaluation.metrics.score_counts import Counts, ScoreCounts

LIMITS = (0.30, 0.10, 0.05, 0.01)
_PAPER_THRESHOLDS = 99

Areas = dict[str, float]
"""AU-PRO by its limit, such as {"30%": 0.97}."""


@dataclass(frozen=True, kw_only=True)
class SizeBin:
    """AU-PRO of the components of some sizes.

    Attributes:
        name: "Q1" to "Q4".
        components: How many there are.
        smallest_px: Size of the smallest one; None if there is none.
        largest_px: Size of the largest one.
        aupro: By protocol and limit; None if there is none.
    """

    name: str
    components: int
    smallest_px: int | None
    largest_px: int | None
    aupro: dict[str, Areas] | None


@dataclass(frozen=True, kw_only=True)
class RegionOverlap:
    """All numbers about per-region overlap of one test set.

    Attributes:
        aupro: By protocol ("exact", "paper") and limit.
        quartiles_px: The quartiles q1, q2, q3 of the components' sizes.
        cumulative: Bins of sizes up to q1, up to q2, up to q3, and all.
        disjoint: Bins of sizes up to q1, above it up to q2, above that up to q3, and above.
    """

    aupro: dict[str, Areas]
    quartiles_px: tuple[float, float, float]
    cumulative: tuple[SizeBin, ...]
    disjoint: tuple[SizeBin, ...]


@dataclass(frozen=True, kw_only=True)
class PaperPoints:
    """The thresholds of the authors' evaluator: 99 ranks, evenly spaced over all good pixels.

    Below a false-positive rate of 1 % there is one of them, so what lies there is a straight line.
    """

    false_positive_rate: Shares
    defect_values_above: Counts

    @classmethod
    def of(cls, ranks: DefectRanks, good: ScoreCounts) -> "PaperPoints":
        """Take the thresholds out of the good pixels."""
        positions = np.linspace(0, good.total - 1, _PAPER_THRESHOLDS).astype(np.int64)
        thresholds = good.keys_at(positions)
        ascending = ranks.keys[::-1]
        above = ascending.size - np.searchsorted(ascending, thresholds, side="right")
        return cls(
            false_positive_rate=1 - (positions + 1) / good.total,
            defect_values_above=above.astype(np.int64),
        )

    def area(self, growth: Shares, *, up_to: float) -> float:
        """Trapezoidal area up to the limit, divided by it; the curve ends in (1, 1)."""
        overlap_from = np.concatenate([[0.0], np.cumsum(growth)])
        rate = np.append(self.false_positive_rate[::-1], 1.0)
        overlap = np.append(overlap_from[self.defect_values_above[::-1]], 1.0)
        inside = rate < up_to
        at_limit = np.interp(up_to, rate, overlap)
        return float(
            np.trapz(np.append(overlap[inside], at_limit), np.append(rate[inside], up_to)) / up_to
        )


def measure_overlap(
    ranks: DefectRanks, good: ScoreCounts, quartiles: SizeQuartiles
) -> RegionOverlap:
    """AU-PRO of all components, and of those of some sizes, by both protocols."""
    points = PaperPoints.of(ranks, good)
    counts = quartiles.counts

    def areas(bins: list[int]) -> dict[str, Areas]:
        share = counts[bins] / counts[bins].sum()
        growth = share @ ranks.overlap[bins]
        return {
            "exact": {_label(limit): ranks.area(growth, up_to=limit) for limit in LIMITS},
            "paper": {_label(limit): points.area(growth, up_to=limit) for limit in LIMITS},
        }

    def size_bin(name: str, bins: list[int]) -> SizeBin:
        sizes = quartiles.sizes_px[np.isin(quartiles.bin_of_component, bins)]
        return SizeBin(
            name=name,
            components=int(sizes.size),
            smallest_px=int(sizes.min()) if sizes.size else None,
            largest_px=int(sizes.max()) if sizes.size else None,
            aupro=areas(bins) if sizes.size else None,
        )

    numbers = range(len(QUARTILES))
    return RegionOverlap(
        aupro=areas(list(numbers)),
        quartiles_px=quartiles.limits_px,
        cumulative=tuple(size_bin(QUARTILES[n], list(range(n + 1))) for n in numbers),
        disjoint=tuple(size_bin(QUARTILES[n], [n]) for n in numbers),
    )


def _label(limit: float) -> str:
    return f"{limit:.0%}"
