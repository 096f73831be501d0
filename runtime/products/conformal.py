"""Thresholds from good images alone, with the false-alarm rate that they keep.

Take n good images that the students were not trained on. If the next good part is like them
(exchangeable), its score is equally likely to have each of the n + 1 ranks among theirs. So it
exceeds their k-th lowest score with a probability of at most 1 - k / (n + 1): the split conformal
quantile (Vovk, Gammerman, Shafer, "Algorithmic Learning in a Random World", 2005). No defect is
needed, and no distribution is assumed.
"""

import math
from collections.abc import Iterable, Sequence

from runtime.errors import OptionError
from runtime.products.card import Calibration, Threshold

# Rates are given in decimal: 1 / 0.01 must not become a hundred and a bit.
_ROUNDING = 1e-9
RATES_SHOWN = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)


def images_needed(false_alarm_rate: float) -> int:
    """Good images without which no threshold can keep the rate: 1 / rate - 1, rounded up."""
    return math.ceil(1 / false_alarm_rate - 1 - _ROUNDING)


def lowest_rate(images: int) -> str:
    """The lowest rate that so many good images can keep, rounded up, as text."""
    digits = max(4, 2 + len(str(images)))
    return f"{math.ceil(10**digits / (images + 1)) / 10**digits:.{digits}f}"


def possible_rates(images: int) -> str:
    """Which false-alarm rates so many good images can keep, and how many others lack, as text."""
    can = [f"{rate:g}" for rate in RATES_SHOWN if images_needed(rate) <= images]
    cannot = [
        f"{rate:g} ({images_needed(rate) - images} images missing)"
        for rate in RATES_SHOWN
        if images_needed(rate) > images
    ]
    text = f"with {images} good images --false-alarm-rate can be {lowest_rate(images)} or more"
    text += f", such as {', '.join(can)}" if can else ""
    return text + (f"\ntoo low: {', '.join(cannot)}" if cannot else "")


def check_false_alarm_rate(rate: float | None, images: int, *, name: str, remedy: str) -> None:
    """Refuse a rate that this many good images cannot keep.

    Args:
        rate: The wished rate; None is the lowest that the images can keep.
        images: Held-out good images.
        name: What to call the rate in the error.
        remedy: What the user can do, for the error.

    Raises:
        OptionError: The rate is no number between 0 and 1, or there are too few images.
    """
    if rate is None:
        return
    if not 0 < rate < 1:
        raise OptionError(f"{name} is {rate}; expected a share between 0 and 1, such as 0.02")
    needed = images_needed(rate)
    if images < needed:
        raise OptionError(
            f"{name} {rate:g} needs {needed} good images that were not trained on; there are "
            f"{images}, so {needed - images} are missing. {remedy}, or wish for a rate of "
            f"{lowest_rate(images)} or more"
        )


def conformal_rank(images: int, false_alarm_rate: float | None) -> int:
    """Which of the images' scores, counted from the lowest as 1, is the threshold."""
    if false_alarm_rate is None:
        return images
    return min(images, math.ceil((images + 1) * (1 - false_alarm_rate) - _ROUNDING))


def calibrate(
    images: Iterable[tuple[str, float, float, float]],
    *,
    seen_in_training: bool = False,
    folds: int | None = None,
) -> Calibration:
    """Collect the evidence of good images.

    Args:
        images: Name, score, highest map value and mean residual of each, of at least one.
        seen_in_training: Whether the students were trained on them.
        folds: Into how many folds they were dealt, if students of the other folds scored them.
    """
    names, scores, peaks, residuals = zip(*images, strict=True)
    return Calibration(
        images=names,
        scores=scores,
        peaks=peaks,
        residuals=residuals,
        seen_in_training=seen_in_training,
        folds=folds,
    )


def choose_threshold(
    calibration: Calibration,
    *,
    false_alarm_rate: float | None = None,
    region_false_alarm_rate: float | None = None,
    review_rate: float | None = None,
    remedy: str = "Hold out more (--held-out), or give more (l2bt threshold --good)",
) -> Threshold:
    """The thresholds that keep the wished false-alarm rates.

    Args:
        calibration: Scores of good images.
        false_alarm_rate: Share of good images that may be judged defective; the lowest that the
            images can keep, 1 / (n + 1), if left out.
        region_false_alarm_rate: Share of good images that may have a region; the same if left out.
        review_rate: Share of good images that may be judged defective or be for review; if left
            out, none is for review.
        remedy: What the user can do about too few images.

    Raises:
        OptionError: A rate is no share, or there are too few images for it, or fewer shall be for
            review than are judged defective.
    """
    count = len(calibration.scores)
    for name, rate in (
        ("false-alarm rate", false_alarm_rate),
        ("region false-alarm rate", region_false_alarm_rate),
        ("review rate", review_rate),
    ):
        check_false_alarm_rate(rate, count, name=name, remedy=remedy)
    if region_false_alarm_rate is None:
        region_false_alarm_rate = false_alarm_rate
    image_rank = conformal_rank(count, false_alarm_rate)
    pixel_rank = conformal_rank(count, region_false_alarm_rate)
    review_rank = None if review_rate is None else conformal_rank(count, review_rate)
    if review_rank is not None and review_rank > image_rank:
        raise OptionError(
            f"the review rate is {review_rate:g}, and already {1 - image_rank / (count + 1):.4g} "
            "may be judged defective; wish for a higher review rate, or a lower false-alarm rate"
        )
    is_told = not calibration.seen_in_training
    return Threshold(
        image_score=_ranked(calibration.scores, image_rank),
        pixel_value=_ranked(calibration.peaks, pixel_rank),
        method=_method(calibration, image_rank, pixel_rank),
        good_images=count,
        false_alarm_rate=1 - image_rank / (count + 1) if is_told else None,
        region_false_alarm_rate=1 - pixel_rank / (count + 1) if is_told else None,
        review_score=None if review_rank is None else _ranked(calibration.scores, review_rank),
        review_rate=(
            1 - review_rank / (count + 1) if review_rank is not None and is_told else None
        ),
    )


def _ranked(values: Sequence[float], rank: int) -> float:
    return sorted(values)[rank - 1]


def _method(calibration: Calibration, image_rank: int, pixel_rank: int) -> str:
    count = len(calibration.scores)
    place = f"number {image_rank} of {count} good images by score"
    peak = f"number {pixel_rank} by highest map value"
    rates = f"{1 - image_rank / (count + 1):.2%}", f"{1 - pixel_rank / (count + 1):.2%}"
    if calibration.folds is not None:
        return (
            f"{place}, {peak}, each scored by students trained on the other folds of "
            f"{calibration.folds}; expected, not guaranteed: a good part that is like them exceeds "
            f"the first with a probability of about {rates[0]}, and has a region with one of about "
            f"{rates[1]}"
        )
    if calibration.seen_in_training:
        return (
            f"{place}, {peak}; the students were trained on them, so no false-alarm rate is "
            "guaranteed: expect more than one in that many"
        )
    return (
        f"{place}, {peak}, none of them trained on; a good part that is like them exceeds the "
        f"first with a probability of at most {rates[0]}, and has a "
        f"region with one of at most {rates[1]}"
    )
