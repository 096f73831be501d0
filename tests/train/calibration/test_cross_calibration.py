"""Thresholds from all good images: none is scored by students that were trained on it."""

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import OptionError
from tests.parts.small import SHALLOW_TEACHER
from train.calibration.cross_calibration import CrossCalibration, fold_bounds
from train.data.dataset import Dataset
from train.data.synthetic import SyntheticSettings, open_synthetic
from train.fitting.features import FeatureCache
from train.fitting.fit import Trainer, fit
from train.fitting.good_features import GoodFeatures
from train.fitting.learn_judge import learn_judge
from train.fitting.patches import Patches
from train.learning.learn import learn_product
from train.settings import (
    FitSettings,
    GeometryOptions,
    ThresholdSettings,
    WorkSettings,
)
from train.students.bundle import ProductBundle

QUICK = FitSettings(steps=12, batch_patches=64)


@pytest.fixture(scope="module")
def plates() -> Dataset:
    return open_synthetic(
        SyntheticSettings(train_images=7, test_good=0, test_defective=0, height=100, width=150)
    )


@pytest.fixture
def learn(plates: Dataset, tmp_path: Path):  # type: ignore[no-untyped-def]
    def run(settings: FitSettings = QUICK, **options: object) -> ProductBundle:
        work = {key: options.pop(key) for key in ("resume", "keep_features") if key in options}
        return learn_product(
            plates,
            tmp_path / "plate",
            teacher_settings=SHALLOW_TEACHER,
            fit_settings=settings,
            geometry=GeometryOptions(geometry="square", image_size=112),
            work=WorkSettings(overwrite=True, **work),  # type: ignore[arg-type]
            **options,  # type: ignore[arg-type]
        )

    return run


@given(tiles=st.lists(st.integers(0, 9), unique=True))
def test_patches_are_those_of_the_tiles_that_count(tiles: list[int]) -> None:
    tokens = np.arange(10 * 3 * 2 * 2, dtype=np.float16).reshape(10, 3, 2, 2)
    patches = Patches.of(tokens, np.array(tiles, np.int64))
    expected = tokens[tiles].reshape(-1, 2, 2)
    assert len(patches) == len(expected)
    assert np.array_equal(patches.take(np.arange(len(patches))), expected)


@given(images=st.integers(2, 300), folds=st.integers(2, 20))
def test_each_image_is_in_one_fold_and_folds_are_alike(images: int, folds: int) -> None:
    folds = min(folds, images)
    bounds = fold_bounds(images, folds)
    assert [number for first, end in bounds for number in range(first, end)] == [*range(images)]
    sizes = [end - first for first, end in bounds]
    assert len(sizes) == folds
    assert 1 <= min(sizes) <= max(sizes) <= min(sizes) + 1


@pytest.mark.parametrize(
    ("settings", "images", "folds", "held_out"),
    [
        (FitSettings(), 199, 5, 0),
        (FitSettings(), 200, None, 20),
        (FitSettings(), 3, 3, 0),
        (FitSettings(folds=10), 900, 10, 0),
        (FitSettings(held_out=0.25), 20, None, 5),
    ],
)
def test_few_images_are_dealt_into_folds_and_many_are_partly_held_out(
    settings: FitSettings, images: int, folds: int | None, held_out: int
) -> None:
    assert settings.folds_of(images) == folds
    assert settings.images_held_out(images) == held_out


def test_all_good_images_calibrate_and_the_card_says_that_nothing_is_guaranteed(  # type: ignore[no-untyped-def]
    learn, plates: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "l2bt.train")
    card = learn().card
    assert card.calibration is not None
    assert sorted(card.calibration.images) == sorted(sample.name for sample in plates.train)
    assert card.calibration.folds == 5
    assert card.threshold.good_images == 7
    assert card.threshold.false_alarm_rate == pytest.approx(1 / 8)
    assert "expected, not guaranteed" in card.threshold.method
    assert "from all 7 good images" in caplog.text
    assert card.training["validation_loss"] is None


def test_an_image_is_scored_by_students_of_the_other_folds(  # type: ignore[no-untyped-def]
    learn, plates: Dataset, tmp_path: Path
) -> None:
    bundle = learn(keep_features=True)
    features = cached(bundle, plates, tmp_path / ".plate.training" / "features")
    first, end = fold_bounds(7, 5)[2]
    others = np.delete(features.cache.tokens, slice(first, end), axis=0)
    students = fit(others, None, QUICK, state_path=tmp_path / "state.pt").students
    learn_judge(students, others, seed=QUICK.seed)
    judging = CrossCalibration(
        features=features,
        settings=QUICK,
        geometry=bundle.card.geometry,
        area=None,
        folder=tmp_path,
    )
    expected = list(judging.score(students, range(first, end)))
    calibration = bundle.card.calibration
    assert calibration is not None
    assert calibration.images[first:end] == tuple(one.name for one in expected)
    assert calibration.scores[first:end] == tuple(one.score for one in expected)


def cached(bundle: ProductBundle, plates: Dataset, folder: Path) -> GoodFeatures:
    """The features that training kept, in the order that its seed gave them."""
    order = np.random.default_rng(QUICK.seed).permutation(7)
    cache = FeatureCache(
        tokens=np.memmap(folder / "tokens.f16", np.float16, mode="r", shape=(7, 64, 2, 384)),
        image_sizes=tuple(plates.train[number].size() for number in order),
        first_tile=tuple(range(8)),
        teacher_images=0,
        path=folder / "tokens.f16",
    )
    samples = [plates.train[number] for number in order]
    return GoodFeatures(cache=cache, samples=samples, first_held_out=7)


def test_an_interrupted_run_goes_on_with_the_fold_that_it_was_in(  # type: ignore[no-untyped-def]
    learn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = learn().card
    trained: list[str] = []

    def interrupted(*arguments: object, desc: str, **options: object) -> object:
        trained.append(desc)
        if len(trained) == 3:
            raise KeyboardInterrupt
        return fit(*arguments, desc=desc, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("train.calibration.cross_calibration.fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        learn()
    with pytest.raises(OptionError, match="--resume"):
        learn()
    with pytest.raises(OptionError, match="resume with the same"):
        learn(replace(QUICK, lr=1e-4), resume=True)
    assert learn(resume=True).card.calibration == whole.calibration
    assert trained == [f"fold {number} of 5" for number in (1, 2, 3, 3, 4, 5)]
    assert [path.name for path in tmp_path.iterdir()] == ["plate"]


def test_a_rate_that_all_images_cannot_keep_is_refused_before_the_work(  # type: ignore[no-untyped-def]
    learn, tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match="needs 19 good images .* Give more images"):
        learn(threshold_settings=ThresholdSettings(false_alarm_rate=0.05))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"folds": 1}, "folds is 1; expected at least 2"),
        ({"folds": 5, "held_out": 0.1}, "--held-out and --folds exclude each other"),
    ],
)
def test_settings_that_cannot_be_are_refused(options: dict[str, float], reason: str) -> None:
    with pytest.raises(OptionError, match=reason):
        FitSettings(**options)  # type: ignore[arg-type]


def test_few_patches_are_not_passed_over_more_than_a_hundred_times() -> None:
    assert FitSettings().total_steps(925 * 900) == 3000
    assert FitSettings().total_steps(925 * 10) == 900
    assert FitSettings(steps=3000).total_steps(925 * 10) == 3000


def test_students_of_the_default_recipe_are_those_of_the_last_update_whatever_is_held_out(
    tmp_path: Path,
) -> None:
    tokens = np.random.default_rng(0).normal(size=(2, 64, 2, 8)).astype(np.float16)
    settings = FitSettings(steps=30, batch_patches=64)
    with_held_out = fit(tokens, tokens[:1], settings, state_path=tmp_path / "one.pt")
    without = fit(tokens, None, settings, state_path=tmp_path / "two.pt")
    assert (with_held_out.best_step, without.best_step) == (30, 30)
    assert without.validation_loss is None
    one, two = with_held_out.students.state_dict(), without.students.state_dict()
    assert all(np.array_equal(one[name], two[name]) for name in one)


def test_the_papers_recipe_takes_the_best_that_was_seen(tmp_path: Path) -> None:
    tokens = np.random.default_rng(0).normal(size=(2, 64, 2, 8)).astype(np.float16)
    settings = FitSettings(recipe="paper", steps=300, batch_patches=64, lr=0.5)
    trainer = Trainer(tokens, tokens, settings)
    losses = []
    trainer.run(tmp_path / "state.pt", watch=lambda *_: losses.append(trainer.best_loss))
    assert losses == sorted(losses, reverse=True)
