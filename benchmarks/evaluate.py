"""Evaluating any way of running a model on a labelled data set, at the original resolution."""

import csv
import io
import time
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from benchmarks.metrics import PixelAuroc, image_auroc
from runtime.atomic_write import atomic_write
from runtime.errors import DatasetError
from runtime.inspect_files import write_jpeg
from runtime.inspection import Inspection, Inspector
from runtime.json_files import write_json
from runtime.overlay import draw_inspection
from train.data.dataset import Dataset, Sample

SCHEMA = "l2bt.metrics/1"


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """The numbers of one evaluation, as `metrics.json` has them.

    Attributes:
        product: The product.
        good_images: Good test images.
        defective_images: Defective test images.
        i_auroc: Image-level AUROC; None where a class is missing.
        p_auroc: Pixel-level AUROC; None where there are no masks.
        p_auroc_error_bound: Proven bound of its error.
        threshold: Image threshold of the product.
        false_alarms: Good images judged defective.
        misses: Defective images judged good.
        engine: What ran the network.
        transport: How the images came to it.
        seconds_per_image: Wall time a image, reading included.
        schema: Version of this file's layout.
    """

    product: str
    good_images: int
    defective_images: int
    i_auroc: float | None
    p_auroc: float | None
    p_auroc_error_bound: float | None
    threshold: float
    false_alarms: int
    misses: int
    engine: str
    transport: str
    seconds_per_image: float
    schema: str = SCHEMA


@dataclass(frozen=True, kw_only=True)
class ImageResult:
    """One row of `images.csv`."""

    name: str
    is_defective: bool
    verdict: str
    score: float
    regions: int

    @property
    def is_right(self) -> bool:
        """Whether the verdict agrees with the label."""
        return (self.verdict == "defective") == self.is_defective


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The numbers over the test set, and what they come from."""

    metrics: Metrics
    images: tuple[ImageResult, ...]


def evaluate(
    inspector: Inspector, dataset: Dataset, out: Path, *, overlays: bool = False
) -> Evaluation:
    """Inspect all test images; write `metrics.json`, `images.csv` and, if asked for, pictures.

    Args:
        inspector: A detector, the reference, or a client.
        dataset: Its test images are used.
        out: Folder for the results.
        overlays: Whether to write a picture of each image to `out/overlays`.

    Raises:
        DatasetError: There are no test images, or a mask is wrong.
    """
    if not dataset.test:
        raise DatasetError(
            f"{dataset.product} has no test images; add test/good/ and test/<defect>/"
        )
    pixel_auroc = PixelAuroc()
    rows: list[ImageResult] = []
    start = time.perf_counter()
    for sample in tqdm(dataset.test, desc="evaluating", unit="image"):
        inspection = inspector.inspect(sample.source(), product=dataset.product)
        rows.append(_row(sample, inspection))
        _add_pixels(pixel_auroc, sample, inspection)
        if overlays:
            _write_overlay(sample, inspection, out / "overlays")
    seconds = time.perf_counter() - start
    labels = [row.is_defective for row in rows]
    wrong = [row.is_defective for row in rows if not row.is_right]
    pixels = pixel_auroc.result()
    metrics = Metrics(
        product=dataset.product,
        good_images=labels.count(False),
        defective_images=labels.count(True),
        i_auroc=image_auroc([row.score for row in rows], labels),
        p_auroc=pixels.value if pixels else None,
        p_auroc_error_bound=pixels.error_bound if pixels else None,
        threshold=inspection.threshold,
        false_alarms=wrong.count(False),
        misses=wrong.count(True),
        engine=inspection.engine,
        transport=inspection.transport,
        seconds_per_image=seconds / len(rows),
    )
    write_json(out / "metrics.json", metrics)
    _write_rows(rows, out / "images.csv")
    return Evaluation(metrics=metrics, images=tuple(rows))


def metrics_table(metrics: Metrics) -> str:
    """The metrics as a Markdown table."""
    cells = {
        "product": metrics.product,
        "I-AUROC": _number(metrics.i_auroc),
        "P-AUROC": _number(metrics.p_auroc),
        "false alarms": f"{metrics.false_alarms} of {metrics.good_images}",
        "misses": f"{metrics.misses} of {metrics.defective_images}",
        "s/image": f"{metrics.seconds_per_image:.2f}",
        "engine": metrics.engine,
        "transport": metrics.transport,
    }
    head = "| " + " | ".join(cells) + " |"
    line = "|" + " --- |" * len(cells)
    return "\n".join([head, line, "| " + " | ".join(cells.values()) + " |"])


def _row(sample: Sample, inspection: Inspection) -> ImageResult:
    return ImageResult(
        name=sample.name,
        is_defective=sample.is_defective,
        verdict=inspection.verdict,
        score=inspection.score,
        regions=len(inspection.regions),
    )


def _add_pixels(pixel_auroc: PixelAuroc, sample: Sample, inspection: Inspection) -> None:
    assert inspection.anomaly_map is not None, "evaluation asks for the map"
    mask = sample.mask(*inspection.anomaly_map.shape)
    if mask is None:
        return
    try:
        pixel_auroc.add(inspection.anomaly_map, mask)
    except ValueError as error:
        raise DatasetError(f"{sample.name}: {error}") from error


def _write_overlay(sample: Sample, inspection: Inspection, folder: Path) -> None:
    picture = draw_inspection(sample.pixels(), inspection, title=sample.name)
    stem = Path(sample.name).with_suffix("").as_posix().replace("/", "_")
    write_jpeg(folder / f"{stem}.jpg", picture)


def _write_rows(rows: list[ImageResult], path: Path) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(ImageResult.__dataclass_fields__))
    writer.writeheader()
    writer.writerows(vars(row) for row in rows)
    atomic_write(path, text.getvalue())


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
