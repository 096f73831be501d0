"""The report's figures, as SVG that stands inside the page."""

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.evaluation.metrics.components import Component
from benchmarks.evaluation.metrics.pixel_metrics import OverlapCurve
from benchmarks.evaluation.metrics.pro import LIMITS
from benchmarks.evaluation.metrics.results import ImageResult
from runtime.extras import require

_GOOD, _DEFECTIVE, _INK, _QUIET = "#1f7a4d", "#b22222", "#1c2733", "#8a97a5"
_SIZE_INCHES = (5.6, 3.7)
_STYLE = {
    # Text stays text, in the page's own font: small, sharp and searchable.
    "svg.fonttype": "none",
    "svg.hashsalt": "l2bt",
    "font.family": "sans-serif",
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _QUIET,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "legend.frameon": False,
}


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A drawing with what it shows.

    Attributes:
        title: What it is.
        text: How to read it.
        svg: The drawing.
    """

    title: str
    text: str
    svg: str


def score_histogram(images: Sequence[ImageResult], threshold: float) -> Figure:
    """Scores of good and defective images, and the threshold."""
    good = [image.score for image in images if not image.is_defective]
    defective = [image.score for image in images if image.is_defective]
    edges = np.linspace(*_span([*good, *defective, threshold]), 41)

    def draw(axes: Any) -> None:
        axes.hist(good, edges, color=_GOOD, alpha=0.7, label=f"good ({len(good)})")
        axes.hist(
            defective, edges, color=_DEFECTIVE, alpha=0.6, label=f"defective ({len(defective)})"
        )
        axes.axvline(threshold, color=_INK, linestyle="--", label=f"threshold {threshold:.4g}")
        axes.set_xlabel("image score")
        axes.set_ylabel("images")
        axes.legend()

    return Figure(
        title="Scores of good and defective images",
        text="Right of the dashed line an image is judged defective.",
        svg=_draw(draw),
    )


def image_roc(images: Sequence[ImageResult], threshold: float, auroc: float) -> Figure:
    """The ROC curve over images, with the working point that the threshold gives."""
    metrics: Any = require("sklearn.metrics")
    labels = np.array([image.is_defective for image in images])
    scores = np.array([image.score for image in images])
    false_rate, hit_rate, _ = metrics.roc_curve(labels, scores, drop_intermediate=False)
    above = scores > threshold

    def draw(axes: Any) -> None:
        axes.plot(false_rate, hit_rate, color=_INK, label=f"I-AUROC {auroc:.4f}")
        axes.plot([0, 1], [0, 1], color=_QUIET, linewidth=0.8, linestyle=":")
        point = (above[~labels].mean(), above[labels].mean())
        axes.plot(*point, "o", color=_DEFECTIVE, clip_on=False, label="at the threshold")
        axes.set_xlabel("good images judged defective")
        axes.set_ylabel("defective images found")
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.02)
        axes.legend(loc="lower right")

    return Figure(
        title="ROC curve over images",
        text="Every threshold's false alarms against what it finds; the dot is today's threshold.",
        svg=_draw(draw),
    )


def overlap_curve(curve: OverlapCurve, aupro: dict[str, float]) -> Figure:
    """The PRO curve with the limits of AU-PRO marked."""

    def draw(axes: Any) -> None:
        axes.plot(curve.false_positive_rate, curve.overlap, color=_INK)
        for limit in LIMITS:
            label = f"{limit:.0%}"
            axes.axvline(limit, color=_QUIET, linewidth=0.9, linestyle="--")
            axes.annotate(
                f"{label}: {aupro[label]:.3f}",
                (limit, 0.03),
                rotation=90,
                ha="right",
                va="bottom",
                color=_INK,
                fontsize=10,
            )
        axes.set_xscale("log")
        axes.set_xlim(1e-5, 1)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("false-positive rate over good pixels (logarithmic)")
        axes.set_ylabel("mean overlap with a defect")

    return Figure(
        title="PRO curve over pixels",
        text="How much of a defect is covered, on average, at each share of wrongly marked good "
        "pixels. The numbers are AU-PRO up to each limit.",
        svg=_draw(draw),
    )


def recall_by_size(components: Sequence[Component], pixel_threshold: float) -> Figure:
    """Share of defects found at the pixel threshold, by their size, with 95 % intervals."""
    stats: Any = require("scipy.stats")
    sizes = np.array([component.size_px for component in components])
    found = np.array([component.peak > pixel_threshold for component in components])
    # Each bin spans a factor of four in area, so of two in length.
    number = np.floor(np.log2(sizes) / 2).astype(int)
    bins = np.unique(number)
    centres, recalls, low, high, counts = [], [], [], [], []
    for one in bins:
        of_bin = found[number == one]
        hits, count = int(of_bin.sum()), int(of_bin.size)
        interval = stats.binomtest(hits, count).proportion_ci(method="wilson")
        centres.append(2.0 ** (2 * one + 1))
        recalls.append(hits / count)
        low.append(max(0.0, hits / count - interval.low))
        high.append(max(0.0, interval.high - hits / count))
        counts.append(count)

    def draw(axes: Any) -> None:
        axes.errorbar(centres, recalls, yerr=[low, high], fmt="o", color=_INK, capsize=4)
        for centre, count in zip(centres, counts, strict=True):
            axes.annotate(f"{count}", (centre, 1.04), ha="center", color=_QUIET, fontsize=9)
        axes.set_xscale("log", base=4)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.set_xlim(4.0 ** bins.min() / 1.3, 4.0 ** (bins.max() + 1) * 1.3)
        axes.set_ylim(0, 1.12)
        axes.set_xlabel("size of the defect in px (area)")
        axes.set_ylabel("share found")

    return Figure(
        title="Defects found, by size",
        text="A defect is found if a region touches it. Bars are 95 % Wilson intervals; the small "
        "numbers are defects in each bin of sizes.",
        svg=_draw(draw),
    )


def _draw(draw: Callable[[Any], None]) -> str:
    matplotlib: Any = require("matplotlib", extra="evaluate")
    figure_module: Any = require("matplotlib.figure", extra="evaluate")
    buffer = io.StringIO()
    with matplotlib.rc_context(_STYLE):
        # Without pyplot there is no window system, and nothing that outlives the drawing.
        figure = figure_module.Figure(figsize=_SIZE_INCHES, layout="constrained")
        draw(figure.subplots())
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    return _for_a_page(buffer.getvalue())


def _for_a_page(svg: str) -> str:
    """Without the XML head and fixed size; the width is that of the page's column."""
    start = svg.index("<svg")
    return re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r"\1", svg[start:], count=1)


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)
