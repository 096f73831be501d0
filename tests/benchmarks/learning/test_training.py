"""Both ways of learning learn the same, and a checkpoint is judged as the finished product is."""

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.evaluation.evaluate import evaluate
from benchmarks.learning.quality import (
    Checkpoint,
    Curve,
    Quality,
    TestFeatures,
    check_steps,
    fast_recipe,
    learn_curve,
)
from benchmarks.learning.report import draw, to_markdown, uncached_seconds
from benchmarks.learning.training import measure
from benchmarks.learning.ways import UncachedTrainer, read_tiles
from runtime.errors import DatasetError, OptionError
from runtime.geometry.geometry import GeometrySettings
from tests.parts.small import SHALLOW_TEACHER, SMALL_IMAGE_SIZE
from train.data.dataset import Dataset
from train.fitting.fit import Trainer, new_students
from train.fitting.good_features import GoodFeatures, good_features, order_held_out_last
from train.learning.learn import learn_product
from train.reference import ReferenceDetector
from train.settings import FitSettings, GeometryOptions
from train.students.students import Students
from train.teacher.teacher import Teacher, load_teacher

SIZE = SMALL_IMAGE_SIZE // 2
SETTINGS = FitSettings(recipe="paper", steps=60, held_out=0.25)


@pytest.fixture(scope="module")
def teacher() -> Teacher:
    return load_teacher(SHALLOW_TEACHER, image_size=SIZE)


@pytest.fixture(scope="module")
def geometry(teacher: Teacher) -> GeometrySettings:
    return GeometryOptions(image_size=SIZE).settings(teacher.patch_size)


@pytest.fixture(scope="module")
def features(
    teacher: Teacher,
    geometry: GeometrySettings,
    small_dataset: Dataset,
    tmp_path_factory: pytest.TempPathFactory,
) -> GoodFeatures:
    samples, held_out = order_held_out_last(small_dataset, SETTINGS)
    return good_features(
        teacher,
        samples,
        geometry,
        held_out=held_out,
        teacher_precision="fp32",
        data_fingerprint="a test",
        folder=tmp_path_factory.mktemp("features"),
    )


def weights_of(students: Students) -> torch.Tensor:
    return torch.cat([value.detach().flatten() for value in students.parameters()])


def test_an_update_of_the_same_patches_gives_the_same_students_both_ways(
    teacher: Teacher, geometry: GeometrySettings, features: GoodFeatures
) -> None:
    image = features.cache.tokens_of(0)
    settings = FitSettings(recipe="paper", steps=1, batch_patches=image.shape[1])
    cached = Trainer(image, features.held_out_tokens, settings)
    uncached = UncachedTrainer(teacher, features.samples[:1], geometry, settings, images=1)
    before = weights_of(new_students(image.shape[-1], settings))
    assert torch.equal(weights_of(uncached.students), before)
    # The cache is float16, and it gives the patches in another order.
    assert cached.update() == pytest.approx(uncached.update(), rel=1e-4)
    ours, theirs = weights_of(cached.students) - before, weights_of(uncached.students) - before
    assert float(ours.abs().max()) > 0
    # Adam's first step is the sign of each gradient, which rounding turns where that is near zero.
    assert float(torch.cosine_similarity(ours, theirs, dim=0)) > 0.98


def test_without_a_cache_each_epoch_sees_each_image_once_through_the_teacher(
    teacher: Teacher,
    geometry: GeometrySettings,
    small_dataset: Dataset,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[bytes] = []
    forward = Teacher.forward

    def noting(self: Teacher, tiles: torch.Tensor):  # type: ignore[no-untyped-def]
        seen.extend(tile.numpy().tobytes() for tile in tiles)
        return forward(self, tiles)

    monkeypatch.setattr(Teacher, "forward", noting)
    samples = small_dataset.train[:4]
    trainer = UncachedTrainer(teacher, samples, geometry, SETTINGS, images=2)
    for _ in range(4):
        trainer.update()
    tiles = sorted(read_tiles(sample, geometry).tobytes() for sample in samples)
    assert sorted(seen[:4]) == sorted(seen[4:]) == tiles


def test_a_checkpoint_is_judged_as_the_finished_bundle_is(
    teacher: Teacher,
    geometry: GeometrySettings,
    features: GoodFeatures,
    small_dataset: Dataset,
    tmp_path: Path,
) -> None:
    bundle = learn_product(
        small_dataset,
        tmp_path / "plate",
        teacher_settings=SHALLOW_TEACHER,
        fit_settings=SETTINGS,
        geometry=GeometryOptions(image_size=SIZE),
    )
    test = TestFeatures.of(teacher, small_dataset.test, geometry, tmp_path / "test")
    curve = learn_curve(features, test, SETTINGS, steps=[60], teacher_pass_s=100, folder=tmp_path)
    (found,) = curve.checkpoints
    assert found.steps == 60
    assert found.seconds == pytest.approx(100 + found.update_s)
    with ReferenceDetector(bundle.folder) as reference:
        wanted = evaluate(reference, small_dataset, tmp_path / "results", report=False).metrics
    assert wanted.image is not None
    assert wanted.pixel is not None
    assert found.quality.image_auroc == wanted.image.auroc
    assert found.quality.pixel_auroc == pytest.approx(wanted.pixel.auroc, abs=1e-3)
    overlap = wanted.pixel.overlap.aupro["exact"]["30%"]
    assert found.quality.aupro_30 == pytest.approx(overlap, abs=1e-3)


def test_a_longer_training_passes_through_the_shorter_ones_state(
    features: GoodFeatures,
    teacher: Teacher,
    geometry: GeometrySettings,
    small_dataset: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("train.fitting.fit.VALIDATE_EVERY_STEPS", 5)
    test = TestFeatures.of(teacher, small_dataset.test, geometry, tmp_path / "test")
    tmp_path.joinpath("short").mkdir()
    long = learn_curve(features, test, SETTINGS, steps=[5, 10], teacher_pass_s=0, folder=tmp_path)
    short = learn_curve(
        features, test, SETTINGS, steps=[5], teacher_pass_s=0, folder=tmp_path / "short"
    )
    assert [point.steps for point in long.checkpoints] == [5, 10]
    assert long.checkpoints[0].quality == short.checkpoints[0].quality


def test_a_whole_measurement_says_what_was_measured(small_dataset: Dataset) -> None:
    result = measure(
        small_dataset,
        teacher_settings=SHALLOW_TEACHER,
        image_size=SIZE,
        fit_settings=FitSettings(recipe="paper", batch_patches=64, held_out=0.25),
        steps=[10],
        learning_rates=[1e-3, 1e-4],
        repetitions=1,
    )
    assert (result.good_images, result.test_images) == (12, 6)
    assert [pair.patches for pair in result.times.pairs] == [64, 256]
    # Nine images to learn from, two updates of four images an epoch, 50 epochs; and the steps.
    assert {one.updates for one in result.times.time_to} == {10, 100}
    assert [curve.lr for curve in result.curves] == [1e-3, 1e-4]
    text = to_markdown(result)
    assert "12 good images, 6 test images" in text
    assert f"**10 updates at a learning rate of {result.recipe.lr:g}**" in text
    (seconds,) = uncached_seconds(result, result.curves[0])
    # As many patches as ten updates of a whole image.
    assert seconds == pytest.approx(10 * result.times.pairs[0].uncached.p50_ms / 1e3)
    assert len(draw(result).axes) == 2


def test_test_images_of_one_kind_are_refused(
    teacher: Teacher, geometry: GeometrySettings, small_dataset: Dataset, tmp_path: Path
) -> None:
    good = tuple(sample for sample in small_dataset.test if not sample.is_defective)
    with pytest.raises(DatasetError, match="good and defective"):
        TestFeatures.of(teacher, good, geometry, tmp_path)


@pytest.mark.parametrize("steps", [[], [0], [100, 500]])
def test_steps_at_which_there_is_no_state_are_refused(steps: list[int]) -> None:
    with pytest.raises(OptionError, match="steps"):
        check_steps(steps)


def test_steps_are_sorted_and_the_last_may_be_any() -> None:
    assert check_steps([750, 250, 250, 801]) == [250, 750, 801]


def test_the_recipe_is_the_quickest_that_is_almost_as_good_as_the_best() -> None:
    def curve(lr: float, *points: tuple[int, float, float]) -> Curve:
        return Curve(
            lr=lr,
            checkpoints=tuple(
                Checkpoint(
                    steps=steps,
                    update_s=seconds,
                    seconds=seconds,
                    quality=Quality(image_auroc=auroc, pixel_auroc=None, aupro_30=None),
                )
                for steps, seconds, auroc in points
            ),
        )

    curves = (
        curve(1e-3, (250, 20, 0.90), (500, 40, 0.931), (1000, 80, 0.935)),
        curve(1e-4, (250, 21, 0.88), (500, 41, 0.934), (1000, 81, 0.92)),
    )
    recipe = fast_recipe(curves, tolerance=0.005)
    assert (recipe.lr, recipe.steps, recipe.seconds) == (1e-3, 500, 40)
    assert (recipe.best_image_auroc, recipe.best_steps) == (0.935, 1000)
    assert fast_recipe(curves, tolerance=0).steps == 1000
    assert np.isclose(recipe.image_auroc, 0.931)
