"""How long learning takes, and what it is worth.

    l2bt benchmark training --data VISA --product macaroni1

Three questions: what a student update costs from the feature cache, and what it costs where the
teacher is asked at each update; how good a product is after so many updates and seconds; and which
is the quickest training that is as good as the best, or almost.
"""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Annotated

from cyclopts import Parameter

from benchmarks.learning.quality import (
    TestFeatures,
    check_steps,
    fast_recipe,
    learn_curve,
)
from benchmarks.learning.report import draw, to_markdown
from benchmarks.learning.results import TrainingResult
from benchmarks.learning.ways import time_ways
from benchmarks.machine.machine import describe_machine, library_versions, read_conditions
from benchmarks.machine.result_files import results_folder, write_result
from runtime.errors import OptionError
from runtime.geometry.geometry import GeometrySettings
from train.data.dataset import Dataset
from train.fitting.good_features import GoodFeatures, good_features, order_held_out_last
from train.settings import DEMO_TEACHER, FitSettings, GeometryOptions, TeacherSettings
from train.teacher.teacher import Teacher, load_teacher

_STEPS = (250, 500, 1000, 2000, 4000, 8000)
_RATES = (1e-3,)
_IMAGES_PER_UPDATE = (1, 4)
_PAPERS_EPOCHS = 50
_PAPERS_IMAGES = 4
_TOLERANCE = 0.005
_BUDGET_S = 600.0


def training(
    *,
    data: str,
    product: str | None = None,
    layout: str = "auto",
    teacher: str = DEMO_TEACHER,
    teacher_weights: Path | None = None,
    teacher_precision: str = "fp32",
    device: str = "cpu",
    image_size: int = 518,
    train_images: int | None = None,
    images: int | None = None,
    steps: Annotated[list[int] | None, Parameter(consume_multiple=True)] = None,
    learning_rates: Annotated[list[float] | None, Parameter(consume_multiple=True)] = None,
    batch_patches: int = 1024,
    repetitions: int = 25,
    out: Path | None = None,
) -> None:
    """Measure learning, and write JSON, Markdown and a picture.

    Args:
        data: Root folder of the data set, or "synthetic".
        product: Class or product; needed in the layouts visa, visa-prepared and mvtec.
        layout: visa, visa-prepared, mvtec, folder or synthetic; "auto" tells it by its folders.
        teacher: The frozen network.
        teacher_weights: A local file with its weights.
        teacher_precision: fp32, bf16 or fp16.
        device: cpu, cuda or cuda:N.
        image_size: Side of the padded square in px.
        train_images: How many good images to learn from, evenly spaced; all by default.
        images: How many test images, evenly spaced; all by default.
        steps: After how many updates to evaluate: multiples of 250, but for the last one; 250 to
            8000 by default.
        learning_rates: One training each; 1e-3 by default.
        batch_patches: Patches of an update, in the trainings.
        repetitions: Turns that the two ways take, in at most ten minutes.
        out: Folder of all machines' results; benchmarks/results by default.
    """
    from train.data.open_dataset import open_dataset

    dataset = open_dataset(data, product=product, layout=layout)
    result = measure(
        _part_of(dataset, train_images=train_images, test_images=images),
        teacher_settings=TeacherSettings(
            teacher=teacher,
            teacher_weights=teacher_weights,
            teacher_precision=teacher_precision,
            device=device,
        ),
        image_size=image_size,
        fit_settings=FitSettings(recipe="paper", batch_patches=batch_patches),
        steps=list(_STEPS) if steps is None else steps,
        learning_rates=list(_RATES) if learning_rates is None else learning_rates,
        repetitions=repetitions,
    )
    markdown = to_markdown(result)
    folder = results_folder("training", out)
    write_result(folder, result, markdown, quality=draw(result))
    print(markdown)
    print(folder)


def measure(
    dataset: Dataset,
    *,
    teacher_settings: TeacherSettings,
    image_size: int,
    fit_settings: FitSettings,
    steps: list[int],
    learning_rates: list[float],
    repetitions: int,
) -> TrainingResult:
    """Measure both ways in turns, and then train once for each learning rate.

    Args:
        dataset: Good images to learn from, and labelled ones to test on.
        teacher_settings: Which teacher.
        image_size: Side of the padded square in px.
        fit_settings: How to train; learning rate and steps are taken from the others.
        steps: After how many updates to evaluate.
        learning_rates: One training each.
        repetitions: Turns that the two ways take.

    Raises:
        OptionError: There is no learning rate, or the steps cannot be evaluated.
        DatasetError: Good or defective test images are missing.
    """
    wanted = check_steps(steps)
    if not learning_rates:
        raise OptionError("learning_rates: expected at least one, such as 1e-3")
    conditions = read_conditions()
    network = load_teacher(teacher_settings, image_size=image_size)
    geometry = GeometryOptions(image_size=image_size).settings(network.patch_size)
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        # First, since it ends the measurement where test images are missing.
        test = TestFeatures.of(network, dataset.test, geometry, folder / "test")
        begun = perf_counter()
        features = _features(network, dataset, geometry, fit_settings, teacher_settings, folder)
        teacher_pass_s = perf_counter() - begun
        papers_updates = _PAPERS_EPOCHS * max(1, features.first_held_out // _PAPERS_IMAGES)
        times = time_ways(
            network,
            features,
            geometry,
            fit_settings,
            images_per_update=_IMAGES_PER_UPDATE,
            updates=sorted({*wanted, papers_updates}),
            repetitions=repetitions,
            budget_s=_BUDGET_S,
        )
        curves = tuple(
            learn_curve(
                features,
                test,
                replace(fit_settings, lr=lr),
                steps=wanted,
                teacher_pass_s=teacher_pass_s,
                folder=folder,
                device=teacher_settings.device,
            )
            for lr in learning_rates
        )
    return TrainingResult(
        machine=describe_machine(),
        conditions=conditions,
        versions=library_versions(),
        product=dataset.product,
        teacher=teacher_settings.teacher,
        teacher_precision=teacher_settings.teacher_precision,
        image_size=image_size,
        good_images=len(features.samples),
        test_images=len(dataset.test),
        batch_patches=fit_settings.batch_patches,
        teacher_pass_s=teacher_pass_s,
        times=times,
        curves=curves,
        recipe=fast_recipe(curves, tolerance=_TOLERANCE),
    )


def _features(
    teacher: Teacher,
    dataset: Dataset,
    geometry: GeometrySettings,
    fit_settings: FitSettings,
    teacher_settings: TeacherSettings,
    folder: Path,
) -> GoodFeatures:
    samples, held_out = order_held_out_last(dataset, fit_settings)
    return good_features(
        teacher,
        samples,
        geometry,
        held_out=held_out,
        teacher_precision=teacher_settings.teacher_precision,
        data_fingerprint=dataset.fingerprint(),
        folder=folder / "features",
    )


def _part_of(dataset: Dataset, *, train_images: int | None, test_images: int | None) -> Dataset:
    from benchmarks.evaluation.parity.run import evenly

    return replace(
        dataset,
        train=tuple(evenly(dataset.train, train_images)),
        test=tuple(evenly(dataset.test, test_images)),
    )
