"""Learning a product: from a data set to a product bundle."""

import hashlib
import platform
import shutil
from collections.abc import Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from runtime.area import InspectionArea
from runtime.atomic_write import check_replaceable
from runtime.conformal import calibrate, check_false_alarm_rate, choose_threshold
from runtime.errors import DatasetError, OptionError, TrainingError
from runtime.geometry import GeometrySettings
from runtime.product import CARD_NAME, Calibration, ProductCard, check_product_name
from train.bundle import ProductBundle, write_bundle
from train.data.dataset import Dataset, Sample
from train.features import FeatureCache, cache_features
from train.fit import FitResult, fit
from train.loggers import open_log
from train.settings import (
    FitSettings,
    GeometryOptions,
    TeacherSettings,
    ThresholdSettings,
    WorkSettings,
)
from train.students import Students
from train.teacher import Teacher, load_teacher


def learn_product(
    dataset: Dataset,
    out: Path,
    *,
    teacher_settings: TeacherSettings,
    fit_settings: FitSettings,
    geometry: GeometryOptions | None = None,
    area: InspectionArea | None = None,
    threshold_settings: ThresholdSettings | None = None,
    work: WorkSettings | None = None,
) -> ProductBundle:
    """Train a product's students and write its bundle.

    Args:
        dataset: Only its good training images are used.
        out: The bundle's folder.
        teacher_settings: Which teacher.
        fit_settings: How the students are trained.
        geometry: How images are brought to the network; the padded square of 518 px if left out.
        area: Where images are looked at; everywhere if left out.
        threshold_settings: The false-alarm rates that the thresholds shall keep.
        work: Where to work.

    Raises:
        DatasetError: There are fewer than two good images.
        OptionError: The product's name is unfit, `out` exists, an interrupted run is in the way, or
            an option cannot be met.
        TrainingError: The loss is no finite number.
    """
    work = work or WorkSettings()
    rates = threshold_settings or ThresholdSettings()
    folder = work.folder_for(out)
    features, state_path = folder / "features", folder / "state.pt"
    check_product_name(dataset.product)
    check_replaceable(out, replace=work.overwrite, marker=CARD_NAME)
    if state_path.exists() and not work.resume:
        raise OptionError(
            f"an interrupted run lies in {folder}; go on with it by --resume, or delete the folder"
        )
    ordered, held_out = _order_held_out_last(dataset, fit_settings)
    for name, rate in rates.by_name.items():
        # Before the work, not after it.
        check_false_alarm_rate(rate, held_out, name=name, remedy="Hold out more (--held-out)")
    options = geometry or GeometryOptions()
    teacher = load_teacher(teacher_settings, image_size=options.image_size)
    settings = options.settings(teacher.patch_size)
    data_fingerprint = dataset.fingerprint()
    cache = cache_features(
        teacher,
        ordered,
        settings,
        area=area,
        folder=features,
        fingerprint=_fingerprint(
            data_fingerprint, teacher, teacher_settings, settings, area, ordered
        ),
    )
    first_held_out = len(ordered) - held_out
    log = open_log(work.tracker, folder=out.with_name(f"{out.name}.log"), name=dataset.product)
    try:
        result = fit(
            cache.tokens[: cache.first_tile[first_held_out]],
            cache.tokens[cache.first_tile[first_held_out] :],
            fit_settings,
            state_path=state_path,
            device=teacher_settings.device,
            log=log,
        )
    except TrainingError:
        state_path.unlink(missing_ok=True)
        raise
    finally:
        if log is not None:
            log.close()
    calibration = _calibrate(cache, first_held_out, ordered, result.students, settings, area)
    print(
        f"{result.steps} student updates from the cache; the teacher saw each of the "
        f"{len(ordered)} images once ({cache.teacher_images} of them in this run)"
    )
    card = ProductCard(
        product=dataset.product,
        teacher=teacher.card,
        geometry=settings,
        area=area,
        trained_scale=settings.scale,
        threshold=choose_threshold(
            calibration,
            false_alarm_rate=rates.false_alarm_rate,
            region_false_alarm_rate=rates.region_false_alarm_rate,
        ),
        calibration=calibration,
        students_sha256="",
        training=_evidence(
            dataset, data_fingerprint, fit_settings, teacher_settings, result, cache
        ),
        versions=library_versions(),
    )
    bundle = write_bundle(out, card, result.students, overwrite=work.overwrite)
    state_path.unlink(missing_ok=True)
    if not work.keep_features:
        shutil.rmtree(features)
        # A work folder of the user's may hold something else.
        with suppress(OSError):
            folder.rmdir()
    return bundle


def library_versions() -> dict[str, str]:
    """Versions of what decides a training's numbers."""
    names = ("l2bt-edge", "torch", "timm", "numpy", "pillow", "opencv-python-headless")
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in names}}


def _order_held_out_last(dataset: Dataset, settings: FitSettings) -> tuple[list[Sample], int]:
    """The good images with those held out at the end, so that both are slices of one cache."""
    count = len(dataset.train)
    if count < 2:
        raise DatasetError(
            f"{dataset.product} has {count} good image(s) to learn from; expected at least 2: one "
            "to train on and one to find the threshold with"
        )
    held_out = min(max(1, round(settings.held_out * count)), count - 1)
    order = np.random.default_rng(settings.seed).permutation(count)
    return [dataset.train[number] for number in order], held_out


def _calibrate(
    cache: FeatureCache,
    first: int,
    ordered: list[Sample],
    students: Students,
    geometry: GeometrySettings,
    area: InspectionArea | None,
) -> Calibration:
    def held_out() -> Iterator[tuple[str, float, float, float]]:
        numbers = range(first, len(cache.image_sizes))
        for number in tqdm(numbers, desc="threshold", unit="image"):
            patch_maps = _patch_maps(cache.tokens_of(number), students, geometry.grid_side)
            cut = geometry.for_image(*cache.image_sizes[number], area=area)
            pixel_map = cut.pixel_map(patch_maps)
            residual = float(patch_maps.mean())
            yield ordered[number].name, pixel_map.score(), pixel_map.peak(), residual

    return calibrate(held_out())


@torch.inference_mode()
def _patch_maps(
    tokens: np.ndarray[Any, np.dtype[np.float16]], students: Students, side: int
) -> npt.NDArray[np.float32]:
    """The (tiles, side, side) patch maps of one image's cached (tiles, T, 2, D) teacher tokens."""
    both = torch.from_numpy(tokens.astype(np.float32))
    maps: npt.NDArray[np.float32] = students(both[:, :, 0], both[:, :, 1]).numpy()
    return maps.reshape(-1, side, side)


def _fingerprint(
    data: str,
    teacher: Teacher,
    settings: TeacherSettings,
    geometry: GeometrySettings,
    area: InspectionArea | None,
    ordered: list[Sample],
) -> str:
    names = [sample.name for sample in ordered]
    everything = [data, names, teacher.card, settings.teacher_precision, geometry, area]
    return hashlib.sha256(msgspec.json.encode(everything)).hexdigest()


def _evidence(
    dataset: Dataset,
    fingerprint: str,
    settings: FitSettings,
    teacher_settings: TeacherSettings,
    result: FitResult,
    cache: FeatureCache,
) -> dict[str, str | int | float | None]:
    return {
        "data_layout": dataset.layout,
        "data_sha256": fingerprint,
        "good_images": len(dataset.train),
        "teacher_passes": len(cache.image_sizes),
        "teacher_precision": teacher_settings.teacher_precision,
        "seed": settings.seed,
        "steps": result.steps,
        "best_step": result.best_step,
        "batch_patches": settings.batch_patches,
        "lr": settings.lr,
        "train_loss": result.train_loss,
        "validation_loss": result.validation_loss,
    }
