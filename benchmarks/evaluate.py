"""Evaluating any way of running a model on a labelled data set, at the original resolution."""

import csv
import io
import time
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from benchmarks.metrics import PixelAuroc, image_auroc
from runtime.atomic_write import atomic_write
from runtime.errors import DatasetError, OptionError
from runtime.inspect_files import write_jpeg
from runtime.inspection import Inspection, Inspector
from runtime.json_files import write_json
from runtime.overlay import draw_inspection
from train.data.dataset import Dataset, Sample

SCHEMA = "l2bt.metrics/1"
METRICS_NAME = "metrics.json"


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
        without_mask: Defective images without a mask, which `p_auroc` leaves out.
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
    without_mask: int
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
    inspector: Inspector,
    dataset: Dataset,
    out: Path,
    *,
    product: str | None = None,
    overlays: bool = False,
    overwrite: bool = False,
) -> Evaluation:
    """Inspect all test images; write `metrics.json`, `images.csv` and, if asked for, pictures.

    Args:
        inspector: A detector, the reference, or a client.
        dataset: Its test images are used.
        out: Folder for the results.
        product: What the inspector must hold; whatever it holds if left out.
        overlays: Whether to write a picture of each image to `out/overlays`.
        overwrite: Whether older results in `out` may be replaced.

    Raises:
        OptionError: `out` holds results and `overwrite` is false.
        UnknownProductError: The inspector does not hold `product`.
        DatasetError: There are no test images, or a mask is wrong.
    """
    if not dataset.test:
        raise DatasetError(
            f"{dataset.product} has no test images; add test/good/ and test/<defect>/"
        )
    if (out / METRICS_NAME).exists() and not overwrite:
        raise OptionError(f"{out} holds results already; name another --out, or pass --overwrite")
    pixel_auroc = PixelAuroc()
    rows: list[ImageResult] = []
    without_mask = 0
    start = time.perf_counter()
    for sample in tqdm(dataset.test, desc="evaluating", unit="image"):
        inspection = inspector.inspect(sample.source(), product=product)
        rows.append(_row(sample, inspection))
        without_mask += not _add_pixels(pixel_auroc, sample, inspection)
        if overlays:
            _write_overlay(sample, inspection, out / "overlays")
    seconds = time.perf_counter() - start
    labels = [row.is_defective for row in rows]
    wrong = [row.is_defective for row in rows if not row.is_right]
    pixels = pixel_auroc.result()
    metrics = Metrics(
        product=inspection.product,
        good_images=labels.count(False),
        defective_images=labels.count(True),
        i_auroc=image_auroc([row.score for row in rows], labels),
        p_auroc=pixels.value if pixels else None,
        p_auroc_error_bound=pixels.error_bound if pixels else None,
        without_mask=without_mask,
        threshold=inspection.threshold,
        false_alarms=wrong.count(False),
        misses=wrong.count(True),
        engine=inspection.engine,
        transport=inspection.transport,
        seconds_per_image=seconds / len(rows),
    )
    write_json(out / METRICS_NAME, metrics)
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
    table = "\n".join([head, line, "| " + " | ".join(cells.values()) + " |"])
    if metrics.without_mask:
        table += (
            f"\n\n{metrics.without_mask} defective images have no mask; P-AUROC is without them."
        )
    return table


def _row(sample: Sample, inspection: Inspection) -> ImageResult:
    return ImageResult(
        name=sample.name,
        is_defective=sample.is_defective,
        verdict=inspection.verdict,
        score=inspection.score,
        regions=len(inspection.regions),
    )


def _add_pixels(pixel_auroc: PixelAuroc, sample: Sample, inspection: Inspection) -> bool:
    """Count the image's pixels; False if it has no mask to count them by."""
    assert inspection.anomaly_map is not None, "evaluation asks for the map"
    mask = sample.mask(*inspection.anomaly_map.shape)
    if mask is None:
        return False
    try:
        pixel_auroc.add(inspection.anomaly_map, mask)
    except ValueError as error:
        raise DatasetError(f"{sample.name}: {error}") from error
    return True


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
