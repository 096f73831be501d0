"""Evaluating any way of running a model on a labelled data set, at the original resolution."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from tqdm import tqdm

from benchmarks.evaluation.metrics.components import Component
from benchmarks.evaluation.metrics.image_metrics import measure_images
from benchmarks.evaluation.metrics.pixel_metrics import OverlapCurve, PixelEvaluator, PixelResult
from benchmarks.evaluation.metrics.results import (
    METRICS_NAME,
    Decisions,
    ImageResult,
    Metrics,
    RunDescription,
    check_protocol,
    csv_of_products,
    csv_of_rows,
    markdown_page,
)
from benchmarks.evaluation.protocol import ProtocolName
from benchmarks.evaluation.report.page import ReportContent, render_report
from benchmarks.evaluation.report.pictures import PictureBook
from benchmarks.machine.machine import describe_machine, library_versions
from runtime.errors import BadImageError, DatasetError, OptionError
from runtime.inspections.inspection import Inspection, Inspector
from runtime.inspections.overlay import draw_inspection
from runtime.inspections.pictures import PictureFolder, picture_stems
from runtime.products.card import ProductCard
from runtime.storage.atomic_write import atomic_write
from runtime.storage.json_files import write_json
from train.data.dataset import Dataset, Sample
from train.data.leaks import images_also_in_training
from train.data.mask_survey import survey_masks
from train.data.masks import Mask

REPORT_NAME = "report.html"
_NAMED_IN_WARNING = 5


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The numbers over the test set, and what they come from.

    Attributes:
        metrics: The numbers.
        images: One row an image.
        components: The defects.
        curve: The PRO curve; None where there are no masks.
    """

    metrics: Metrics
    images: tuple[ImageResult, ...]
    components: tuple[Component, ...]
    curve: OverlapCurve | None


def evaluate(
    inspector: Inspector,
    dataset: Dataset,
    out: Path,
    *,
    product: str | None = None,
    protocol: ProtocolName = "exact",
    report: bool = True,
    overlays: bool = False,
    overwrite: bool = False,
) -> Evaluation:
    """Inspect all test images once, and write the numbers and the report.

    Leaves `metrics.json`, `metrics.csv`, `metrics.md`, `images.csv`, `components.csv` and
    `report.html`. `metrics.json` is written last: where it stands, the others are whole.

    Args:
        inspector: A detector, the reference, or a client.
        dataset: Its test images are used.
        out: Folder for the results.
        product: What the inspector must hold; whatever it holds if left out.
        protocol: Which AU-PRO the tables show: "exact", or "paper" for the authors' 99 thresholds.
        report: Whether to write `report.html`.
        overlays: Whether to write a picture of each image to `out/overlays`.
        overwrite: Whether older results in `out` may be replaced.

    Raises:
        OptionError: `out` holds results and `overwrite` is false, or the protocol is unknown.
        UnknownProductError: The inspector does not hold `product`.
        DatasetError: There are no test images or none can be inspected, a mask is wrong, or a map
            holds NaN. Masks are looked through before the first image is inspected.
    """
    check_protocol(protocol)
    if not dataset.test:
        raise DatasetError(
            f"{dataset.product} has no test images; add test/good/ and test/<defect>/"
        )
    if (out / METRICS_NAME).exists() and not overwrite:
        raise OptionError(f"{out} holds results already; name another --out, or pass --overwrite")
    masks = survey_masks(dataset.test)
    card = inspector.read_card(product=product)
    leaks = images_also_in_training(dataset)
    for name in (METRICS_NAME, REPORT_NAME):
        (out / name).unlink(missing_ok=True)
    pixels = PixelEvaluator(good_images=sum(not one.is_defective for one in dataset.test))
    book = PictureBook() if report else None
    pictures = PictureFolder(out / "overlays") if overlays else None
    stems = picture_stems([Path(sample.name) for sample in dataset.test], with_folders=True)
    rows: list[ImageResult] = []
    failed: dict[str, str] = {}
    start = time.perf_counter()
    progress = tqdm(dataset.test, desc="evaluating", unit="image")
    for sample, stem in zip(progress, stems, strict=True):
        try:
            inspection = inspector.inspect(sample.source(), product=product)
        except BadImageError as error:
            # Such as a file that was moved away meanwhile: it is named, and in no number.
            failed[sample.name] = str(error)
            continue
        mask = _mask(sample, inspection)
        components = _add_pixels(pixels, sample, inspection, mask, card)
        row = _row(sample, inspection, components, has_mask=mask is not None)
        rows.append(row)
        if book is not None:
            book.add(sample, inspection, row, components)
        if pictures is not None:
            pictures.write(stem, draw_inspection(sample.pixels(), inspection, title=sample.name))
    if not rows:
        reason = next(iter(failed.values()))
        raise DatasetError(f"none of the {len(failed)} test images could be inspected: {reason}")
    seconds_per_image = (time.perf_counter() - start) / len(rows)
    good_images = sum(not row.is_defective for row in rows)
    result = pixels.result()
    if result is not None:
        rows = [replace(row, aupimo=result.aupimo_of_image.get(row.name)) for row in rows]
    metrics = Metrics(
        product=card.product,
        layout=dataset.layout,
        protocol=protocol,
        good_images=good_images,
        defective_images=len(rows) - good_images,
        without_mask=sum(row.components is None for row in rows),
        components=len(pixels.components),
        image=measure_images([row.score for row in rows], [row.is_defective for row in rows]),
        pixel=result.metrics if result else None,
        decisions=_decisions(card, rows),
        run=_describe_run(card, inspection, seconds_per_image),
        undefined=_undefined(rows, result),
        warnings=(*_warnings(rows, leaks, failed), *masks.warnings),
        failed=failed,
        masks=masks.describe(),
    )
    evaluation = Evaluation(
        metrics=metrics,
        images=tuple(rows),
        components=tuple(pixels.components),
        curve=result.curve if result else None,
    )
    _write(evaluation, book, out)
    return evaluation


def _mask(sample: Sample, inspection: Inspection) -> Mask | None:
    assert inspection.anomaly_map is not None, "evaluation asks for the map"
    return sample.mask(*inspection.anomaly_map.shape)


def _add_pixels(
    pixels: PixelEvaluator,
    sample: Sample,
    inspection: Inspection,
    mask: Mask | None,
    card: ProductCard,
) -> list[Component]:
    if mask is None:
        return []
    assert inspection.anomaly_map is not None
    try:
        return pixels.add(
            sample.name,
            inspection.anomaly_map,
            mask,
            is_defective=sample.is_defective,
            ignored=card.area.ignored(*mask.shape) if card.area is not None else None,
        )
    except ValueError as error:
        raise DatasetError(f"{sample.name}: {error}") from error


def _row(
    sample: Sample, inspection: Inspection, components: Sequence[Component], *, has_mask: bool
) -> ImageResult:
    found = sum(component.peak > inspection.pixel_threshold for component in components)
    return ImageResult(
        name=sample.name,
        is_defective=sample.is_defective,
        verdict=inspection.verdict,
        score=inspection.score,
        regions=len(inspection.regions),
        components=len(components) if has_mask else None,
        components_found=found if has_mask else None,
    )


def _decisions(card: ProductCard, rows: Sequence[ImageResult]) -> Decisions:
    threshold = card.threshold
    wrong = [row.is_defective for row in rows if not row.is_right]
    for_review = [row.is_defective for row in rows if row.verdict == "review"]
    return Decisions(
        image_threshold=threshold.image_score,
        pixel_threshold=threshold.pixel_value,
        method=threshold.method,
        false_alarm_rate=threshold.false_alarm_rate,
        region_false_alarm_rate=threshold.region_false_alarm_rate,
        false_alarms=wrong.count(False),
        misses=wrong.count(True),
        good_images_with_region=sum(row.regions > 0 for row in rows if not row.is_defective),
        components_found=sum(row.components_found or 0 for row in rows),
        review_threshold=threshold.review_score,
        good_for_review=for_review.count(False),
        defective_for_review=for_review.count(True),
    )


def _describe_run(
    card: ProductCard, inspection: Inspection, seconds_per_image: float
) -> RunDescription:
    return RunDescription(
        engine=inspection.engine,
        transport=inspection.transport,
        teacher=card.teacher,
        image_size=card.geometry.image_size,
        geometry=card.geometry.describe(),
        seconds_per_image=seconds_per_image,
        machine=describe_machine(),
        versions=library_versions(),
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def _undefined(rows: Sequence[ImageResult], result: PixelResult | None) -> dict[str, str]:
    reasons: dict[str, str] = {}
    defective = sum(row.is_defective for row in rows)
    if defective in (0, len(rows)):
        missing = "anomalous" if defective == 0 else "good"
        reasons["I-AUROC, I-AP, I-F1"] = f"the test set has no {missing} images"
    if result is None:
        reasons["P-AUROC, P-AP, P-F1, AU-PRO, AUPIMO"] = (
            "the test set has no anomalous images"
            if defective == 0
            else "no mask of an anomalous image marks a defect"
        )
    elif result.metrics.aupimo is None:
        reasons["AUPIMO"] = (
            "a false-positive rate of 1e-5 needs good images of 100,000 pixels together"
        )
    return reasons


def _warnings(
    rows: Sequence[ImageResult], leaks: dict[str, str], failed: dict[str, str]
) -> tuple[str, ...]:
    warnings: list[str] = []
    if failed:
        reasons = "; ".join(list(failed.values())[:_NAMED_IN_WARNING])
        warnings.append(f"{len(failed)} test images could not be inspected: {reasons}")
    if leaks:
        pairs = [f"{test} = {learned}" for test, learned in leaks.items()]
        shown = ", ".join(pairs[:_NAMED_IN_WARNING])
        more = len(pairs) - _NAMED_IN_WARNING
        warnings.append(
            f"{len(leaks)} test images are also training images, so their scores say nothing: "
            f"{shown}{f' and {more} more' if more > 0 else ''}"
        )
    if without := sum(row.components is None for row in rows):
        warnings.append(f"{without} defective images have no mask; the pixel metrics are without")
    if empty := [row.name for row in rows if row.is_defective and row.components == 0]:
        shown = ", ".join(empty[:_NAMED_IN_WARNING])
        warnings.append(f"{len(empty)} defective images have an empty mask, such as {shown}")
    return tuple(warnings)


def _write(evaluation: Evaluation, book: PictureBook | None, out: Path) -> None:
    metrics = evaluation.metrics
    atomic_write(out / "metrics.csv", csv_of_products([metrics]))
    atomic_write(out / "metrics.md", markdown_page(metrics))
    atomic_write(out / "images.csv", csv_of_rows(evaluation.images, ImageResult))
    atomic_write(out / "components.csv", csv_of_rows(evaluation.components, Component))
    if book is not None:
        content = ReportContent(
            metrics=metrics,
            images=evaluation.images,
            components=evaluation.components,
            curve=evaluation.curve,
            book=book,
        )
        atomic_write(out / REPORT_NAME, render_report(content))
    write_json(out / METRICS_NAME, metrics)
