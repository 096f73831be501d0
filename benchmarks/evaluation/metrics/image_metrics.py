"""Image metrics: how well the images' scores tell defective from good ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from runtime.extras import require


@dataclass(frozen=True, kw_only=True)
class ImageMetrics:
    """The image metrics of one test set with good and defective images.

    Attributes:
        auroc: Area under the ROC curve.
        average_precision: Sum of precision times gain in recall over all thresholds.
        best_f1: Highest harmonic mean of precision and recall.
        best_f1_threshold: Images that score higher are the ones with which that is reached.
    """

    auroc: float
    average_precision: float
    best_f1: float
    best_f1_threshold: float


def measure_images(scores: Sequence[float], defective: Sequence[bool]) -> ImageMetrics | None:
    """The image metrics; None where good or defective images are missing.

    Args:
        scores: One float32 value an image, higher for more anomalous.
        defective: The labels.
    """
    if len(set(defective)) < 2:
        return None
    sklearn_metrics: Any = require("sklearn.metrics")
    precision, recall, thresholds = sklearn_metrics.precision_recall_curve(defective, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, np.finfo(float).tiny)
    best = int(np.argmax(f1[: len(thresholds)]))
    return ImageMetrics(
        auroc=float(sklearn_metrics.roc_auc_score(defective, scores)),
        average_precision=float(sklearn_metrics.average_precision_score(defective, scores)),
        best_f1=float(f1[best]),
        # Just below, since images above a threshold count as defective.
        best_f1_threshold=float(np.nextafter(np.float32(thresholds[best]), np.float32(-np.inf))),
    )
