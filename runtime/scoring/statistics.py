"""What a table's rows say together, without holding them: distribution, drift, the worst."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from runtime.errors import ModelError
from runtime.extras import require
from runtime.scoring.table import SHARDS

Numbers: TypeAlias = "npt.NDArray[np.float64]"

INTERVALS = 40
_WORST, _ERRORS_SHOWN = 24, 50
# Quantiles are read from bins, of which each is 2.3 % wider than the one before.
SCORE_EDGES: Numbers = np.geomspace(1e-2, 1e2, 401)
_RESIDUAL_EDGES: Numbers = np.geomspace(1e-6, 1e4, 1001)
_COLUMNS = ["id", "verdict", "score", "threshold", "mean_residual", "modified_s", "error", "name"]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """The images of a stretch of time, or of the collection's order.

    Attributes:
        start: Its begin: seconds since 1970, or a number of an image.
        images: How many there are.
        rejected_share: Share of them that is not good.
        score_quantiles: Median, 90 % and 99 % of score by threshold.
        residual: Median of the mean residual.
    """

    start: float
    images: int
    rejected_share: float
    score_quantiles: tuple[float, float, float]
    residual: float


@dataclass
class TableStatistics:
    """What all rows say together.

    Attributes:
        images: How many there are.
        verdicts: How many of each verdict.
        failed: How many could not be inspected.
        errors: Some of those, with why.
        by_score: How many in each bin of score by threshold (`SCORE_EDGES`, and beyond both ends).
        intervals: Stretches with images in them, in order.
        is_by_time: Whether they are of time; else the listing knew no times.
        worst: Numbers of the images with the highest scores by threshold, the highest first.
    """

    images: int = 0
    verdicts: dict[str, int] = field(default_factory=dict)
    failed: int = 0
    errors: list[tuple[str, str]] = field(default_factory=list)
    by_score: npt.NDArray[np.int64] = field(
        default_factory=lambda: np.zeros(len(SCORE_EDGES) + 1, np.int64)
    )
    intervals: list[Interval] = field(default_factory=list)
    is_by_time: bool = False
    worst: list[int] = field(default_factory=list)


def open_rows(folder: Path) -> Any:
    """The rows of a table's shards as a pyarrow dataset.

    Raises:
        ModelError: No shard is done.
    """
    dataset = require("pyarrow.dataset", extra="score")
    paths = [str(path) for path in sorted((folder / SHARDS).glob("shard-*.parquet"))]
    if not paths:
        raise ModelError(f"{folder} holds no scores yet; score it first")
    return dataset.dataset(paths, format="parquet")


def summarize(folder: Path) -> TableStatistics:
    """Look at all rows, twice: for when they are from, and for what they say.

    Raises:
        ModelError: No shard is done.
    """
    rows = open_rows(folder)
    found = TableStatistics()
    place, low, high = _axis(rows)
    found.is_by_time = place == "modified_s"
    by_score = np.zeros((INTERVALS, len(SCORE_EDGES) + 1), np.int64)
    by_residual = np.zeros((INTERVALS, len(_RESIDUAL_EDGES) + 1), np.int64)
    rejected = np.zeros(INTERVALS, np.int64)
    worst: list[tuple[float, int]] = []
    for batch in rows.to_batches(columns=_COLUMNS):
        _count(batch, found)
        numbers = {
            name: batch.column(name).to_numpy(zero_copy_only=False)
            for name in ("id", "score", "threshold", "mean_residual", place)
        }
        is_scored = ~np.isnan(numbers["score"].astype(float))
        if not is_scored.any():
            continue
        ids, score, threshold, residual, at = (
            numbers[name][is_scored]
            for name in ("id", "score", "threshold", "mean_residual", place)
        )
        relative = score / np.maximum(threshold, 1e-12)
        interval = np.clip(((at - low) / (high - low) * INTERVALS).astype(int), 0, INTERVALS - 1)
        np.add.at(by_score, (interval, np.searchsorted(SCORE_EDGES, relative)), 1)
        np.add.at(by_residual, (interval, np.searchsorted(_RESIDUAL_EDGES, residual)), 1)
        verdicts = np.asarray(batch.column("verdict").to_pylist(), object)[is_scored]
        np.add.at(rejected, interval, (verdicts != "good").astype(np.int64))
        highest = np.argsort(relative)[::-1][:_WORST]
        worst += [(float(relative[one]), int(ids[one])) for one in highest]
        worst = sorted(worst, reverse=True)[:_WORST]
    found.by_score = by_score.sum(axis=0)
    found.worst = [number for _, number in worst]
    width = (high - low) / INTERVALS
    for index in range(INTERVALS):
        images = int(by_score[index].sum())
        if images:
            found.intervals.append(
                Interval(
                    start=low + index * width,
                    images=images,
                    rejected_share=int(rejected[index]) / images,
                    score_quantiles=(
                        _quantile(by_score[index], SCORE_EDGES, 0.5),
                        _quantile(by_score[index], SCORE_EDGES, 0.9),
                        _quantile(by_score[index], SCORE_EDGES, 0.99),
                    ),
                    residual=_quantile(by_residual[index], _RESIDUAL_EDGES, 0.5),
                )
            )
    return found


def _axis(rows: Any) -> tuple[str, float, float]:
    """The column that orders the images, its least value and one above its greatest."""
    for name in ("modified_s", "id"):
        low, high, is_whole = np.inf, -np.inf, True
        for batch in rows.to_batches(columns=[name, "error"]):
            is_scored = batch.column("error").is_null().to_numpy(zero_copy_only=False)
            values = batch.column(name).to_numpy(zero_copy_only=False).astype(float)[is_scored]
            if not len(values):
                continue
            is_whole = is_whole and not np.isnan(values).any()
            low, high = min(low, values.min()), max(high, values.max())
        if is_whole and high > low:
            return name, float(low), float(high)
    return "id", 0.0, 1.0


def _count(batch: Any, found: TableStatistics) -> None:
    found.images += batch.num_rows
    for one in batch.column("verdict").value_counts().to_pylist():
        if one["values"] is not None:
            found.verdicts[one["values"]] = found.verdicts.get(one["values"], 0) + one["counts"]
    failed = batch.filter(batch.column("error").is_valid())
    found.failed += failed.num_rows
    room = _ERRORS_SHOWN - len(found.errors)
    for one in failed.slice(0, max(0, room)).select(["name", "error"]).to_pylist():
        found.errors.append((one["name"], one["error"]))


def _quantile(counts: npt.NDArray[np.int64], edges: Numbers, share: float) -> float:
    place = int(np.searchsorted(np.cumsum(counts), share * counts.sum()))
    return float(edges[min(place, len(edges) - 1)])
