"""The drift watch: it tells a change of light or focus, and keeps quiet without one."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import betabinom, mannwhitneyu

from export.fuse import export_product
from runtime.detector import Detector
from runtime.images.decode import ImageArray
from runtime.inspections.inspection import Inspection
from runtime.products.card import Calibration, ProductCard
from runtime.products.conformal import calibrate, choose_threshold
from runtime.products.drift import (
    FEWEST_PARTS,
    Drift,
    DriftWatch,
    chance_of_rejects,
    rank_deviation,
)
from tests.parts.small import SMALL_IMAGE_SIZE, make_card
from train.data.synthetic import SyntheticSettings, open_synthetic
from train.learning.learn import learn_product
from train.settings import DEMO_TEACHER, FitSettings, GeometryOptions, TeacherSettings

PARTS = 120
# Enough to raise; each is inspected once a change.
CHANGED_PARTS = 80


def samples(count: int, seed: int, *, shift: float = 0.0) -> list[float]:
    values = np.random.default_rng(seed).lognormal(size=count)
    return [float(value) for value in values + shift]


def card_with(scores: list[float], residuals: list[float]) -> ProductCard:
    rows = zip(map(str, range(len(scores))), scores, scores, residuals, strict=True)
    calibration = calibrate(rows)
    return make_card(calibration=calibration, threshold=choose_threshold(calibration))


def watch_of(
    card: ProductCard, scores: list[float], residuals: list[float], *, window_parts: int = 200
) -> Drift | None:
    watch = DriftWatch(card, window_parts=window_parts)
    for score, residual in zip(scores, residuals, strict=True):
        watch.add(score, residual)
    return watch.drift()


# By numbers --------------------------------------------------------------------------------------

few = st.lists(st.integers(0, 5).map(float), min_size=1, max_size=30)


@given(few, few)
def test_the_rank_sum_is_scipys(one: list[float], other: list[float]) -> None:
    found = rank_deviation(np.sort(np.array(one)), np.sort(np.array(other)))
    pairs = len(one) * len(other)
    expected = abs(mannwhitneyu(one, other).statistic - pairs / 2)
    assert found == pytest.approx(expected / np.sqrt(pairs * (len(one) + len(other) + 1) / 12))


def test_parts_like_those_of_the_calibration_raise_nothing_but_by_a_rare_chance() -> None:
    raised = 0
    for seed in range(0, 4_000, 4):
        card = card_with(samples(60, seed), samples(60, seed + 1))
        drift = watch_of(card, samples(200, seed + 2), samples(200, seed + 3))
        assert drift is not None
        raised += drift.is_raised
    # Of 1,000 looks at three things chance raises 0.3; more than 3 it does once in 20,000 times.
    assert raised <= 3


@pytest.mark.parametrize("shift", [-1.0, 1.0])
def test_a_shift_to_either_side_is_told_by_what_shifted(shift: float) -> None:
    card = card_with(samples(60, 0), samples(60, 1))
    drift = watch_of(card, samples(200, 2), samples(200, 3, shift=shift))
    assert drift is not None
    assert drift.score < 1
    assert drift.residual is not None
    assert drift.residual >= 1
    assert drift.is_raised


def test_what_was_before_the_window_is_forgotten() -> None:
    card = card_with(samples(60, 0), samples(60, 1))
    residuals = [*samples(100, 2, shift=2.0), *samples(100, 3)]
    drift = watch_of(card, samples(200, 4), residuals, window_parts=100)
    assert drift is not None
    assert not drift.is_raised


def test_rejected_parts_do_not_move_scores_and_residuals() -> None:
    card = card_with(samples(60, 0), samples(60, 1))
    rejected = [card.threshold.image_score * 2] * 4
    parts = [*samples(196, 2), *rejected]
    drift = watch_of(card, parts, [*samples(196, 3), *[100.0] * 4])
    assert drift is not None
    assert not drift.is_raised


def test_more_rejects_than_the_false_alarm_rate_explains_raise() -> None:
    card = card_with(samples(60, 0), samples(60, 1))
    below = [min(score, card.threshold.image_score) for score in samples(140, 2)]
    drift = watch_of(card, [*below, *[99.0] * 60], samples(200, 3))
    assert drift is not None
    assert drift.score < 1
    assert drift.rejects is not None
    assert drift.rejects >= 1


@given(st.integers(0, 60), st.integers(1, 100), st.data())
def test_the_chance_of_rejects_is_scipys(
    rejects: int, good_images: int, data: st.DataObject
) -> None:
    above = data.draw(st.integers(1, good_images))
    found = chance_of_rejects(rejects, 60, rate=above / (good_images + 1), good_images=good_images)
    below = good_images + 1 - above
    expected = float(betabinom.sf(rejects - 1, 60, above, below))
    assert found == pytest.approx(max(expected, 1e-300), rel=1e-6, abs=1e-12)


def test_too_few_parts_tell_nothing_yet() -> None:
    card = card_with(samples(60, 0), samples(60, 1))
    few_parts = FEWEST_PARTS - 5
    assert watch_of(card, [0.01] * few_parts, [9.0] * few_parts) is None


@pytest.mark.parametrize(
    ("calibration", "reason"),
    [
        (None, "holds no scores of good images"),
        (
            Calibration(images=("a",), scores=(0.1,), peaks=(0.1,), seen_in_training=True),
            "were trained on",
        ),
        (Calibration(images=("a",), scores=(0.1,), peaks=(0.1,)), "1 good images are too few"),
    ],
)
def test_a_card_that_cannot_tell_drift_says_why(
    calibration: Calibration | None, reason: str
) -> None:
    watch = DriftWatch(make_card(calibration=calibration))
    for _ in range(100):
        watch.add(0.05, 1.0)
    assert reason in watch.reason
    assert watch.drift() is None


def test_a_card_from_before_residuals_were_kept_watches_scores_alone() -> None:
    scores = tuple(samples(60, 0))
    calibration = Calibration(images=tuple(map(str, range(60))), scores=scores, peaks=scores)
    card = make_card(calibration=calibration, threshold=choose_threshold(calibration))
    drift = watch_of(card, samples(200, 2), samples(200, 3, shift=5))
    assert drift is not None
    assert drift.residual is None
    assert not drift.is_raised


# By pictures -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Detector:
    """A drawn product with enough held-out images to be watched."""
    folder = tmp_path_factory.mktemp("drift")
    dataset = open_synthetic(
        SyntheticSettings(train_images=140, test_good=0, test_defective=0, height=240, width=360)
    )
    bundle = learn_product(
        dataset,
        folder / "plate",
        teacher_settings=TeacherSettings(teacher=DEMO_TEACHER),
        fit_settings=FitSettings(steps=100, held_out=0.5),
        geometry=GeometryOptions(geometry="square", image_size=SMALL_IMAGE_SIZE),
    )
    return Detector(export_product(bundle, folder / "exported", precision="fp32").folder)


@pytest.fixture(scope="module")
def new_parts() -> list[ImageArray]:
    dataset = open_synthetic(
        SyntheticSettings(train_images=1, test_good=PARTS, test_defective=0, height=240, width=360)
    )
    return [sample.pixels() for sample in dataset.test]


def inspect_all(
    detector: Detector, images: list[ImageArray], change: Callable[[ImageArray], ImageArray]
) -> tuple[list[Inspection], Drift]:
    found = [detector.inspect(change(image), want_map=False) for image in images]
    drift = watch_of(
        detector.card, [one.score for one in found], [one.mean_residual for one in found]
    )
    assert drift is not None
    return found, drift


def light(gain: float) -> Callable[[ImageArray], ImageArray]:
    return lambda image: np.clip(image * gain, 0, 255).astype(np.uint8)


def blur(sigma_px: float) -> Callable[[ImageArray], ImageArray]:
    return lambda image: np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_px), np.uint8)


@pytest.fixture(scope="module")
def unchanged(detector: Detector, new_parts: list[ImageArray]) -> tuple[list[Inspection], Drift]:
    return inspect_all(detector, new_parts, lambda image: image)


@pytest.mark.slow
def test_it_keeps_quiet_on_new_parts_in_the_same_light(
    unchanged: tuple[list[Inspection], Drift],
) -> None:
    assert unchanged[1].highest < 0.8


CHANGES = {
    "15 % darker": light(0.85),
    "8 % brighter": light(1.08),
    "out of focus by 1.1 px": blur(1.1),
}


@pytest.fixture(scope="module")
def changed(
    detector: Detector, new_parts: list[ImageArray]
) -> dict[str, tuple[list[Inspection], Drift]]:
    parts = new_parts[:CHANGED_PARTS]
    return {name: inspect_all(detector, parts, change) for name, change in CHANGES.items()}


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_it_raises_on_a_change_of_light_or_focus(
    change: str, changed: dict[str, tuple[list[Inspection], Drift]]
) -> None:
    assert changed[change][1].is_raised


@pytest.mark.slow
def test_it_has_raised_while_false_alarms_have_not_doubled(
    unchanged: tuple[list[Inspection], Drift],
    changed: dict[str, tuple[list[Inspection], Drift]],
) -> None:
    before = sum(one.is_defective for one in unchanged[0][:CHANGED_PARTS])
    now = [sum(one.is_defective for one in found) for found, _ in changed.values()]
    # Over all changes together, since each lets but a few of the parts be rejected.
    assert 0 < sum(now) < 2 * before * len(now)
