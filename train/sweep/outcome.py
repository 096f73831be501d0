"""A sweep's outcome: a table for people, one for programs, and a picture."""

import csv
import io
from pathlib import Path
from typing import Any

from runtime.extras import require
from runtime.storage.atomic_write import atomic_write
from train.sweep.sweep import TriedVariant, best_of

_WORDS = (
    "Chosen by held-out good images and known defects alone: the variant that finds the most known "
    "defects at its own threshold, then the one whose scores order them best, then the one with "
    "the smaller network. The test set was not looked at."
)


def write_outcome(out: Path, tried: list[TriedVariant]) -> Path:
    """Write `sweep.md`, `sweep.csv` and `sweep.svg`; returns the first's path."""
    atomic_write(out / "sweep.csv", _csv(tried))
    atomic_write(out / "sweep.md", to_markdown(tried))
    atomic_write(out / "sweep.svg", _picture(tried))
    return out / "sweep.md"


def to_markdown(tried: list[TriedVariant]) -> str:
    """The outcome for people."""
    best = best_of(tried)
    lines = [
        "| product | variant | known defects found | their I-AUROC | network, MP | s | |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for one in tried:
        found = one.judgement
        told = "**best**" if best[one.product] == one else one.error.replace("\n", " ")
        cells = [one.product, one.variant, "-", "-", "-", "-", told]
        if found is not None:
            cells[2:6] = [
                f"{found.found} of {found.defects}",
                "-" if found.auroc is None else f"{found.auroc:.4f}",
                f"{found.network_megapixels:.2f}",
                "-" if one.seconds is None else f"{one.seconds:.0f}",
            ]
        lines.append(f"| {' | '.join(cells)} |")
    said = [
        f"{product}: {f'`{one.bundle}`' if one is not None else 'no known defect tells'}"
        for product, one in best.items()
    ]
    text = "\n".join(f"* {line}" for line in said)
    return "\n".join(lines) + f"\n\n{text}\n\n{_WORDS}\n"


def _csv(tried: list[TriedVariant]) -> str:
    file = io.StringIO()
    names = ("good_images", "defects", "found", "auroc", "network_megapixels")
    best = best_of(tried)
    writer = csv.writer(file)
    writer.writerow(["product", "variant", "bundle", "seconds", *names, "is_best", "error"])
    for one in tried:
        values = [getattr(one.judgement, name, None) for name in names]
        is_best = best[one.product] == one
        writer.writerow(
            [one.product, one.variant, one.bundle, one.seconds, *values, is_best, one.error]
        )
    return file.getvalue()


def _picture(tried: list[TriedVariant]) -> bytes:
    matplotlib: Any = require("matplotlib", extra="train")
    matplotlib.use("Agg")
    pyplot: Any = require("matplotlib.pyplot", extra="train")
    figure, axes = pyplot.subplots(figsize=(7, 4.5))
    best = best_of(tried)
    for product in best:
        told = [
            one
            for one in tried
            if one.product == product and one.judgement is not None and one.judgement.auroc
        ]
        costs = [one.judgement.network_megapixels for one in told if one.judgement]
        values = [one.judgement.auroc for one in told if one.judgement]
        drawn = axes.scatter(costs, values, label=product, alpha=0.7)
        chosen = best[product]
        if chosen is not None and chosen.judgement is not None:
            at = (chosen.judgement.network_megapixels, chosen.judgement.auroc)
            axes.scatter(*at, s=140, facecolors="none", edgecolors=drawn.get_facecolor()[0])
            axes.annotate(chosen.variant, at, textcoords="offset points", xytext=(8, -12), size=8)
    axes.set_xlabel("network's input an image, megapixels")
    axes.set_ylabel("I-AUROC of known defects against held-out good images")
    axes.legend(loc="lower right")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", bbox_inches="tight", metadata={"Date": None})
    pyplot.close(figure)
    return buffer.getvalue()
