"""The report's page: one HTML file with everything in it, for a browser without a network."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.evaluation.metrics.components import Component
from benchmarks.evaluation.metrics.pixel_metrics import OverlapCurve
from benchmarks.evaluation.metrics.results import LIMITS_SHOWN, ImageResult, Metrics, mean_columns
from benchmarks.evaluation.protocol import PROTOCOLS
from benchmarks.evaluation.report.figures import (
    Figure,
    image_roc,
    overlap_curve,
    recall_by_size,
    score_histogram,
)
from benchmarks.evaluation.report.near_misses import NearMisses, near_misses
from benchmarks.evaluation.report.pictures import GALLERY_LIMIT, WORST_CASES, PictureBook
from benchmarks.evaluation.report.published import published_for
from runtime.extras import require

_TEMPLATES = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class ReportContent:
    """What the report of one product is made of.

    Attributes:
        metrics: The numbers.
        images: One row an image.
        components: The defects.
        curve: The PRO curve; None where there are no masks.
        book: The pictures.
    """

    metrics: Metrics
    images: Sequence[ImageResult]
    components: Sequence[Component]
    curve: OverlapCurve | None
    book: PictureBook


@dataclass(frozen=True, kw_only=True)
class FalseAlarms:
    """Wished and observed false alarms on the test set's good images.

    Attributes:
        what: "judged defective" or "with a region".
        wished: The highest share that the threshold allows; None if none is wished.
        observed: Good images that it happened to.
        of: Good images.
        low: Lower end of the 95 % interval of the true share (Clopper-Pearson).
        high: Upper end.
    """

    what: str
    wished: float | None
    observed: int
    of: int
    low: float
    high: float

    @property
    def agrees(self) -> bool:
        """Whether what was observed is no evidence against what is wished."""
        return self.wished is None or self.low <= self.wished


def render_report(content: ReportContent) -> str:
    """The report of one product as HTML."""
    metrics, book = content.metrics, content.book
    return _render(
        "report.html.jinja",
        metrics=metrics,
        columns=metrics.columns,
        published=published_for({metrics.product}, metrics.layout),
        false_alarms=_false_alarms(metrics),
        figures=_figures(content),
        limits=LIMITS_SHOWN,
        protocols=PROTOCOLS,
        misses=book.misses,
        false_alarm_cases=book.false_alarms,
        worst_cases=WORST_CASES,
        near_misses=_near_misses(content, defective=True),
        near_false_alarms=_near_misses(content, defective=False),
        thumbnails=book.thumbnails,
        left_out=book.left_out,
        gallery_limit=GALLERY_LIMIT,
    )


def render_summary(every: Sequence[Metrics], failures: dict[str, str]) -> str:
    """The page above the reports of several products."""
    layouts = {metrics.layout for metrics in every}
    return _render(
        "summary.html.jinja",
        every=every,
        failures=failures,
        means=mean_columns(every),
        published=published_for({m.product for m in every}, layouts.pop())
        if len(layouts) == 1
        else (),
    )


def _near_misses(content: ReportContent, *, defective: bool) -> NearMisses:
    return near_misses(
        content.images,
        content.book.thumbnails,
        content.book.traits,
        content.metrics.decisions.image_threshold,
        defective=defective,
    )


def _figures(content: ReportContent) -> list[Figure]:
    metrics = content.metrics
    threshold = metrics.decisions.image_threshold
    figures = [score_histogram(content.images, threshold)]
    if metrics.image is not None:
        figures.append(image_roc(content.images, threshold, metrics.image.auroc))
    if metrics.pixel is not None and content.curve is not None:
        figures.append(overlap_curve(content.curve, metrics.pixel.overlap.aupro["exact"]))
        figures.append(recall_by_size(content.components, metrics.decisions.pixel_threshold))
    return figures


def _false_alarms(metrics: Metrics) -> list[FalseAlarms]:
    if not metrics.good_images:
        return []
    stats: Any = require("scipy.stats")
    decisions = metrics.decisions
    found = []
    for what, wished, observed in (
        ("judged defective", decisions.false_alarm_rate, decisions.false_alarms),
        ("with a region", decisions.region_false_alarm_rate, decisions.good_images_with_region),
    ):
        interval = stats.binomtest(observed, metrics.good_images).proportion_ci(method="exact")
        found.append(
            FalseAlarms(
                what=what,
                wished=wished,
                observed=observed,
                of=metrics.good_images,
                low=float(interval.low),
                high=float(interval.high),
            )
        )
    return found


def _render(template: str, **content: Any) -> str:
    jinja2: Any = require("jinja2")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = _data_uri
    environment.filters["number"] = lambda value: "-" if value is None else f"{value:.4f}"
    environment.filters["percent"] = lambda value: f"{value:.1%}"
    return str(environment.get_template(template).render(**content))


def _data_uri(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
