"""What learning has come to after so many updates: quality on the test set, and seconds spent."""

from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter

from torch import Tensor
from tqdm import tqdm

from benchmarks.evaluation.metrics.image_metrics import measure_images
from benchmarks.evaluation.metrics.pixel_metrics import PixelEvaluator
from runtime.errors import DatasetError, OptionError
from runtime.geometry.geometry import GeometrySettings
from train.data.dataset import Sample
from train.fitting.features import FeatureCache, cache_features
from train.fitting.fit import VALIDATE_EVERY_STEPS, fit
from train.fitting.good_features import GoodFeatures, cached_patch_maps
from train.settings import FitSettings
from train.students.students import Students
from train.teacher.teacher import Teacher


@dataclass(frozen=True, kw_only=True)
class Quality:
    """How well a state of the students does on the test set, at the images' own resolution.

    Attributes:
        image_auroc: Over image scores.
        pixel_auroc: Over all pixels; None without masks.
        aupro_30: AU-PRO up to a false-positive rate of 30 %, exact; None without masks.
    """

    image_auroc: float
    pixel_auroc: float | None
    aupro_30: float | None


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A moment of a training.

    Attributes:
        steps: Updates so far. The state is what a run of so many steps gives.
        update_s: Seconds of updates, losses on the held-out images and kept states included.
        seconds: The same and the teacher's pass over all good images.
        quality: On the test set.
    """

    steps: int
    update_s: float
    seconds: float
    quality: Quality


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One training.

    Attributes:
        lr: Learning rate.
        checkpoints: In the order of steps.
    """

    lr: float
    checkpoints: tuple[Checkpoint, ...]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The quickest training that does as well as the best, or almost.

    Attributes:
        lr: Its learning rate.
        steps: Its updates.
        seconds: What it took, the teacher's pass included.
        image_auroc: What it reached.
        best_image_auroc: The highest of all checkpoints.
        best_steps: After so many updates.
        best_seconds: And seconds.
        tolerance: How far below the highest it may be.
    """

    lr: float
    steps: int
    seconds: float
    image_auroc: float
    best_image_auroc: float
    best_steps: int
    best_seconds: float
    tolerance: float


@dataclass(frozen=True, kw_only=True)
class TestFeatures:
    """The teacher's tokens of the test images: it sees them once, however often is evaluated.

    Attributes:
        cache: The tokens.
        samples: The images, in the cache's order.
        geometry: How they were brought to the network's size.
    """

    __test__ = False  # Not one for pytest.

    cache: FeatureCache
    samples: tuple[Sample, ...]
    geometry: GeometrySettings

    @classmethod
    def of(
        cls,
        teacher: Teacher,
        samples: tuple[Sample, ...],
        geometry: GeometrySettings,
        folder: Path,
    ) -> "TestFeatures":
        """Show the test images to the teacher.

        Raises:
            DatasetError: Good or defective ones are missing.
        """
        if len({sample.is_defective for sample in samples}) < 2:
            raise DatasetError(
                "the quality of a training needs good and defective test images; take more of them"
            )
        cache = cache_features(
            teacher, samples, geometry, area=None, folder=folder, fingerprint="test images"
        )
        return cls(cache=cache, samples=samples, geometry=geometry)

    def quality(self, students: Students) -> Quality:
        """Judge all test images by these students, on the CPU."""
        pixels = PixelEvaluator(good_images=sum(not one.is_defective for one in self.samples))
        scores = []
        grid_wh = self.geometry.grid_wh
        for number, sample in enumerate(tqdm(self.samples, "evaluating", leave=False)):
            size = self.cache.image_sizes[number]
            patch_maps = cached_patch_maps(self.cache.tokens_of(number), students, grid_wh)
            pixel_map = self.geometry.for_image(*size).pixel_map(patch_maps)
            scores.append(pixel_map.score())
            mask = sample.mask(*size)
            if mask is not None:
                pixels.add(sample.name, pixel_map.pixels(), mask, is_defective=sample.is_defective)
        image = measure_images(scores, [sample.is_defective for sample in self.samples])
        assert image is not None, "there are both kinds"
        result = pixels.result()
        return Quality(
            image_auroc=image.auroc,
            pixel_auroc=result.metrics.auroc if result else None,
            aupro_30=result.metrics.overlap.aupro["exact"]["30%"] if result else None,
        )


def check_steps(steps: list[int]) -> list[int]:
    """Sorted numbers of updates at which there is a state to evaluate.

    Raises:
        OptionError: There is none, or training keeps no state after one of them.
    """
    ordered = sorted(set(steps))
    if not ordered or ordered[0] < 1:
        raise OptionError("steps: expected numbers of updates such as 250 1000 4000")
    for wanted in ordered[:-1]:
        if wanted % VALIDATE_EVERY_STEPS:
            raise OptionError(
                f"steps: {wanted} is no multiple of {VALIDATE_EVERY_STEPS}, at which training "
                "keeps its state; only the last number may be any"
            )
    return ordered


def learn_curve(
    features: GoodFeatures,
    test: TestFeatures,
    settings: FitSettings,
    *,
    steps: list[int],
    teacher_pass_s: float,
    folder: Path,
    device: str = "cpu",
) -> Curve:
    """Train once, and look at what a run of each number of steps would have given.

    Args:
        features: Of the good images.
        test: Of the test images.
        settings: How to train; `steps` decide how long.
        steps: When to evaluate; that is not counted as time of the training.
        teacher_pass_s: Seconds that the features took.
        folder: For the state of the run.
        device: Where the students train.
    """
    checkpoints: list[Checkpoint] = []
    looked_at_s = 0.0
    begun = perf_counter()

    def watch(step: int, state: dict[str, Tensor]) -> None:
        nonlocal looked_at_s
        stopped = perf_counter()
        if step in steps:
            students = Students(features.cache.tokens.shape[-1]).eval()
            students.load_state_dict(state)
            update_s = stopped - begun - looked_at_s
            checkpoints.append(
                Checkpoint(
                    steps=step,
                    update_s=update_s,
                    seconds=teacher_pass_s + update_s,
                    quality=test.quality(students),
                )
            )
        looked_at_s += perf_counter() - stopped

    fit(
        features.train_tokens,
        features.held_out_tokens,
        replace(settings, steps=max(steps), epochs=None),
        state_path=folder / f"state-{settings.lr:g}.pt",
        device=device,
        watch=watch,
    )
    return Curve(lr=settings.lr, checkpoints=tuple(checkpoints))


def fast_recipe(curves: tuple[Curve, ...], *, tolerance: float) -> Recipe:
    """The quickest checkpoint within `tolerance` of the highest I-AUROC."""
    points = [(curve.lr, point) for curve in curves for point in curve.checkpoints]
    _, best = max(points, key=lambda one: one[1].quality.image_auroc)
    enough = best.quality.image_auroc - tolerance
    lr, quickest = min(
        (one for one in points if one[1].quality.image_auroc >= enough),
        key=lambda one: one[1].seconds,
    )
    return Recipe(
        lr=lr,
        steps=quickest.steps,
        seconds=quickest.seconds,
        image_auroc=quickest.quality.image_auroc,
        best_image_auroc=best.quality.image_auroc,
        best_steps=best.steps,
        best_seconds=best.seconds,
        tolerance=tolerance,
    )
