"""What another threshold would do, by what is known of the scores of parts."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.errors import OptionError
from runtime.extras import require
from triton_repo.console.archive.inspections import Inspections, Row
from triton_repo.console.products.installed import Installed, Product, Version

CONFIDENCE = 0.95
_BINS = 60
_DIGITS = 4
_GOOD_FOR_S = 5.0
_ROOM = 0.03

Scores = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Scores that the active version gave, or that its students gave under other thresholds.

    Attributes:
        version: The active version.
        calibration: Scores of the good images that the threshold rests on; rising.
        recorded: Scores of the inspections in the archive, the newest hundred thousand; rising.
        defects: Inspections that a person calls a defect, by rising score.
        goods: Inspections that a person calls good, by rising score.
    """

    version: Version
    calibration: Scores
    recorded: Scores
    defects: Sequence[Row]
    goods: Sequence[Row]

    @property
    def score_range(self) -> tuple[float, float]:
        """Lowest and highest score that a threshold may be wished between, with some room.

        Rounded outwards to few digits: browsers cut long ones, and then call a slider's lowest
        position too low.
        """
        known = [self.version.card.threshold.image_score]
        for scores in (self.calibration, self.recorded):
            known += [float(scores[0]), float(scores[-1])] if scores.size else []
        known += [row["score"] for row in (*self.defects, *self.goods)]
        room = _ROOM * (max(known) - min(known)) or abs(known[0]) * _ROOM
        lowest, highest = min(known) - room, max(known) + room
        digits = _DIGITS - math.floor(math.log10(highest - lowest or 1))
        step = 10.0**-digits
        return (
            round(math.floor(lowest / step) * step, digits),
            round(math.ceil(highest / step) * step, digits),
        )

    def histogram(self, scores: Scores) -> list[float]:
        """Heights between 0 and 1 of bars over the range of scores; square roots of counts."""
        counts, _ = np.histogram(scores, bins=_BINS, range=self.score_range)
        return [float(height) for height in np.sqrt(counts / max(1, counts.max()))]


@dataclass(frozen=True, kw_only=True)
class Share:
    """So many of so many.

    Attributes:
        count: How many are above.
        total: Of how many.
    """

    count: int
    total: int

    @property
    def interval(self) -> tuple[float, float]:
        """Exact 95 % interval of the share (Clopper and Pearson, Biometrika 26, 1934)."""
        stats: Any = require("scipy.stats")
        found = stats.binomtest(self.count, self.total).proportion_ci(CONFIDENCE, method="exact")
        return float(found.low), float(found.high)


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What thresholds would do.

    Attributes:
        image_score: An image that scores higher is defective.
        review_score: One that scores higher is for review; None if none is.
        calibration: Good images that would be rejected; None if none are known.
        recorded: Inspections that would be rejected; None if none are known.
        passed: Known defects that would be called good.
        reviewed: Known defects that would be for review.
        rejected_goods: Inspections that a person calls good and that would be rejected.
        defects: Known defects in all.
        goods: Known good ones in all.
    """

    image_score: float
    review_score: float | None
    calibration: Share | None
    recorded: Share | None
    passed: Sequence[Row]
    reviewed: Sequence[Row]
    rejected_goods: Sequence[Row]
    defects: int
    goods: int


def collect(inspections: Inspections, product: Product) -> Evidence:
    """What is known of a product's scores.

    Raises:
        OptionError: It is retired.
    """
    version = product.active
    if version is None:
        raise OptionError(f"{product.name} is retired; activate a version first")
    alike = product.alike(version)
    known = version.card.calibration
    return Evidence(
        version=version,
        calibration=np.sort(np.array(known.scores if known is not None else (), np.float64)),
        recorded=np.sort(np.array(inspections.scores(product.name, alike), np.float64)),
        defects=inspections.reviewed(product.name, alike, "defect"),
        goods=inspections.reviewed(product.name, alike, "good"),
    )


class EvidenceOfLate:
    """Evidence that is asked for at each move of a slider, and collected every few seconds.

    Args:
        inspections: The archive's.
        installed: The products.
    """

    def __init__(self, inspections: Inspections, installed: Installed) -> None:
        self._inspections = inspections
        self._installed = installed
        self._found: dict[str, tuple[float, Evidence]] = {}

    def of(self, product: str, *, anew: bool = False) -> Evidence:
        """What is known of a product's scores.

        Args:
            product: Its name.
            anew: Whether nothing that was collected before will do.

        Raises:
            UnknownProductError: There is no such product.
            OptionError: It is retired.
            ModelError: There is no repository, or it is damaged.
        """
        at_s, evidence = self._found.get(product, (0.0, None))
        now_s = time.monotonic()
        if evidence is None or anew or now_s - at_s > _GOOD_FOR_S:
            evidence = collect(self._inspections, self._installed.one(product))
            self._found[product] = now_s, evidence
        return evidence


def preview(evidence: Evidence, image_score: float, review_score: float | None) -> Preview:
    """What these thresholds would do.

    Raises:
        OptionError: They are no numbers, or the lower one is the higher.
    """
    if not np.isfinite(image_score) or not np.isfinite(review_score or 0):
        raise OptionError(f"a threshold is {image_score:g}; expected a number")
    if review_score is not None and review_score > image_score:
        raise OptionError(
            f"parts would be for review from {review_score:g} on, above the threshold, "
            f"{image_score:g}; expected at most that: what scores higher is defective"
        )
    from_score = image_score if review_score is None else review_score
    return Preview(
        image_score=image_score,
        review_score=review_score,
        calibration=_above(evidence.calibration, image_score),
        recorded=_above(evidence.recorded, image_score),
        passed=[row for row in evidence.defects if row["score"] <= from_score],
        reviewed=[row for row in evidence.defects if from_score < row["score"] <= image_score],
        rejected_goods=[row for row in evidence.goods if row["score"] > image_score],
        defects=len(evidence.defects),
        goods=len(evidence.goods),
    )


def _above(rising: Scores, score: float) -> Share | None:
    if not rising.size:
        return None
    count = rising.size - int(np.searchsorted(rising, score, side="right"))
    return Share(count=count, total=rising.size)
