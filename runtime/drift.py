"""Watching whether accepted parts still look like those that a product was calibrated with.

Light, focus, a worn lens or a new batch of material change all parts a little before they change
the verdict of any. So the image scores and the mean patch residuals of the last accepted parts are
held against those of the good images that the threshold rests on, by the rank sum test (Mann,
Whitney, "On a test of whether one of two random variables is stochastically larger than the other",
Annals of Mathematical Statistics 18, 1947). It assumes no shape of the distributions, and asks
whether one of the two lies higher.
"""

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from runtime.product import ProductCard

# Looked at again and again, a rarer chance than the usual 1 % must count as none. Most of what
# chance does is in the calibration, which is drawn once.
CHANCE = 1e-4
WINDOW_PARTS = 200
FEWEST_PARTS = 30
# Such a deviation of the rank sum to either side has that chance.
_RAISED = NormalDist().inv_cdf(1 - CHANCE / 2)


@dataclass(frozen=True, kw_only=True)
class Drift:
    """How far accepted parts are from the calibration.

    Attributes:
        score: How far the image scores lie from the calibration's, over how far chance alone would
            bring them once in 10,000 looks; raised from 1 on.
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
        if furthest(len(self._expected_scores), window_parts) < _RAISED:
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


def rank_deviation(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    """How far two sorted samples lie from each other, in standard deviations of their rank sum.

    U counts the pairs of which the first sample's is the larger one, ties by half. Of samples from
    one distribution it has the mean n m / 2 and the variance n m (n + m + 1) / 12.
    """
    below = np.searchsorted(other, one, side="left") + np.searchsorted(other, one, side="right")
    pairs = len(one) * len(other)
    deviation = below.sum() / 2 - pairs / 2
    return float(abs(deviation) / math.sqrt(pairs * (len(one) + len(other) + 1) / 12))


def furthest(count: int, other_count: int) -> float:
    """The rank deviation of samples that lie wholly apart: 0 where one is empty."""
    return math.sqrt(3 * count * other_count / (count + other_count + 1))


def _share(seen: Iterable[float], expected: npt.NDArray[np.float64]) -> float:
    window = np.sort(np.fromiter(seen, np.float64))
    return rank_deviation(window, expected) / _RAISED
