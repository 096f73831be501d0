"""Learning a product: from a data set to a product bundle."""

import hashlib
import logging
import platform
import shutil
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from tqdm import tqdm

from runtime.errors import OptionError, TrainingError
from runtime.geometry.area import InspectionArea
from runtime.geometry.geometry import GeometrySettings
from runtime.products.card import CARD_NAME, ProductCard, check_product_name
from runtime.products.conformal import (
    calibrate,
    check_false_alarm_rate,
    choose_threshold,
    possible_rates,
)
from runtime.products.trained_images import evidence_of, image_digest
from runtime.storage.atomic_write import check_replaceable, locked
from train.calibration.cross_calibration import CrossCalibration, ScoredImage, fold_bounds
from train.calibration.forecast import PICTURE_NAME as FORECAST_NAME
from train.calibration.forecast import Forecast, draw_forecast, forecast
from train.calibration.unlike_images import MOST_SHOWN, PICTURE_NAME, find_unlike
from train.data.dataset import Dataset
from train.fitting.fit import FitResult, fit
from train.fitting.good_features import GoodFeatures, good_features, order_held_out_last
from train.fitting.learn_judge import JudgeReport, learn_judge
from train.fitting.loggers import open_log
from train.fitting.patches import Patches
from train.learning.memory import HELD_OUT, TRAINED, Memory, RememberedImage, file_name
from train.settings import (
    FitSettings,
    GeometryOptions,
    TeacherSettings,
    ThresholdSettings,
    WorkSettings,
)
from train.students.bundle import ProductBundle, write_bundle
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
    folds_folder = folder / "folds"
    check_product_name(dataset.product)
    check_replaceable(out, replace=work.overwrite, marker=CARD_NAME)
    if (state_path.exists() or folds_folder.exists()) and not work.resume:
        raise OptionError(
            f"an interrupted run lies in {folder}; go on with it by --resume, or delete the folder"
        )
    samples, held_out = order_held_out_last(dataset, fit_settings)
    folds = fit_settings.folds_of(len(samples))
    for name, rate in rates.by_name.items():
        # Before the work, not after it.
        check_false_alarm_rate(
            rate,
            len(samples) if folds else held_out,
            name=name,
            remedy="Give more images" if folds else "Hold out more (--held-out)",
        )
    logger.info("threshold: %s", _how_calibrated(len(samples), held_out, folds))
    is_shaped = options.is_shaped(fit_settings.recipe)
    image_wh = dataset.usual_image_wh() if is_shaped else None
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
        shared=work.shared_features,
    )
    judging = CrossCalibration(
        features=features,
        settings=fit_settings,
        geometry=settings,
        area=area,
        folder=folds_folder,
        device=teacher_settings.device,
    )
    learned_from = list(range(features.first_held_out))
    scored: list[ScoredImage] = []
    unlike: list[ScoredImage] = []
    found: Forecast | None = None
    try:
        if folds is not None:
            scored, unlike = _in_folds(judging, learned_from, folds)
            learned_from = [one.number for one in scored]
            if fit_settings.forecast is not False:
                found = forecast(judging, learned_from, scored, folds=folds)
    except TrainingError:
        shutil.rmtree(folds_folder)
        raise
    patches = Patches.of(features.cache.tokens, features.tiles_of(learned_from))
    log = open_log(work.tracker, folder=out.with_name(f"{out.name}.log"), name=dataset.product)
    try:
        result = fit(
            patches,
            features.held_out_tokens if held_out else None,
            fit_settings,
            state_path=state_path,
            device=teacher_settings.device,
            log=log,
        )
    except TrainingError:
        state_path.unlink(missing_ok=True)
        shutil.rmtree(folds_folder, ignore_errors=True)
        raise
    finally:
        if log is not None:
            log.close()
    judge = (
        learn_judge(result.students, patches, seed=fit_settings.seed)
        if fit_settings.recipe == "edge"
        else JudgeReport(learned=False, words="the paper's")
    )
    logger.info("judge: %s", judge.words)
    if folds is None:
        folds_folder.mkdir(exist_ok=True)
        numbers = range(features.first_held_out, len(samples))
        judged = judging.score(result.students, numbers, maps=folds_folder)
        scored = list(tqdm(judged, desc="threshold", unit="image", total=held_out))
        unlike = _unlike(scored)
        if fit_settings.leave_out_unlike:
            scored = [one for one in scored if one not in unlike]
    calibration = calibrate((one.evidence for one in scored), folds=folds)
    logger.info(
        "%d student updates from the cache; the teacher saw each of the %d images once (%d of them "
        "in this run)",
        result.steps,
        len(samples),
        features.cache.teacher_images,
    )
    threshold = choose_threshold(
        calibration,
        false_alarm_rate=rates.false_alarm_rate,
        region_false_alarm_rate=rates.region_false_alarm_rate,
        review_rate=rates.review_rate,
        remedy="Give more good images (here, or by l2bt threshold --good)",
    )
    card = ProductCard(
        product=dataset.product,
        teacher=teacher.card,
        geometry=settings,
        area=area,
        trained_scale=settings.scale,
        threshold=threshold,
        calibration=calibration,
        students_sha256="",
        training=_evidence(
            dataset, data_fingerprint, fit_settings, teacher_settings, result, features
        )
        | {"judge": judge.words, "unlike_images": len(unlike)}
        | evidence_of(image_digest(samples[one].content()) for one in learned_from),
        versions=library_versions(),
    )
    pictures = {}
    if unlike:
        shown = unlike[:MOST_SHOWN]
        pictures[PICTURE_NAME] = judging.picture(shown, pixel_threshold=threshold.pixel_value)
    if found is not None:
        pictures[FORECAST_NAME] = draw_forecast(found)
    bundle = write_bundle(out, card, result.students, overwrite=work.overwrite, pictures=pictures)
    if unlike:
        logger.info("%s", _told(unlike, len(samples), fit_settings, out / PICTURE_NAME))
    logger.info("%s", possible_rates(len(scored)))
    if found is not None:
        logger.info("forecast: %s; see %s", found.describe(), out / FORECAST_NAME)
    state_path.unlink(missing_ok=True)
    if work.keep_features:
        _remember(
            bundle,
            judging,
            learned_from,
            [] if folds else [one.number for one in scored],
            folds=min(folds or 0, len(learned_from)),
            folder=work.memory_of(out),
        )
    shutil.rmtree(folds_folder, ignore_errors=True)
    if not work.keep_features and work.shared_features is None:
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
            ". Defects much smaller than that are found better with a second look at twice the "
            "size (geometry joint), in about four times the time"
        )
    return words


def _how_calibrated(images: int, held_out: int, folds: int | None) -> str:
    if folds is None:
        return f"from {held_out} of {images} good images, which are held out (--held-out)"
    return (
        f"from all {images} good images, each scored by students trained on the other "
        f"{folds - 1} of {folds} folds (--folds); with --held-out it is quicker, and rests on fewer"
    )


def _remember(
    bundle: ProductBundle,
    judging: CrossCalibration,
    learned_from: list[int],
    held_out: list[int],
    *,
    folds: int,
    folder: Path,
) -> None:
    """Keep what `l2bt learn` needs; not what was left out as unlike the others."""
    cache, samples = judging.features.cache, judging.features.samples
    fold_of = dict.fromkeys(held_out, HELD_OUT) | dict.fromkeys(learned_from, TRAINED)
    bounds = fold_bounds(len(learned_from), folds) if folds else []
    for fold, (first, end) in enumerate(bounds, start=1):
        fold_of |= dict.fromkeys(learned_from[first:end], fold)
    Memory.write(
        folder,
        cache.path,
        [
            RememberedImage(
                name=samples[number].name,
                sha256=hashlib.sha256(samples[number].content()).hexdigest(),
                height=cache.image_sizes[number][0],
                width=cache.image_sizes[number][1],
                file=file_name(0),
                first_tile=cache.first_tile[number],
                tiles=cache.first_tile[number + 1] - cache.first_tile[number],
                fold=fold_of[number],
            )
            for number in (*learned_from, *held_out)
        ],
        fold_students=[judging.students_path(fold + 1) for fold in range(folds)],
        students_sha256=bundle.card.students_sha256,
        tile_patches=cache.tokens.shape[1],
        dimension=cache.tokens.shape[3],
    )


def _in_folds(
    judging: CrossCalibration, images: list[int], folds: int
) -> tuple[list[ScoredImage], list[ScoredImage]]:
    """What the images score, and those that are unlike the others: left out, if told so."""
    scored = judging.run(images, folds=folds)
    unlike = _unlike(scored)
    if unlike and judging.settings.leave_out_unlike:
        left_out = {one.number for one in unlike}
        kept = [one for one in images if one not in left_out]
        scored = judging.run(kept, folds=min(folds, len(kept)))
    return scored, unlike


def _unlike(scored: list[ScoredImage]) -> list[ScoredImage]:
    """Those of the images that are unlike the others, the highest score first."""
    return [scored[one] for one in find_unlike([one.score for one in scored])]


def _told(unlike: list[ScoredImage], images: int, settings: FitSettings, picture: Path) -> str:
    listed = ", ".join(f"{one.name} ({one.score:.3g})" for one in unlike[:MOST_SHOWN])
    more = f" and {len(unlike) - MOST_SHOWN} more" if len(unlike) > MOST_SHOWN else ""
    done = "left out" if settings.leave_out_unlike else "without them: --leave-out-unlike"
    return (
        f"{len(unlike)} of {images} good images are unlike the others (see {picture}): {listed}"
        f"{more}; {done}"
    )


def library_versions() -> dict[str, str]:
    """Versions of what decides a training's numbers."""
    names = ("l2bt-edge", "torch", "timm", "numpy", "pillow", "opencv-python-headless")
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in names}}


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
