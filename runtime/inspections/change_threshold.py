"""Choosing a product's thresholds anew: by a false-alarm rate, by further good images, by hand."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from tqdm import tqdm

from runtime.errors import ModelError, OptionError
from runtime.inspections.files import find_images
from runtime.inspections.inspection import Inspector
from runtime.products.card import Calibration, ProductCard, Threshold
from runtime.products.conformal import (
    calibrate,
    check_false_alarm_rate,
    choose_threshold,
    possible_rates,
)
from runtime.products.store.card_files import CardFiles
from runtime.products.trained_images import trained_on

_REMEDY = "Give more with --good FOLDER, or hold out more in training (--held-out)"
# A map and the regions in it are computed in different orders, which differ in their last bits.
_ROUNDING = 1e-6


def wished_threshold(
    files: CardFiles,
    *,
    false_alarm_rate: float | None,
    region_false_alarm_rate: float | None,
    review_rate: float | None = None,
    image_score: float | None,
    pixel_value: float | None,
    review_score: float | None = None,
    good: Path | None,
    open_detector: Callable[[], AbstractContextManager[Inspector]],
) -> tuple[Threshold, Calibration | None]:
    """The thresholds that were asked for, and the evidence that goes with them.

    Args:
        files: The product's cards.
        false_alarm_rate: Share of good images that may be judged defective.
        region_false_alarm_rate: Share of good images that may have a region.
        review_rate: Share of good images that may be judged defective or be for review.
        image_score: Image threshold by hand; an old one stays where only others are given.
        pixel_value: Pixel threshold by hand.
        review_score: Threshold by hand from which on images are for review.
        good: Folder of good images to take as evidence.
        open_detector: Opens the model that inspects them.

    Raises:
        OptionError: The wishes exclude each other, there are too few good images, or the students
            were trained on some of them.
        ModelError: The card holds no evidence.
        BadImageError: An image cannot be used, or there is none.
    """
    by_hand = (image_score, pixel_value, review_score) != (None, None, None)
    rates = (false_alarm_rate, region_false_alarm_rate, review_rate)
    if by_hand and (good is not None or rates != (None, None, None)):
        raise OptionError(
            "--image-score, --pixel-value and --review-score are thresholds by hand and exclude "
            "--false-alarm-rate, --region-false-alarm-rate, --review-rate and --good"
        )
    if by_hand:
        wished = _by_hand(files.card, image_score, pixel_value, review_score)
        return wished, files.card.calibration
    calibration = files.card.calibration
    if good is not None:
        if files.is_repository:
            raise OptionError(
                "--good needs a model to inspect with: change the exported model's threshold, then "
                "fill the repository again (l2bt repository MODEL --overwrite)"
            )
        paths = find_images([good])
        if known := trained_on(files.card, paths):
            raise OptionError(
                f"{len(known)} of the {len(paths)} images in {good} were trained on (such as "
                f"{known[0].name}), so new parts would score higher than they; give others"
            )
        for name, rate in (
            ("false-alarm rate", false_alarm_rate),
            ("region false-alarm rate", region_false_alarm_rate),
            ("review rate", review_rate),
        ):
            # Before the images are inspected, not after it.
            check_false_alarm_rate(rate, len(paths), name=name, remedy=_REMEDY)
        with open_detector() as detector:
            calibration = calibrate(_good_images(detector, paths, files.card.product))
    if calibration is None:
        raise ModelError(
            f"{files.path} holds no scores of good images; give some with --good FOLDER, or "
            "the thresholds by hand with --image-score and --pixel-value"
        )
    threshold = choose_threshold(
        calibration,
        false_alarm_rate=false_alarm_rate,
        region_false_alarm_rate=region_false_alarm_rate,
        review_rate=review_rate,
        remedy=_REMEDY,
    )
    return threshold, calibration


def describe(card: ProductCard) -> str:
    """A product's thresholds and what they rest on, as text."""
    threshold = card.threshold
    lines = [
        f"product {card.product}",
        f"image threshold {threshold.image_score:.6g}, pixel threshold {threshold.pixel_value:.6g}",
        threshold.method + threshold.review_words,
    ]
    if card.calibration is not None and not card.calibration.seen_in_training:
        lines.append(possible_rates(len(card.calibration.scores)))
    return "\n".join(lines)


def _by_hand(
    card: ProductCard,
    image_score: float | None,
    pixel_value: float | None,
    review_score: float | None,
) -> Threshold:
    for name, value in (
        ("--image-score", image_score),
        ("--pixel-value", pixel_value),
        ("--review-score", review_score),
    ):
        if value is not None and not math.isfinite(value):
            raise OptionError(f"{name} is {value}; expected a finite number")
    old = card.threshold
    if image_score is None:
        image_score = old.image_score
    if review_score is None and old.review_score is not None:
        review_score = min(old.review_score, image_score)
    if review_score is not None and review_score > image_score:
        raise OptionError(
            f"--review-score is {review_score:g}, above the image threshold, {image_score:g}; "
            "expected at most that: what scores higher is defective"
        )
    return Threshold(
        image_score=image_score,
        review_score=review_score,
        pixel_value=old.pixel_value if pixel_value is None else pixel_value,
        method=f"given by hand; before: {old.method.removeprefix('given by hand; before: ')}",
        good_images=0,
    )


def _good_images(
    detector: Inspector, paths: Sequence[Path], product: str
) -> Iterator[tuple[str, float, float, float]]:
    for path in tqdm(paths, desc="good images", unit="image"):
        found = detector.inspect(path, product=product)
        assert found.anomaly_map is not None
        peak = float(found.anomaly_map.max()) * (1 + _ROUNDING)
        yield path.name, found.score, peak, found.mean_residual
