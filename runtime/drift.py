"""Watching whether accepted parts still look like those that a product was calibrated with.

Light, focus, a worn lens or a new batch of material change all parts a little before they change
the verdict of any. So the image scores and the mean patch residuals of the last accepted parts are
held against those of the good images that the threshold rests on, by the two-sample
Kolmogorov-Smirnov distance: the greatest gap between the two cumulative distributions (Smirnov,
"Table for estimating the goodness of fit of empirical distributions", Annals of Mathematical
Statistics 19, 1948). It assumes no shape of either.
"""

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from runtime.product import ProductCard

# Looked at again and again over a shift, a rarer chance than the usual 1 % must count as none.
CHANCE = 1e-6
WINDOW_PARTS = 200
FEWEST_PARTS = 30


@dataclass(frozen=True, kw_only=True)
class Drift:
    """How far accepted parts are from the calibration.

    Attributes:
        score: Distance of the image scores over the distance that chance would exceed once in a
            million looks; raised from 1 on.
        residual: The same for the mean patch residuals; None where the card holds none.
    """

    score: float
    residual: float | None

    @property
    def highest(self) -> float:
        """The larger of the two."""
        return max(self.score, self.residual or 0.0)

    @property
    def is_raised(self) -> bool:
        """Whether the parts have changed."""
        return self.highest >= 1


class DriftWatch:
    """A sliding window over one product's accepted parts.

    Args:
        card: The product's card. Without the scores of good images there is nothing to hold the
            parts against, and no drift is ever told; `reason` says so.
        window_parts: Number of accepted parts to look back at.

    Attributes:
        reason: Why no drift can be told; empty where it can.
    """

    def __init__(self, card: ProductCard, *, window_parts: int = WINDOW_PARTS) -> None:
        self._threshold = card.threshold.image_score
        self._scores: deque[float] = deque(maxlen=window_parts)
        self._residuals: deque[float] = deque(maxlen=window_parts)
        calibration = card.calibration
        self._expected_scores = self._expected_residuals = np.empty(0)
        self.reason = ""
        if calibration is None:
            self.reason = "the card holds no scores of good images (l2bt threshold --good)"
            return
        if calibration.seen_in_training:
            self.reason = "the card's good images were trained on, so new parts differ from them"
            return
        accepted = np.array(calibration.scores) <= self._threshold
        self._expected_scores = np.sort(np.array(calibration.scores)[accepted])
        if calibration.residuals:
            self._expected_residuals = np.sort(np.array(calibration.residuals)[accepted])
        if critical_distance(len(self._expected_scores), window_parts) >= 1:
            self.reason = (
                f"{len(self._expected_scores)} good images are too few to tell a change from "
                "chance (l2bt threshold --good)"
            )

    def add(self, score: float, residual: float) -> None:
        """Take in a part; one that was rejected does not count."""
        if score <= self._threshold:
            self._scores.append(score)
            self._residuals.append(residual)

    def drift(self) -> Drift | None:
        """How far the window is from the calibration; None while too few parts were seen."""
        if self.reason or len(self._scores) < FEWEST_PARTS:
            return None
        return Drift(
            score=_share(self._scores, self._expected_scores),
            residual=(
                _share(self._residuals, self._expected_residuals)
                if len(self._expected_residuals)
                else None
            ),
        )


def distance(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    """Kolmogorov-Smirnov distance of two sorted samples, from 0 to 1."""
    everything = np.concatenate([one, other])
    below_one = np.searchsorted(one, everything, side="right") / len(one)
    below_other = np.searchsorted(other, everything, side="right") / len(other)
    return float(np.abs(below_one - below_other).max())


def critical_distance(count: int, other_count: int, *, chance: float = CHANCE) -> float:
    """The distance that samples of one distribution exceed with about this probability.

    Smirnov's limit for large samples, sqrt(-ln(chance / 2) / 2) * sqrt((n + m) / (n m)). It may be
    above 1, which no distance reaches: then the samples are too small to tell.
    """
    if not count or not other_count:
        return math.inf
    scale = math.sqrt((count + other_count) / (count * other_count))
    return math.sqrt(-math.log(chance / 2) / 2) * scale


def _share(seen: Iterable[float], expected: npt.NDArray[np.float64]) -> float:
    window = np.sort(np.fromiter(seen, np.float64))
    return distance(window, expected) / critical_distance(len(window), len(expected))
