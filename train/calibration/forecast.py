"""Whether more good images would pay: what those that there are teach when only some are used."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from runtime.extras import require
from runtime.images.decode import ImageArray
from train.calibration.cross_calibration import CrossCalibration, ScoredImage

PICTURE_NAME = "forecast.jpg"
_SHARES = (0.25, 0.5)
_FEWEST_IMAGES = 8
_QUANTILE = 0.9
# Less than that is within what chance does to a quantile of few images.
_PAYS_FROM = 0.05


@dataclass(frozen=True, kw_only=True)
class ForecastPoint:
    """What students of so many images make of good images that they have not seen.

    Attributes:
        images: They were trained on.
        loss: Mean loss on the others.
        median_score: Median score of the others.
        high_score: Score that nine of ten of the others stay below.
    """

    images: int
    loss: float
    median_score: float
    high_score: float

    @classmethod
    def of(cls, images: int, others: Sequence[ScoredImage]) -> "ForecastPoint":
        """The point that these scores give."""
        scores = [one.score for one in others]
        return cls(
            images=images,
            loss=float(np.mean([one.loss for one in others])),
            median_score=float(np.median(scores)),
            high_score=float(np.quantile(scores, _QUANTILE)),
        )


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """How it goes on.

    Attributes:
        points: By number of images, the fewest first.
    """

    points: tuple[ForecastPoint, ...]

    @property
    def gain(self) -> float:
        """How far the high score fell from the last point but one to the last, as a share of it."""
        before, last = self.points[-2:]
        return 1 - last.high_score / before.high_score

    @property
    def more_images_pay(self) -> bool:
        """Whether it fell by more than chance would have it."""
        return self.gain > _PAYS_FROM

    def describe(self) -> str:
        """The forecast in a sentence."""
        before, last = self.points[-2:]
        verb = "fell" if self.gain > 0 else "rose"
        so = "more images still pay" if self.more_images_pay else "more images hardly lower it"
        return (
            f"from {before.images} to {last.images} images the score that nine of ten unseen good "
            f"images stay below {verb} by {abs(self.gain):.0%}, to {last.high_score:.3g} (held-out "
            f"loss {before.loss:.4f} to {last.loss:.4f}): {so}"
        )


def forecast(
    judging: CrossCalibration,
    images: Sequence[int],
    scored: Sequence[ScoredImage],
    *,
    folds: int,
) -> Forecast | None:
    """Train on a quarter and on half of the images, and score the others.

    Args:
        judging: Trains and scores.
        images: Numbers of the images, in an order of chance.
        scored: What they scored when each was left out with its fold.
        folds: How many there were.

    Returns:
        The forecast; None where there are too few images for one.
    """
    if len(images) < _FEWEST_IMAGES:
        return None
    points = []
    for share in _SHARES:
        count = round(share * len(images))
        name = f"{count} of {len(images)} images"
        others = judging.without(images[:count], images[count:], name=name)
        points.append(ForecastPoint.of(count, others))
    points.append(ForecastPoint.of(len(images) - -(-len(images) // folds), scored))
    return Forecast(points=tuple(points))


def draw_forecast(found: Forecast) -> ImageArray:
    """The scores and the loss over the number of images, as an (H, W, 3) uint8 picture."""
    figures: Any = require("matplotlib.figure")
    canvases: Any = require("matplotlib.backends.backend_agg")
    figure = figures.Figure(figsize=(6, 5), layout="constrained")
    canvas = canvases.FigureCanvasAgg(figure)
    above, below = figure.subplots(2, sharex=True)
    images = [point.images for point in found.points]
    high = [point.high_score for point in found.points]
    above.plot(images, high, "o-", label="nine of ten below")
    above.plot(images, [point.median_score for point in found.points], "o-", label="median")
    above.set(ylabel="score of unseen good images", ylim=(0, None))
    above.legend()
    below.plot(images, [point.loss for point in found.points], "o-")
    below.set(xlabel="good images to learn from", ylabel="loss on unseen images", ylim=(0, None))
    below.set_xticks(images)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
