"""The numbers of an evaluation as files: JSON, CSV with the paper's column names, Markdown."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from statistics import fmean
from typing import Any

from benchmarks.evaluation.metrics.components import Component
from benchmarks.evaluation.metrics.image_metrics import ImageMetrics
from benchmarks.evaluation.metrics.pixel_metrics import PixelMetrics
from benchmarks.evaluation.protocol import PROTOCOLS
from benchmarks.machine.result_files import table
from runtime.errors import OptionError
from runtime.products.card import TeacherCard
from runtime.storage.json_files import require_schema

SCHEMA = "l2bt.metrics/2"
METRICS_NAME = "metrics.json"
LIMITS_SHOWN = ("30%", "10%", "5%", "1%")


@dataclass(frozen=True, kw_only=True)
class Decisions:
    """What the product's thresholds made of the test set.

    Attributes:
        image_threshold: Images that score higher are judged defective.
        pixel_threshold: Pixels above it form regions.
        method: How the thresholds were found, in words.
        false_alarm_rate: Highest share of good images that may be judged defective; None if none
            is guaranteed.
        region_false_alarm_rate: Highest share of good images that may have a region.
        false_alarms: Good images judged defective.
        misses: Defective images judged good.
        good_images_with_region: Good images with a region.
        components_found: Defects with at least one pixel in a region.
        review_threshold: Images that score higher, and are not defective, are for review; None
            where nothing is.
        good_for_review: Good images for review.
        defective_for_review: Defective images for review; they are among the misses.
    """

    image_threshold: float
    pixel_threshold: float
    method: str
    false_alarm_rate: float | None
    region_false_alarm_rate: float | None
    false_alarms: int
    misses: int
    good_images_with_region: int
    components_found: int
    review_threshold: float | None = None
    good_for_review: int = 0
    defective_for_review: int = 0

    @property
    def review(self) -> str:
        """What is for review, as a sentence; empty where nothing is asked to be."""
        if self.review_threshold is None:
            return ""
        return (
            f"Above {self.review_threshold:.6g} images are for review: {self.good_for_review} good "
            f"ones, and {self.defective_for_review} of the {self.misses} defective ones that are "
            "not rejected"
        )


@dataclass(frozen=True, kw_only=True)
class RunDescription:
    """What ran the model.

    Attributes:
        engine: Library, device and precision.
        transport: How the images came to it.
        teacher: The frozen network.
        image_size: Longer side of what the network sees, in px.
        geometry: How images were brought to the network, in words.
        seconds_per_image: Wall time an image, reading and metrics included.
        machine: Processor, cores and system of the evaluating machine.
        versions: Versions of the libraries on the evaluating machine.
        date: When, in UTC.
    """

    engine: str
    transport: str
    teacher: TeacherCard
    image_size: int
    geometry: str
    seconds_per_image: float
    machine: str
    versions: dict[str, str]
    date: str


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """The numbers of one evaluation, as `metrics.json` has them.

    Attributes:
        schema: Version of this file's layout.
        product: The product.
        layout: The data set's layout.
        protocol: "exact" or "paper": which AU-PRO the tables show. Both are in `pixel`.
        good_images: Good test images.
        defective_images: Defective test images.
        without_mask: Defective images without a mask, which the pixel metrics leave out.
        components: Connected defects in the masks.
        image: Image metrics; None where a class is missing.
        pixel: Pixel metrics; None where there are no masks.
        decisions: What the thresholds made of it.
        run: What ran it.
        undefined: Why a number is missing, by its name.
        warnings: What a reader must know before believing the numbers.
        failed: Test images that are in no number, and why, by name.
        masks: How masks were read, and how much of the images they mark, as a sentence.
    """

    schema: str = SCHEMA
    product: str
    layout: str
    protocol: str
    good_images: int
    defective_images: int
    without_mask: int
    components: int
    image: ImageMetrics | None
    pixel: PixelMetrics | None
    decisions: Decisions
    run: RunDescription
    undefined: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    failed: dict[str, str] = field(default_factory=dict)
    masks: str = ""

    def __post_init__(self) -> None:
        require_schema(self.schema, SCHEMA)
        check_protocol(self.protocol)

    @property
    def columns(self) -> dict[str, float | None]:
        """The numbers under the column names of the paper's tables, then the others."""
        pixel, image = self.pixel, self.image
        aupro: Mapping[str, float] = pixel.overlap.aupro[self.protocol] if pixel else {}
        return {
            "I-AUROC": image.auroc if image else None,
            "P-AUROC": pixel.auroc if pixel else None,
            **{f"AUPRO@{limit}": aupro.get(limit) for limit in LIMITS_SHOWN},
            "AUPIMO": pixel.aupimo if pixel else None,
            "I-AP": image.average_precision if image else None,
            "P-AP": pixel.average_precision if pixel else None,
            "I-F1": image.best_f1 if image else None,
            "P-F1": pixel.best_f1 if pixel else None,
        }


@dataclass(frozen=True, kw_only=True)
class ImageResult:
    """One row of `images.csv`.

    Attributes:
        name: The image's name.
        is_defective: Its label.
        verdict: "good", "review" or "defective".
        score: Its anomaly score.
        regions: Regions above the pixel threshold.
        components: Defects in its mask; None without a mask.
        components_found: Those with a pixel in a region.
        aupimo: Its own AUPIMO; None for good images, and where it is undefined.
    """

    name: str
    is_defective: bool
    verdict: str
    score: float
    regions: int
    components: int | None
    components_found: int | None
    aupimo: float | None = None

    @property
    def is_right(self) -> bool:
        """Whether the verdict agrees with the label; what is for review is not rejected."""
        return (self.verdict == "defective") == self.is_defective


def check_protocol(protocol: str) -> None:
    """Refuse an unknown protocol.

    Raises:
        OptionError: It is neither "exact" nor "paper".
    """
    if protocol not in PROTOCOLS:
        raise OptionError(f"protocol {protocol!r}; expected one of {', '.join(PROTOCOLS)}")


def mean_columns(every: Sequence[Metrics]) -> dict[str, float | None]:
    """The mean of each column over the products that have it."""
    found: dict[str, float | None] = {}
    for name in every[0].columns:
        values = [value for metrics in every if (value := metrics.columns[name]) is not None]
        found[name] = fmean(values) if values else None
    return found


def csv_of_products(every: Sequence[Metrics]) -> str:
    """One row a product, and the mean where there are several."""
    rows = [_csv_row(metrics) for metrics in every]
    if len(every) > 1:
        rows.append({"product": "mean", "protocol": every[0].protocol, **mean_columns(every)})
    return _to_csv(rows, columns=list(rows[0]))


def csv_of_rows(rows: Sequence[ImageResult] | Sequence[Component], kind: type) -> str:
    """Dataclasses of one kind as CSV, one row each."""
    return _to_csv([vars(row) for row in rows], columns=[one.name for one in fields(kind)])


def markdown_table(every: Sequence[Metrics]) -> str:
    """The metrics as a Markdown table, with a mean row where there are several products."""
    rows = [
        {
            "product": metrics.product,
            **{name: _number(value) for name, value in metrics.columns.items()},
            "false alarms": f"{metrics.decisions.false_alarms} of {metrics.good_images}",
            "misses": f"{metrics.decisions.misses} of {metrics.defective_images}",
            "s/image": f"{metrics.run.seconds_per_image:.2f}",
        }
        for metrics in every
    ]
    if len(every) > 1:
        means = {name: _number(value) for name, value in mean_columns(every).items()}
        rows.append({"product": "**mean**", **means})
    return _markdown(rows)


def size_table(pixel: PixelMetrics, protocol: str) -> str:
    """AU-PRO by the size of the defects, as a Markdown table."""
    overlap = pixel.overlap
    rows = []
    for kind, bins in (("up to", overlap.cumulative), ("only", overlap.disjoint)):
        for one in bins:
            aupro = one.aupro[protocol] if one.aupro else {}
            sizes = "-" if one.smallest_px is None else f"{one.smallest_px} to {one.largest_px}"
            rows.append(
                {
                    "sizes": f"{kind} {one.name}",
                    "px": sizes,
                    "components": str(one.components),
                    **{f"AUPRO@{limit}": _number(aupro.get(limit)) for limit in LIMITS_SHOWN},
                }
            )
    return _markdown(rows)


def markdown_page(metrics: Metrics) -> str:
    """`metrics.md`: the numbers of one product for people."""
    run, decisions = metrics.run, metrics.decisions
    parts = [f"# {metrics.product}", markdown_table([metrics])]
    if metrics.pixel:
        parts += [
            "AU-PRO by protocol: exact is the area over every threshold; paper takes the authors' "
            "99 thresholds, of which one lies below a false-positive rate of 1 %.",
            _protocol_table(metrics.pixel),
            "AU-PRO by the size of the defects:",
            size_table(metrics.pixel, metrics.protocol),
        ]
    parts += [
        f"Thresholds: image {decisions.image_threshold:.6g}, pixel "
        f"{decisions.pixel_threshold:.6g}; {decisions.method}.",
        *([f"{decisions.review}."] if decisions.review else []),
        f"Run by {run.engine}, {run.transport}; teacher {run.teacher.name}, blocks "
        f"{run.teacher.layers[0]} and {run.teacher.layers[1]}; {run.geometry}; "
        f"{run.machine}; {run.date}.",
        *([metrics.masks] if metrics.masks else []),
        *(f"{name} is undefined: {reason}." for name, reason in metrics.undefined.items()),
        *(f"Warning: {warning}." for warning in metrics.warnings),
    ]
    return "\n\n".join(parts) + "\n"


def _protocol_table(pixel: PixelMetrics) -> str:
    return _markdown(
        [
            {
                "protocol": protocol,
                **{
                    f"AUPRO@{limit}": _number(pixel.overlap.aupro[protocol][limit])
                    for limit in LIMITS_SHOWN
                },
            }
            for protocol in PROTOCOLS
        ]
    )


def _csv_row(metrics: Metrics) -> dict[str, Any]:
    decisions, run = metrics.decisions, metrics.run
    return {
        "product": metrics.product,
        "protocol": metrics.protocol,
        **metrics.columns,
        "good_images": metrics.good_images,
        "defective_images": metrics.defective_images,
        "components": metrics.components,
        "false_alarms": decisions.false_alarms,
        "misses": decisions.misses,
        "image_threshold": decisions.image_threshold,
        "pixel_threshold": decisions.pixel_threshold,
        "teacher": run.teacher.name,
        "image_size": run.image_size,
        "geometry": run.geometry,
        "engine": run.engine,
        "transport": run.transport,
        "seconds_per_image": run.seconds_per_image,
    }


def _to_csv(rows: Sequence[Mapping[str, Any]], *, columns: Sequence[str]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=columns, restval="")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _markdown(rows: Sequence[Mapping[str, str]]) -> str:
    columns = list(rows[0])
    return table(columns, [[row.get(name, "") for name in columns] for row in rows]).rstrip()


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
