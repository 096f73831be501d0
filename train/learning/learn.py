"""Learning a product: from a data set to a product bundle."""

import logging
import platform
import shutil
from collections.abc import Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from tqdm import tqdm

from runtime.errors import OptionError, TrainingError
from runtime.geometry.area import InspectionArea
from runtime.geometry.geometry import GeometrySettings
from runtime.products.card import CARD_NAME, Calibration, ProductCard, check_product_name
from runtime.products.conformal import calibrate, check_false_alarm_rate, choose_threshold
from runtime.products.trained_images import evidence_of, image_digest
from runtime.storage.atomic_write import check_replaceable, locked
from train.data.dataset import Dataset
from train.learning.fit import FitResult, fit
from train.learning.good_features import (
    GoodFeatures,
    cached_patch_maps,
    good_features,
    order_held_out_last,
)
from train.learning.learn_judge import JudgeReport, learn_judge
from train.learning.loggers import open_log
from train.settings import (
    FitSettings,
    GeometryOptions,
    TeacherSettings,
    ThresholdSettings,
    WorkSettings,
)
from train.students.bundle import ProductBundle, write_bundle
from train.students.students import Students
from train.teacher.teacher import load_teacher

logger = logging.getLogger("l2bt.train")


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
        geometry: How images are brought to the network; if left out, fitted to their shape with
            the recipe "edge", and the padded square with "paper".
        area: Where images are looked at; everywhere if left out.
        threshold_settings: The false-alarm rates that the thresholds shall keep.
        work: Where to work.

    Raises:
        DatasetError: There are fewer than two good images.
        OptionError: The product's name is unfit, `out` exists, an interrupted run is in the way,
            another training is at work there, or an option cannot be met.
        TrainingError: The loss is no finite number.
    """
    work = work or WorkSettings()
    folder = work.folder_for(out)
    folder.mkdir(parents=True, exist_ok=True)
    refusal = f"another training is at work in {folder}; wait for it, or name another --out"
    try:
        with locked(folder, refusal=refusal):
            return _learn_alone(
                dataset,
                out,
                teacher_settings=teacher_settings,
                fit_settings=fit_settings,
                options=geometry or GeometryOptions(),
                area=area,
                rates=threshold_settings or ThresholdSettings(),
                work=work,
            )
    finally:
        # Nothing but an interrupted run's files stay there, and a user's own.
        with suppress(OSError):
            folder.rmdir()


def _learn_alone(
    dataset: Dataset,
    out: Path,
    *,
    teacher_settings: TeacherSettings,
    fit_settings: FitSettings,
    options: GeometryOptions,
    area: InspectionArea | None,
    rates: ThresholdSettings,
    work: WorkSettings,
) -> ProductBundle:
    folder = work.folder_for(out)
    features_folder, state_path = folder / "features", folder / "state.pt"
    check_product_name(dataset.product)
    check_replaceable(out, replace=work.overwrite, marker=CARD_NAME)
    if state_path.exists() and not work.resume:
        raise OptionError(
            f"an interrupted run lies in {folder}; go on with it by --resume, or delete the folder"
        )
    samples, held_out = order_held_out_last(dataset, fit_settings)
    for name, rate in rates.by_name.items():
        # Before the work, not after it.
        check_false_alarm_rate(rate, held_out, name=name, remedy="Hold out more (--held-out)")
    is_fitted = options.chosen(fit_settings.recipe) == "fitted"
    image_wh = dataset.usual_image_wh() if is_fitted else None
    teacher = load_teacher(teacher_settings, image_size=options.image_size, image_wh=image_wh)
    settings = options.settings(teacher.patch_size, image_wh, recipe=fit_settings.recipe)
    if options.geometry == "auto":
        logger.info("geometry: %s", _why(settings, dataset.usual_image_wh()))
    data_fingerprint = dataset.fingerprint()
    features = good_features(
        teacher,
        samples,
        settings,
        held_out=held_out,
        teacher_precision=teacher_settings.teacher_precision,
        data_fingerprint=data_fingerprint,
        folder=features_folder,
        area=area,
    )
    log = open_log(work.tracker, folder=out.with_name(f"{out.name}.log"), name=dataset.product)
    try:
        result = fit(
            features.train_tokens,
            features.held_out_tokens,
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
    judge = (
        learn_judge(result.students, features.train_tokens, seed=fit_settings.seed)
        if fit_settings.recipe == "edge"
        else JudgeReport(learned=False, words="the paper's")
    )
    logger.info("judge: %s", judge.words)
    calibration = _calibrate(features, result.students, settings, area)
    logger.info(
        "%d student updates from the cache; the teacher saw each of the %d images once (%d of them "
        "in this run)",
        result.steps,
        len(samples),
        features.cache.teacher_images,
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
            dataset, data_fingerprint, fit_settings, teacher_settings, result, features
        )
        | {"judge": judge.words}
        | evidence_of(image_digest(one.content()) for one in samples[: len(samples) - held_out]),
        versions=library_versions(),
    )
    bundle = write_bundle(out, card, result.students, overwrite=work.overwrite)
    state_path.unlink(missing_ok=True)
    if not work.keep_features:
        shutil.rmtree(features_folder)
    return bundle


def _why(geometry: GeometrySettings, image_wh: tuple[int, int]) -> str:
    """What was picked where no geometry was asked for, and what else there is."""
    width, height = image_wh
    if geometry.kind == "square":
        return f"{geometry.describe()}, as in the paper"
    patch_px = geometry.patch_size * max(width / geometry.tile_wh[0], height / geometry.tile_wh[1])
    words = (
        f"{geometry.describe()}, since most images have {width} x {height} px and none is padded "
        f"that way; a patch covers {patch_px:.0f} px of them"
    )
    if patch_px >= 2 * geometry.patch_size:
        words += (
            ". Defects much smaller than that are found better in tiles at half the images' size "
            "(geometry tiles, scale 0.5), which cost several times as much"
        )
    return words


def library_versions() -> dict[str, str]:
    """Versions of what decides a training's numbers."""
    names = ("l2bt-edge", "torch", "timm", "numpy", "pillow", "opencv-python-headless")
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in names}}


def _calibrate(
    features: GoodFeatures,
    students: Students,
    geometry: GeometrySettings,
    area: InspectionArea | None,
) -> Calibration:
    cache = features.cache

    def held_out() -> Iterator[tuple[str, float, float, float]]:
        numbers = range(features.first_held_out, len(cache.image_sizes))
        for number in tqdm(numbers, desc="threshold", unit="image"):
            patch_maps = cached_patch_maps(cache.tokens_of(number), students, geometry.grid_wh)
            cut = geometry.for_image(*cache.image_sizes[number], area=area)
            pixel_map = cut.pixel_map(patch_maps)
            residual = float(patch_maps.mean())
            yield features.samples[number].name, pixel_map.score(), pixel_map.peak(), residual

    return calibrate(held_out())


def _evidence(
    dataset: Dataset,
    fingerprint: str,
    settings: FitSettings,
    teacher_settings: TeacherSettings,
    result: FitResult,
    features: GoodFeatures,
) -> dict[str, str | int | float | None]:
    return {
        "data_layout": dataset.layout,
        "data_sha256": fingerprint,
        "good_images": len(dataset.train),
        "teacher_passes": len(features.cache.image_sizes),
        "teacher_precision": teacher_settings.teacher_precision,
        "recipe": settings.recipe,
        "seed": settings.seed,
        "steps": result.steps,
        "best_step": result.best_step,
        "batch_patches": settings.batch_patches,
        "lr": settings.lr,
        "train_loss": result.train_loss,
        "validation_loss": result.validation_loss,
    }
