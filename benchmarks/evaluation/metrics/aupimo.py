"""AUPIMO: recall on each defective image at very few false positives on good ones.

The false-positive rate is the mean of the good images' own rates; a defective image's recall is the
share of its defect pixels at or above the threshold. AUPIMO is the mean recall between rates of
1e-5 and 1e-4, along the logarithm of the rate (Bertoldo, Ameln, Vaidya, Akçay, "AUPIMO: Redefining
Anomaly Localization Benchmarks with High Speed and Low Tolerance", BMVC 2024). It is exact here:
every value of a good pixel is a threshold.
"""

import math

import numpy as np
import numpy.typing as npt

from benchmarks.evaluation.metrics.score_counts import Keys

LOWER, UPPER = 1e-5, 1e-4


class HighestGoodPixels:
    """The highest pixels of the good images, as far down as rates up to `UPPER` need them.

    Args:
        images: How many good images there will be at most.
    """

    def __init__(self, *, images: int) -> None:
        self._images = images
        self._added = 0
        self._fewest_pixels = math.inf
        self._keys: Keys = np.empty(0, np.uint32)  # highest first
        self._weights: npt.NDArray[np.float64] = np.empty(0)

    def add(self, keys: Keys) -> None:
        """Take in all pixels of a good image."""
        self._added += 1
        self._fewest_pixels = min(self._fewest_pixels, keys.size)
        weight = 1 / (self._images * keys.size)
        if self._weights.sum() >= UPPER:
            keys = keys[keys >= self._keys[-1]]
        # No more than these can lie below the rate; ties with the last of them are kept.
        enough = math.ceil(UPPER / weight) + 1
        if keys.size > enough:
            keys = keys[keys >= np.partition(keys, keys.size - enough)[keys.size - enough]]
        merged, place = np.unique(np.concatenate([self._keys, keys]), return_inverse=True)
        weights = np.zeros(merged.size)
        np.add.at(weights, place, np.concatenate([self._weights, np.full(keys.size, weight)]))
        rate = np.cumsum(weights[::-1])
        kept = int(np.searchsorted(rate, UPPER)) + 1
        self._keys, self._weights = merged[::-1][:kept], weights[::-1][:kept]

    def recall_areas(self, defects: list[Keys]) -> list[float] | None:
        """AUPIMO of each defective image.

        Args:
            defects: For each image the keys of its defect pixels, in any order, at least one.

        Returns:
            One area an image; None if the good images have too few pixels (100,000 together)
            for a rate of 1e-5 to mean anything.

        Raises:
            RuntimeError: More good images were added than announced.
        """
        if self._added > self._images:
            raise RuntimeError(f"{self._added} good images were added, {self._images} announced")
        if not self._added or self._added * self._fewest_pixels < 1 / LOWER:
            return None
        # Fewer images weigh more each; what was kept reaches beyond `UPPER` then.
        weights = self._weights * (self._images / self._added)
        after = np.cumsum(weights)
        before = after - weights
        low, high = np.maximum(before, LOWER), np.minimum(after, UPPER)
        inside = high > low
        before, after, low, high = (array[inside] for array in (before, after, low, high))
        thresholds = self._keys[inside]
        width = np.log(high / low)
        areas = []
        for keys in defects:
            ordered = np.sort(keys)
            above = 1 - np.searchsorted(ordered, thresholds, side="right") / keys.size
            reached = 1 - np.searchsorted(ordered, thresholds, side="left") / keys.size
            # Between the two rates the recall rises in a straight line over the rate.
            slope = (reached - above) / (after - before)
            area = above * width + slope * ((high - low) - before * width)
            areas.append(float(area.sum() / math.log(UPPER / LOWER)))
        return areas
