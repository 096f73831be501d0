"""All pixel metrics of a test set, in one pass over its images, without holding their maps.

The counts are lossless, so the numbers are exact: those of all pixels pooled and sorted.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.evaluation.metrics.aupimo import HighestGoodPixels
from benchmarks.evaluation.metrics.components import Component, SizeQuartiles, label_components
from benchmarks.evaluation.metrics.defect_ranks import DefectRanks, Shares
from benchmarks.evaluation.metrics.pro import RegionOverlap, measure_overlap
from benchmarks.evaluation.metrics.score_counts import Counts, Keys, ScoreCounts, to_keys, to_values
from runtime.geometry.region import AnomalyMap

_CURVE_POINTS = 2000


@dataclass(frozen=True, kw_only=True)
class OverlapCurve:
    """The exact PRO curve at enough points for a drawing.

    Attributes:
        false_positive_rate: (K,) ascending.
        overlap: (K,) mean share of a component that is found.
    """

    false_positive_rate: Shares
    overlap: Shares


@dataclass(frozen=True, kw_only=True)
class PixelMetrics:
    """The pixel metrics of one test set.

    Attributes:
        good_pixels: Pixels outside all components.
        defect_pixels: Pixels inside a component.
        auroc: Area under the ROC curve.
        average_precision: Sum of precision times gain in recall over all thresholds.
        best_f1: Highest harmonic mean of precision and recall.
        best_f1_threshold: Pixels above it are the ones with which that is reached.
        overlap: AU-PRO, also by the components' size.
        aupimo: Mean over the defective images; None with too few pixels of good images.
    """

    good_pixels: int
    defect_pixels: int
    auroc: float
    average_precision: float
    best_f1: float
    best_f1_threshold: float
    overlap: RegionOverlap
    aupimo: float | None


@dataclass(frozen=True, kw_only=True)
class PixelResult:
    """The metrics, and what a report needs beside them.

    Attributes:
        metrics: The numbers.
        aupimo_of_image: By the name of the defective image.
        curve: The PRO curve.
    """

    metrics: PixelMetrics
    aupimo_of_image: dict[str, float]
    curve: OverlapCurve


class PixelEvaluator:
    """Takes a test set's maps and masks, one image after the other.

    Memory: 32 MiB for each factor of two between the lowest and the highest map value, and 8 bytes
    for each defect pixel, whatever the number of images.

    Example:
        >>> evaluator = PixelEvaluator(good_images=100)
        >>> for name, anomaly_map, mask, is_defective in images:
        ...     evaluator.add(name, anomaly_map, mask, is_defective=is_defective)
        >>> evaluator.result().metrics.overlap.aupro["exact"]["30%"]

    Args:
        good_images: How many of the images will be good.
    """

    def __init__(self, *, good_images: int) -> None:
        self._good = ScoreCounts()
        self._highest_good = HighestGoodPixels(images=good_images)
        self._keys: list[Keys] = []
        self._component_numbers: list[npt.NDArray[np.uint32]] = []
        self._defective_names: list[str] = []
        self.components: list[Component] = []

    def add(
        self,
        name: str,
        anomaly_map: AnomalyMap,
        mask: npt.NDArray[np.bool_],
        *,
        is_defective: bool,
        ignored: npt.NDArray[np.bool_] | None = None,
    ) -> list[Component]:
        """Count one image's pixels.

        Args:
            name: The image's name.
            anomaly_map: (H, W) float32.
            mask: (H, W) bool, True on defects.
            is_defective: The image's label.
            ignored: (H, W) bool, True on pixels that are not looked at and count for nothing; None
                if there are none.

        Returns:
            The defects in it.

        Raises:
            ValueError: The map holds NaN, it has another shape than the mask, or the mask of a good
                image is not empty.
        """
        if anomaly_map.shape != mask.shape:
            raise ValueError(f"map {anomaly_map.shape} and mask {mask.shape} differ in shape")
        if np.isnan(anomaly_map).any():
            raise ValueError("the anomaly map holds NaN")
        if ignored is not None:
            mask = mask & ~ignored
        has_defect = bool(mask.any())
        if has_defect and not is_defective:
            raise ValueError("it is labelled good, and its mask is not empty")
        keys = to_keys(anomaly_map)
        looked_at = keys if ignored is None else keys[~ignored.ravel()]
        if not is_defective:
            self._highest_good.add(looked_at)
        if not has_defect:
            self._good.add(looked_at)
            return []
        counted = ~mask if ignored is None else ~(mask | ignored)
        self._good.add(keys[counted.ravel()])
        return self._add_defects(name, keys, mask)

    def result(self) -> PixelResult | None:
        """The metrics; None while there are no good or no defect pixels."""
        if not self.components or not self._good.total:
            return None
        keys = np.concatenate(self._keys)
        quartiles = SizeQuartiles.of([component.size_px for component in self.components])
        ranks = DefectRanks.build(
            self._good, keys, np.concatenate(self._component_numbers), quartiles
        )
        best_f1, best_f1_key = _best_f1(ranks)
        areas = self._highest_good.recall_areas(self._keys)
        metrics = PixelMetrics(
            good_pixels=self._good.total,
            defect_pixels=keys.size,
            auroc=ranks.area(ranks.pixels / keys.size),
            average_precision=_average_precision(ranks),
            best_f1=best_f1,
            # Just below, since pixels above a threshold count as defective.
            best_f1_threshold=float(np.nextafter(to_values(best_f1_key)[()], np.float32(-np.inf))),
            overlap=measure_overlap(ranks, self._good, quartiles),
            aupimo=float(np.mean(areas)) if areas else None,
        )
        return PixelResult(
            metrics=metrics,
            aupimo_of_image=dict(zip(self._defective_names, areas or (), strict=False)),
            curve=_curve(ranks, quartiles),
        )

    def _add_defects(self, name: str, keys: Keys, mask: npt.NDArray[np.bool_]) -> list[Component]:
        pixels = label_components(mask)
        defect_keys = keys[pixels.positions]
        peaks = np.zeros(len(pixels.boxes), np.uint32)
        np.maximum.at(peaks, pixels.component, defect_keys)
        first = len(self.components)
        added = [
            Component(
                image=name,
                x_px=int(box[0]),
                y_px=int(box[1]),
                width_px=int(box[2]),
                height_px=int(box[3]),
                size_px=int(box[4]),
                peak=float(peak),
            )
            for box, peak in zip(pixels.boxes, to_values(peaks), strict=True)
        ]
        self._keys.append(defect_keys)
        self._component_numbers.append((pixels.component + first).astype(np.uint32))
        self._defective_names.append(name)
        self.components += added
        return added


def _hits(ranks: DefectRanks) -> tuple[Counts, Counts]:
    """Defect pixels and good pixels at or above each value."""
    return np.cumsum(ranks.pixels), ranks.good_above + ranks.good_tied


def _average_precision(ranks: DefectRanks) -> float:
    hits, false = _hits(ranks)
    return float((ranks.pixels * (hits / (hits + false))).sum() / hits[-1])


def _best_f1(ranks: DefectRanks) -> tuple[float, Keys]:
    hits, false = _hits(ranks)
    # 2 TP / (2 TP + FP + FN), where TP + FN are all defect pixels.
    f1 = 2 * hits / (hits + false + hits[-1])
    best = int(np.argmax(f1))
    return float(f1[best]), ranks.keys[best]


def _curve(ranks: DefectRanks, quartiles: SizeQuartiles) -> OverlapCurve:
    growth = (quartiles.counts / quartiles.counts.sum()) @ ranks.overlap
    overlap = np.cumsum(growth)
    begin, end = ranks.good_above, ranks.good_above + ranks.good_tied
    # Each value is a corner before its rise and one after it.
    rate = np.stack([begin, end], axis=1).ravel() / ranks.good_pixels
    height = np.stack([overlap - growth, overlap], axis=1).ravel()
    chosen = np.unique(np.linspace(0, rate.size - 1, _CURVE_POINTS).astype(np.int64))
    return OverlapCurve(
        false_positive_rate=np.concatenate([[0.0], rate[chosen], [1.0]]),
        overlap=np.concatenate([[0.0], height[chosen], [1.0]]),
    )
