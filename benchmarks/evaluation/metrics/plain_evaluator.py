"""The paper's evaluation written down plainly, to hold the fast one against.

All pixels pooled and sorted by scikit-learn; AU-PRO at 99 thresholds, each component's sorted
scores walked by a pointer, once for each bin of sizes. Nothing here is used to evaluate a model.
"""

from collections.abc import Iterable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.evaluation.metrics.pro import LIMITS
from runtime.extras import require

Image = tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]
_THRESHOLDS = 99


def evaluate_plainly(images: Iterable[Image]) -> dict[str, float]:
    """P-AUROC, pixel average precision, best F1, and AU-PRO for the four cumulative size bins.

    Args:
        images: Anomaly map and mask of each image; all are held in memory.

    Returns:
        The numbers by name, such as "AU-PRO Q4 30%".
    """
    metrics: Any = require("sklearn.metrics")
    held = list(images)
    scores = np.concatenate([anomaly_map.ravel() for anomaly_map, _ in held])
    labels = np.concatenate([mask.ravel() for _, mask in held])
    found = {
        "P-AUROC": float(metrics.roc_auc_score(labels, scores)),
        "P-AP": float(metrics.average_precision_score(labels, scores)),
    }
    precision, recall, _ = metrics.precision_recall_curve(labels, scores)
    found["P-F1"] = float(np.max(2 * precision * recall / np.maximum(precision + recall, 1e-300)))
    del precision, recall
    sizes = [component.size for component in _components(held)]
    limits_px = [*np.quantile(sizes, [0.25, 0.5, 0.75]), np.inf]
    for number, limit_px in enumerate(limits_px, start=1):
        # Each bin is a pass of its own over all images.
        components = [c for c in _components(held) if c.size <= limit_px]
        good = np.sort(scores[~labels])
        rates, overlaps = _curve(components, good)
        for limit in LIMITS:
            found[f"AU-PRO Q{number} {limit:.0%}"] = _area(rates, overlaps, limit)
    return found


def _components(images: list[Image]) -> list[npt.NDArray[np.float32]]:
    """The sorted scores of each component."""
    found = []
    for anomaly_map, mask in images:
        count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
        found += [np.sort(anomaly_map[labels == label]) for label in range(1, count)]
    return found


def _curve(
    components: list[npt.NDArray[np.float32]], good: npt.NDArray[np.float32]
) -> tuple[list[float], list[float]]:
    rates, overlaps = [1.0], [1.0]
    pointers = [0] * len(components)
    for position in np.linspace(0, good.size - 1, _THRESHOLDS).astype(int):
        threshold = good[position]
        overlap = 0.0
        for number, component in enumerate(components):
            while pointers[number] < component.size and component[pointers[number]] <= threshold:
                pointers[number] += 1
            overlap += 1 - pointers[number] / component.size
        rates.append(1 - (position + 1) / good.size)
        overlaps.append(overlap / len(components))
    return rates[::-1], overlaps[::-1]


def _area(rates: list[float], overlaps: list[float], limit: float) -> float:
    area, last_rate, last_overlap = 0.0, rates[0], overlaps[0]
    for rate, overlap in zip(rates[1:], overlaps[1:], strict=True):
        if rate >= limit:
            at_limit = last_overlap + (overlap - last_overlap) * (limit - last_rate) / (
                rate - last_rate
            )
            area += (limit - last_rate) * (last_overlap + at_limit) / 2
            break
        area += (rate - last_rate) * (last_overlap + overlap) / 2
        last_rate, last_overlap = rate, overlap
    return area / limit
