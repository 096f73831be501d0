"""The training benchmark in tables and a picture."""

from typing import TYPE_CHECKING, Any

from benchmarks.learning.quality import Curve
from benchmarks.learning.results import TrainingResult
from benchmarks.machine.result_files import table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def to_markdown(result: TrainingResult) -> str:
    """The measurements as tables and sentences."""
    times, recipe = result.times, result.recipe
    sections = [
        f"{result.product}: {result.good_images} good images, {result.test_images} test images; "
        f"{result.teacher} in {result.teacher_precision}, padded square of {result.image_size} px. "
        f"{result.machine}; load before it {result.conditions.load_average:.1f}.",
        f"The teacher's pass over all good images took {result.teacher_pass_s:.0f} s: "
        f"{times.teacher_pass.p50_ms:.0f} ms an image, of which {times.reading.p50_ms:.0f} ms are "
        f"reading. An update of {times.default_patches} patches from the cache takes "
        f"{times.default.p50_ms:.1f} ms.",
        _pairs(result),
        _time_to(result),
        "Ratios: median of the turns, and their quartiles. Updates of both ways took turns in one "
        "run; the times to a number of updates are computed from them.",
        _curves(result),
        f"Quickest within {recipe.tolerance:g} of the highest I-AUROC "
        f"({recipe.best_image_auroc:.4f} after {recipe.best_steps:,} updates and "
        f"{recipe.best_seconds:.0f} s): **{recipe.steps:,} updates at a learning rate of "
        f"{recipe.lr:g}**, {recipe.image_auroc:.4f} in {recipe.seconds:.0f} s. Chosen on the test "
        "images, so read it as how long learning pays, not as a result.",
    ]
    return "\n\n".join(section.strip() for section in sections) + "\n"


def _pairs(result: TrainingResult) -> str:
    rows = [
        [
            f"{pair.images}",
            f"{pair.patches:,}",
            f"{pair.cached.p50_ms:.1f} ms",
            f"{pair.uncached.p50_ms:,.0f} ms",
            str(pair.ratio),
            "-" if pair.break_even_updates is None else f"{pair.break_even_updates:,.0f}",
        ]
        for pair in result.times.pairs
    ]
    head = ["images an update", "patches", "from the cache", "through the teacher", "ratio"]
    return table([*head, "the cache pays from update"], rows)


def _time_to(result: TrainingResult) -> str:
    rows = [
        [
            f"{one.images}",
            f"{one.updates:,}",
            _duration(one.cached_s),
            _duration(one.uncached_s),
            str(one.ratio),
        ]
        for one in result.times.time_to
    ]
    return table(
        ["images an update", "updates", "with the cache", "through the teacher", "ratio"], rows
    )


def _curves(result: TrainingResult) -> str:
    rows = [
        [
            f"{curve.lr:g}",
            f"{point.steps:,}",
            f"{point.update_s:.0f} s",
            f"{point.seconds:.0f} s",
            f"{point.quality.image_auroc:.4f}",
            _number(point.quality.pixel_auroc),
            _number(point.quality.aupro_30),
        ]
        for curve in result.curves
        for point in curve.checkpoints
    ]
    head = ["learning rate", f"updates of {result.batch_patches:,} patches", "for them"]
    return table([*head, "with the teacher's pass", "I-AUROC", "P-AUROC", "AU-PRO 30 %"], rows)


def draw(result: TrainingResult) -> "Figure":
    """I-AUROC and AU-PRO against seconds, by both ways."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5), layout="constrained")
    axes: Any = figure.subplots(2, sharex=True)
    for number, curve in enumerate(result.curves):
        cached = [point.seconds for point in curve.checkpoints]
        for axis, name in zip(axes, ("image_auroc", "aupro_30"), strict=True):
            values = _values(curve, name)
            ours = {"color": f"C{number}", "marker": "o"}
            axis.plot(cached, values, label=f"with the cache, lr {curve.lr:g}", **ours)
            axis.plot(
                uncached_seconds(result, curve),
                values,
                color=f"C{number}",
                marker="x",
                linestyle=":",
                label=f"through the teacher, lr {curve.lr:g}",
            )
    axes[0].set(ylabel="I-AUROC", xscale="log")
    axes[1].set(ylabel="AU-PRO 30 %", xlabel="seconds")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    figure.suptitle(
        "Dotted: time computed for as many patches in whole images, quality as with the cache",
        fontsize=8,
    )
    return figure


def uncached_seconds(result: TrainingResult, curve: Curve) -> list[float]:
    """What a curve's checkpoints would take without the cache: as many patches, image by image."""
    pair = result.times.pairs[0]
    seconds_a_patch = pair.uncached.p50_ms / 1e3 / pair.patches
    return [point.steps * result.batch_patches * seconds_a_patch for point in curve.checkpoints]


def _values(curve: Curve, name: str) -> list[float]:
    found = [getattr(point.quality, name) for point in curve.checkpoints]
    return [float("nan") if value is None else value for value in found]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
