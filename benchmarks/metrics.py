"""Image-level and pixel-level AUROC, the latter over all pixels of a test set in one pass."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.extras import require

# float32 in an order-preserving integer form, its lowest 10 bits dropped: values closer than about
# one in 8,000 share a bin.
_DROPPED_BITS = 10
_BINS = 1 << (32 - _DROPPED_BITS)


def image_auroc(scores: Sequence[float], labels: Sequence[bool]) -> float | None:
    """Area under the ROC curve of image scores; None where one class is missing.

    Args:
        scores: One a image, higher for more anomalous.
        labels: True for defective images.
    """
    if len(set(labels)) < 2:
        return None
    sklearn_metrics: Any = require("sklearn.metrics")
    return float(sklearn_metrics.roc_auc_score(labels, scores))


@dataclass(frozen=True, kw_only=True)
class BoundedValue:
    """A number with a proven bound on its error."""

    value: float
    error_bound: float


class PixelAuroc:
    """Area under the ROC curve over the pixels of many images, which are never held together.

    Values are counted in 4 million order-preserving bins. Pairs of a defective and a good pixel in
    different bins are counted exactly; those in one bin count half, so half their share of all
    pairs bounds the error.
    """

    def __init__(self) -> None:
        self._good = np.zeros(_BINS, np.int64)
        self._defective = np.zeros(_BINS, np.int64)

    def add(self, anomaly_map: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_]) -> None:
        """Count one image's pixels.

        Args:
            anomaly_map: (H, W) float32.
            mask: (H, W) bool, True on defects.

        Raises:
            ValueError: The map holds NaN, or has another shape than the mask.
        """
        if anomaly_map.shape != mask.shape:
            raise ValueError(f"map {anomaly_map.shape} and mask {mask.shape} differ in shape")
        if np.isnan(anomaly_map).any():
            raise ValueError("the anomaly map holds NaN")
        bins = _ordered_bins(anomaly_map)
        self._good += np.bincount(bins[~mask], minlength=_BINS)
        if mask.any():
            self._defective += np.bincount(bins[mask], minlength=_BINS)

    def result(self) -> BoundedValue | None:
        """The area and its error bound; None while there are no good or no defective pixels."""
        pairs = float(self._good.sum()) * float(self._defective.sum())
        if pairs == 0:
            return None
        good_below = np.cumsum(self._good) - self._good
        higher = float((self._defective * good_below.astype(np.float64)).sum())
        tied = float((self._defective * self._good.astype(np.float64)).sum())
        return BoundedValue(value=(higher + tied / 2) / pairs, error_bound=tied / 2 / pairs)


def _ordered_bins(values: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    # Adding 0.0 makes -0.0 and 0.0 the same bits. Positive floats are ordered like their bits,
    # negative ones in reverse.
    bits = (np.ascontiguousarray(values, np.float32) + np.float32(0)).view(np.uint32)
    ordered = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    return (ordered >> _DROPPED_BITS).astype(np.int64)
