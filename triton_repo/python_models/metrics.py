"""What the server tells of each product at its metrics endpoint, in Prometheus' terms.

Counters and histograms are summed over all processes of `postprocess` by Triton. What is looked at
over a window of parts is told by each process for itself, and labelled with its name.
"""

from collections import deque
from collections.abc import Callable, Collection
from typing import Any

import numpy as np

from runtime.products.catalogue import ServedProduct
from runtime.products.drift import WINDOW_PARTS, DriftWatch

INSPECTIONS = "l2bt_inspections_total"
REJECTS = "l2bt_rejects_total"
REVIEWS = "l2bt_reviews_total"
SCORE = "l2bt_score"
RESIDUAL = "l2bt_mean_residual"
SCORE_QUANTILE = "l2bt_score_quantile"
DRIFT = "l2bt_drift"
QUANTILES = (0.5, 0.9, 0.99)
DRIFTS = ("score", "residual", "rejects")
# Times the threshold: what happens beside it is what a line wants to see.
_SCORE_BOUNDS = (0.25, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 4.0)
# A gauge costs some tens of microseconds, and nobody looks at one for each part.
_PARTS_BETWEEN_LOOKS = 10


class ProductMetrics:
    """The metrics of one process of `postprocess`.

    Args:
        pb_utils: Triton's module in a python model.
        process: The process' name.
    """

    def __init__(self, pb_utils: Any, process: str) -> None:
        family = pb_utils.MetricFamily
        self._process = process
        self._families = {
            name: family(name=name, description=description, kind=getattr(family, kind))
            for name, description, kind in (
                (INSPECTIONS, "Images that were judged", "COUNTER"),
                (REJECTS, "Images that were judged defective", "COUNTER"),
                (REVIEWS, "Images that were for a person to review", "COUNTER"),
                (SCORE, "Image scores; bounds are shares of the threshold", "HISTOGRAM"),
                (
                    RESIDUAL,
                    "Mean patch residuals; bounds are calibration deciles",
                    "HISTOGRAM",
                ),
                (SCORE_QUANTILE, f"Quantiles of the last {WINDOW_PARTS} scores", "GAUGE"),
                (DRIFT, "How far parts are from the calibration; 1 raises", "GAUGE"),
            )
        }
        self._products: dict[int, _Metrics] = {}

    def count(
        self,
        served: ServedProduct,
        score: float,
        residual: float,
        *,
        current: Callable[[], Collection[int]],
    ) -> bool:
        """Count one inspection.

        Args:
            served: The version of the product that the image was held against.
            score: The image's score.
            residual: The image's mean residual.
            current: Tells the numbers of all present assignments. It is asked when a version is
                counted for the first time, and those that have left their slots are forgotten.

        Returns:
            Whether drift is raised.
        """
        metrics = self._products.get(served.number)
        if metrics is None:
            present = current()
            self._products = {
                number: kept for number, kept in self._products.items() if number in present
            }
            metrics = _Metrics(self._families, served, self._process)
            self._products[served.number] = metrics
        metrics.count(score, residual)
        return metrics.has_drifted


class _Metrics:
    """Those of one version of a product."""

    def __init__(self, families: dict[str, Any], served: ServedProduct, process: str) -> None:
        card = served.card
        labels = {"product": card.product, "version": str(served.version)}
        self._threshold = card.threshold.image_score
        self._inspections = families[INSPECTIONS].Metric(labels=labels)
        self._review_threshold = card.threshold.review_score
        self._rejects = families[REJECTS].Metric(labels=labels)
        self._reviews = families[REVIEWS].Metric(labels=labels)
        self._score = families[SCORE].Metric(
            labels=labels, buckets=_increasing(self._threshold * share for share in _SCORE_BOUNDS)
        )
        residuals = card.calibration.residuals if card.calibration is not None else ()
        deciles = np.quantile(residuals, np.linspace(0, 1, 11)) if residuals else ()
        self._residual = (
            families[RESIDUAL].Metric(labels=labels, buckets=_increasing(deciles))
            if residuals
            else None
        )
        own = {**labels, "process": process}
        self._quantiles = {
            quantile: families[SCORE_QUANTILE].Metric(labels={**own, "quantile": f"{quantile:g}"})
            for quantile in QUANTILES
        }
        self._watch = DriftWatch(card)
        self._drift = {
            of: families[DRIFT].Metric(labels={**own, "of": of})
            for of in DRIFTS
            if not self._watch.reason
        }
        self._last_scores: deque[float] = deque(maxlen=WINDOW_PARTS)
        self._until_look = 0
        self.has_drifted = False

    def count(self, score: float, residual: float) -> None:
        self._inspections.increment(1)
        if score > self._threshold:
            self._rejects.increment(1)
        elif self._review_threshold is not None and score > self._review_threshold:
            self._reviews.increment(1)
        self._score.observe(score)
        if self._residual is not None:
            self._residual.observe(residual)
        self._last_scores.append(score)
        self._watch.add(score, residual)
        if self._until_look == 0:
            self._until_look = _PARTS_BETWEEN_LOOKS
            self._look()
        self._until_look -= 1

    def _look(self) -> None:
        scores = np.array(self._last_scores)
        for quantile, gauge in self._quantiles.items():
            gauge.set(float(np.quantile(scores, quantile)))
        drift = self._watch.drift()
        if drift is not None:
            self.has_drifted = drift.is_raised
            for of in DRIFTS:
                found = getattr(drift, of)
                if found is not None:
                    self._drift[of].set(found)


def _increasing(bounds: Any) -> list[float]:
    return sorted({float(bound) for bound in bounds})
