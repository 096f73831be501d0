"""Watching whether accepted parts still look like those that a product was calibrated with.

Light, focus, a worn lens or a new batch of material change all parts a little before they change
the verdict of any. So the image scores and the mean patch residuals of the last accepted parts are
held against those of the good images that the threshold rests on, by the rank sum test (Mann,
Whitney, "On a test of whether one of two random variables is stochastically larger than the other",
Annals of Mathematical Statistics 18, 1947). It assumes no shape of the distributions, and asks
whether one of the two lies higher. The share of rejects is held against the false-alarm rate that
the threshold keeps.
"""

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from runtime.products.card import ProductCard

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
        rejects: How rare so many rejects are at the false-alarm rate that the threshold keeps, in
            powers of that chance; None where it keeps none. Parts that have changed may all be
            rejected, and then those that are accepted still look as ever.
    """

    score: float
    residual: float | None
    rejects: float | None

    @property
    def highest(self) -> float:
        """The largest of them."""
        return max(self.score, self.residual or 0.0, self.rejects or 0.0)

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
        self._rejects: deque[bool] = deque(maxlen=window_parts)
        self._false_alarm_rate = card.threshold.false_alarm_rate
        self._good_images = card.threshold.good_images
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
        """Take in a part; of one that was rejected only that it was."""
        self._rejects.append(score > self._threshold)
        if score <= self._threshold:
            self._scores.append(score)
            self._residuals.append(residual)

    def drift(self) -> Drift | None:
        """How far the window is from the calibration; None while too few parts were seen."""
        if self.reason or len(self._rejects) < FEWEST_PARTS:
            return None
        enough = len(self._scores) >= FEWEST_PARTS
        rate = self._false_alarm_rate
        return Drift(
            score=_share(self._scores, self._expected_scores) if enough else 0.0,
            residual=(
                _share(self._residuals, self._expected_residuals)
                if enough and len(self._expected_residuals)
                else None
            ),
            rejects=(
                None
                if rate is None
                else math.log(
                    chance_of_rejects(
                        sum(self._rejects),
                        len(self._rejects),
                        rate=rate,
                        good_images=self._good_images,
                    )
                )
                / math.log(CHANCE)
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


def chance_of_rejects(rejects: int, parts: int, *, rate: float, good_images: int) -> float:
    """The chance of so many rejects or more, where nothing has changed.

    If new parts are like the n good images, the number of them above the k-th lowest score of those
    is beta-binomial with a = n + 1 - k and b = k, whatever the scores' distribution; the rate that
    the threshold keeps is a / (n + 1).

    Args:
        rejects: Parts above the threshold.
        parts: All parts.
        rate: The false-alarm rate that the threshold keeps.
        good_images: n.

    Returns:
        At least 1e-300, so that its logarithm stays a number.
    """
    above, below = rate * (good_images + 1), (1 - rate) * (good_images + 1)

    def log_beta(one: float, other: float) -> float:
        return math.lgamma(one) + math.lgamma(other) - math.lgamma(one + other)

    tail = sum(
        math.comb(parts, count)
        * math.exp(log_beta(count + above, parts - count + below) - log_beta(above, below))
        for count in range(rejects, parts + 1)
    )
    return min(1.0, max(tail, 1e-300))


def furthest(count: int, other_count: int) -> float:
    """The rank deviation of samples that lie wholly apart: 0 where one is empty."""
    return math.sqrt(3 * count * other_count / (count + other_count + 1))


def _share(seen: Iterable[float], expected: npt.NDArray[np.float64]) -> float:
    window = np.sort(np.fromiter(seen, np.float64))
    return rank_deviation(window, expected) / _RAISED
