"""Thresholds from good images alone, and the rates that they keep."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import OptionError
from runtime.products.card import Calibration
from runtime.products.conformal import (
    calibrate,
    choose_threshold,
    conformal_rank,
    images_needed,
    lowest_rate,
)


def calibration(*scores: float, seen: bool = False) -> Calibration:
    return Calibration(
        images=tuple(f"{number}.png" for number in range(len(scores))),
        scores=scores,
        peaks=tuple(2 * score for score in scores),
        seen_in_training=seen,
    )


@pytest.mark.parametrize(
    ("rate", "images"), [(0.5, 1), (0.25, 3), (0.1, 9), (0.05, 19), (0.01, 99), (0.003, 333)]
)
def test_a_rate_needs_its_inverse_of_good_images(rate: float, images: int) -> None:
    assert images_needed(rate) == images


@given(st.integers(1, 400), st.floats(0.001, 0.999))
def test_the_rank_keeps_the_rate_and_no_lower_rank_does(images: int, rate: float) -> None:
    if images < images_needed(rate):
        return
    rank = conformal_rank(images, rate)
    assert 1 - rank / (images + 1) <= rate + 1e-9
    assert rank == 1 or 1 - (rank - 1) / (images + 1) > rate - 1e-9


def test_the_next_good_image_exceeds_the_threshold_no_more_often_than_wished() -> None:
    rng = np.random.default_rng(0)
    rate, images, repetitions = 0.1, 39, 4000
    alarms = 0
    for scores in rng.exponential(size=(repetitions, images + 1)):
        threshold = choose_threshold(calibration(*scores[:-1]), false_alarm_rate=rate)
        alarms += scores[-1] > threshold.image_score
    # Exactly 10 % here; four standard deviations of the count.
    assert alarms / repetitions == pytest.approx(rate, abs=4 * np.sqrt(0.1 * 0.9 / repetitions))


@given(
    scores=st.lists(st.floats(0.01, 10), min_size=20, max_size=60),
    rates=st.tuples(st.floats(0.06, 0.9), st.floats(0.06, 0.9)),
)
def test_what_is_for_review_lies_below_the_threshold_and_keeps_its_rate(
    scores: list[float], rates: tuple[float, float]
) -> None:
    false_alarm_rate, review_rate = sorted(rates)
    threshold = choose_threshold(
        calibration(*scores), false_alarm_rate=false_alarm_rate, review_rate=review_rate
    )
    assert threshold.review_score is not None and threshold.review_rate is not None
    assert threshold.review_score <= threshold.image_score
    above = sum(score > threshold.review_score for score in scores)
    assert above / (len(scores) + 1) <= threshold.review_rate <= review_rate + 1e-9


def test_the_words_for_folds_promise_nothing() -> None:
    from_folds = replace(calibration(0.1, 0.3, 0.2), folds=3)
    threshold = choose_threshold(from_folds)
    assert threshold.false_alarm_rate == pytest.approx(0.25)
    assert "of 3; expected, not guaranteed" in threshold.method
    assert "at most" not in threshold.method


def test_without_a_rate_the_highest_score_is_taken() -> None:
    threshold = choose_threshold(calibration(0.1, 0.3, 0.2))
    assert (threshold.image_score, threshold.pixel_value) == (0.3, 0.6)
    assert threshold.false_alarm_rate == pytest.approx(0.25)
    assert "none of them trained on" in threshold.method


def test_regions_may_have_a_rate_of_their_own() -> None:
    scores = calibration(*np.linspace(0.01, 0.99, 99))
    threshold = choose_threshold(scores, false_alarm_rate=0.05, region_false_alarm_rate=0.5)
    assert threshold.image_score == pytest.approx(0.95)
    assert threshold.pixel_value == pytest.approx(2 * 0.5)
    assert threshold.false_alarm_rate == pytest.approx(0.05)
    assert threshold.region_false_alarm_rate == pytest.approx(0.5)


def test_too_few_images_are_refused_with_the_number_that_is_missing() -> None:
    with pytest.raises(OptionError, match="0.1 needs 9 good images .* there are 3, so 6 are miss"):
        choose_threshold(calibration(0.1, 0.2, 0.3), false_alarm_rate=0.1)


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, float("nan")])
def test_a_rate_that_is_no_share_is_refused(rate: float) -> None:
    with pytest.raises(OptionError, match="between 0 and 1"):
        choose_threshold(calibration(0.1, 0.2), region_false_alarm_rate=rate)


def test_images_seen_in_training_guarantee_nothing_and_say_so() -> None:
    threshold = choose_threshold(calibration(0.1, 0.2, seen=True))
    assert threshold.false_alarm_rate is None
    assert "were trained on them" in threshold.method


def test_calibration_keeps_the_score_the_highest_value_and_the_residual_of_each_image() -> None:
    found = calibrate(iter([("a.png", 0.25, 0.5, 0.1), ("b.png", 0.5, 1.0, 0.2)]))
    assert found == Calibration(
        images=("a.png", "b.png"),
        scores=(0.25, 0.5),
        peaks=(0.5, 1.0),
        residuals=(0.1, 0.2),
        seen_in_training=False,
    )


def test_a_calibration_that_does_not_hold_together_is_refused() -> None:
    with pytest.raises(ValueError, match="expected as many of each"):
        Calibration(images=("a",), scores=(0.1, 0.2), peaks=(0.1,))


@pytest.mark.parametrize("images", [1, 9, 90, 100, 333, 4999])
def test_the_lowest_rate_that_is_named_can_be_kept(images: int) -> None:
    assert images_needed(float(lowest_rate(images))) <= images
