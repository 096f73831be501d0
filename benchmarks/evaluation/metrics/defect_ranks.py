"""Where the defects' pixels stand among the good ones: the table that all pixel metrics come from.

Every curve over a threshold moves sideways at the value of a good pixel and upwards at that of a
defect's pixel. So it is known exactly by its upward moves: the different values in the defects and,
for each of them, how many good pixels are higher and how many are tied.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.evaluation.metrics.components import SizeQuartiles
from benchmarks.evaluation.metrics.score_counts import Counts, Keys, ScoreCounts

Shares = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class DefectRanks:
    """The different values of the defects' pixels, highest first.

    Attributes:
        keys: (V,) the values, as `score_counts.to_keys` writes them.
        pixels: (V,) defect pixels with each value.
        good_above: (V,) good pixels with a higher value.
        good_tied: (V,) good pixels with the same value.
        good_pixels: All good pixels.
        overlap: (4, V) for each bin of sizes: how much the mean share of the bin's components that
            is at or above the threshold grows at each value; a row sums to 1, or to 0 if the bin
            has no component.
    """

    keys: Keys
    pixels: Counts
    good_above: Counts
    good_tied: Counts
    good_pixels: int
    overlap: Shares

    @classmethod
    def build(
        cls,
        good: ScoreCounts,
        keys: Keys,
        component: npt.NDArray[np.uint32],
        quartiles: SizeQuartiles,
    ) -> "DefectRanks":
        """Rank the defects' pixels among the good ones.

        Args:
            good: All good pixels.
            keys: (P,) of the defects' pixels, in any order, at least one.
            component: (P,) number of each pixel's component.
            quartiles: The components' sizes and bins.
        """
        order = np.argsort(keys, kind="stable")[::-1]
        keys, component = keys[order], component[order]
        starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
        different = keys[starts]
        good_above, good_tied = good.above_and_tied(different)
        overlap = np.zeros((quartiles.counts.size, different.size))
        for number, count in enumerate(quartiles.counts):
            if count:
                in_bin = quartiles.bin_of_component == number
                weight = np.where(in_bin, 1 / (quartiles.sizes_px * count), 0.0)
                overlap[number] = np.add.reduceat(weight[component], starts)
        return cls(
            keys=different,
            pixels=np.diff(np.append(starts, keys.size)),
            good_above=good_above,
            good_tied=good_tied,
            good_pixels=good.total,
            overlap=overlap,
        )

    def area(self, growth: Shares, *, up_to: float = 1.0) -> float:
        """Area under a curve over the false-positive rate, divided by its limit.

        Ties of good and defect pixels are passed in a straight line, as in the trapezoidal rule
        over all different values.

        Args:
            growth: (V,) how much the curve rises at each value.
            up_to: Limit of the false-positive rate, above 0 and up to 1.
        """
        limit = up_to * self.good_pixels
        begin = self.good_above.astype(np.float64)
        tied = self.good_tied.astype(np.float64)
        # A rise that is complete before the limit counts from its middle on; one that the limit
        # cuts counts as the triangle up to the limit.
        reach = np.clip(limit - begin, 0, None)
        cut = reach < tied
        part = np.where(cut, reach**2 / np.where(cut, 2 * tied, 1), reach - tied / 2)
        return float((growth * part).sum() / limit)
