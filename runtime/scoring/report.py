"""A table's report: one HTML file with everything in it, for a browser without a network."""

import base64
import io
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from runtime.errors import BadImageError, L2BTError
from runtime.extras import require
from runtime.images.decode import ImageArray, load_image
from runtime.scoring.collection import Collection, open_collection
from runtime.scoring.statistics import SCORE_EDGES, TableStatistics, open_rows, summarize
from runtime.scoring.table import ScoreTable
from runtime.storage.atomic_write import atomic_write

REPORT_NAME = "report.html"
_PICTURE_WIDTH_PX = 480
_FRAME_RGB = (230, 60, 40)
_JPEG_QUALITY = 85
_STYLE = {
    "svg.fonttype": "none",
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}
_BLUE, _AMBER, _RED = "#1c6fb0", "#b26a00", "#b22222"


@dataclass(frozen=True, kw_only=True)
class WorstImage:
    """One of the images with the highest scores.

    Attributes:
        row: Its row of the table.
        picture: A JPEG as a data address; empty where the image cannot be had any more.
        missing: Why that is.
    """

    row: dict[str, Any]
    picture: str
    missing: str = ""


def write_report(folder: Path) -> Path:
    """Write the report of a table into it; returns its path.

    Raises:
        ModelError: There are no scores.
        MissingExtraError: matplotlib or Jinja is not installed.
    """
    jinja2 = require("jinja2", extra="score")
    table = ScoreTable(folder)
    found = summarize(folder)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True
    )
    page = environment.get_template("report.html.jinja").render(
        card=table.card,
        found=found,
        share=lambda count: f"{100 * count / max(1, found.images):.2f} %",
        figures=[_distribution(found), *_drift(found)],
        worst=_worst(table, found),
        made=f"{datetime.now().astimezone():%Y-%m-%d %H:%M %Z}",
    )
    atomic_write(folder / REPORT_NAME, page)
    return folder / REPORT_NAME


def _distribution(found: TableStatistics) -> tuple[str, str, str]:
    pyplot = _pyplot()
    with pyplot.rc_context(_STYLE):
        figure, axes = pyplot.subplots(figsize=(6, 3.4))
        middles = np.sqrt(SCORE_EDGES[1:] * SCORE_EDGES[:-1])
        # Four bins make one bar.
        counts = found.by_score[1:-1].reshape(-1, 4).sum(axis=1)
        axes.bar(middles[2::4], counts, width=np.diff(SCORE_EDGES[::4]), color=_BLUE)
        axes.axvline(1, color=_RED, linewidth=1.5)
        axes.set_xscale("log")
        axes.set_yscale("symlog")
        filled = np.flatnonzero(counts)
        if len(filled):
            axes.set_xlim(SCORE_EDGES[4 * filled[0]] / 1.2, SCORE_EDGES[4 * filled[-1] + 4] * 1.2)
        axes.set_xlabel("score by threshold")
        axes.set_ylabel("images")
        return (
            "How the scores lie",
            "Each score as a share of the threshold, which is the red line; right of it images are "
            "defective. The number of images is drawn so that a single one is seen.",
            _svg(figure),
        )


def _drift(found: TableStatistics) -> list[tuple[str, str, str]]:
    pyplot = _pyplot()
    starts: Any = [one.start for one in found.intervals]
    along = "place in the collection"
    if found.is_by_time:
        starts = [datetime.fromtimestamp(start, tz=timezone.utc) for start in starts]
        along = "when the file was written (UTC)"
    drawn = []
    with pyplot.rc_context(_STYLE):
        figure, axes = pyplot.subplots(figsize=(6, 3.4))
        for place, (name, colour) in enumerate(
            (("half of them below", _BLUE), ("90 %", _AMBER), ("99 %", _RED))
        ):
            values = [one.score_quantiles[place] for one in found.intervals]
            axes.plot(starts, values, color=colour, label=name, marker="o", markersize=3)
        axes.axhline(1, color=_RED, linewidth=0.8, linestyle=":")
        axes.set_ylabel("score by threshold")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncol=3)
        _finish(figure, axes, along)
        drawn.append(
            (
                "Drift of the scores",
                "Each point is a stretch of the axis with images in it. All three lines that rise "
                "mean another product, light or focus; the highest alone, more defects.",
                _svg(figure),
            )
        )
        figure, axes = pyplot.subplots(figsize=(6, 3.4))
        axes.plot(
            starts, [one.residual for one in found.intervals], color=_BLUE, marker="o", markersize=3
        )
        axes.set_ylabel("median of the mean residual")
        other = axes.twinx()
        shares = [100 * one.rejected_share for one in found.intervals]
        other.plot(starts, shares, color=_RED, linestyle="--")
        other.set_ylabel("not good, %", color=_RED)
        _finish(figure, axes, along)
        drawn.append(
            (
                "Drift of the images",
                "Blue: how far the students are off over whole images, which light and focus move "
                "before they move scores. Red: the share that is not good.",
                _svg(figure),
            )
        )
    return drawn


def _finish(figure: Any, axes: Any, along: str) -> None:
    axes.set_xlabel(along)
    figure.autofmt_xdate(rotation=25)


def _worst(table: ScoreTable, found: TableStatistics) -> list[WorstImage]:
    compute = require("pyarrow.compute", extra="score")
    rows = open_rows(table.folder).to_table(filter=compute.field("id").isin(found.worst))
    by_id = {row["id"]: row for row in rows.to_pylist()}
    collection: Collection | None = None
    missing = ""
    try:
        collection = open_collection(table.card.source, table.card.s3)
    except L2BTError as error:
        missing = str(error)
    worst = []
    for number in found.worst:
        row = by_id[number]
        if row["picture"] is not None:
            worst.append(WorstImage(row=row, picture=_address(row["picture"])))
        elif collection is None:
            worst.append(WorstImage(row=row, picture="", missing=missing))
        else:
            worst.append(_drawn(row, collection))
    return worst


def _drawn(row: dict[str, Any], collection: Collection) -> WorstImage:
    """The image as it stands in the collection, with a frame around each region."""
    try:
        image = load_image(collection.read(row["name"]))
    except (BadImageError, L2BTError) as error:
        return WorstImage(row=row, picture="", missing=str(error))
    return WorstImage(row=row, picture=_address(_framed(image, row["boxes"])))


def _framed(image: ImageArray, boxes: list[dict[str, Any]]) -> bytes:
    scale = min(1.0, _PICTURE_WIDTH_PX / image.shape[1])
    size_wh = (round(image.shape[1] * scale), max(1, round(image.shape[0] * scale)))
    small = np.ascontiguousarray(cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA))
    for box in boxes:
        left, top = int(box["x_px"] * scale) - 4, int(box["y_px"] * scale) - 4
        right = int((box["x_px"] + box["width_px"]) * scale) + 4
        bottom = int((box["y_px"] + box["height_px"]) * scale) + 4
        cv2.rectangle(small, (left, top), (right, bottom), _FRAME_RGB, 2)
    quality = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), quality)
    return bytes(encoded.tobytes())


def _address(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def _pyplot() -> Any:
    matplotlib = require("matplotlib", extra="score")
    matplotlib.use("Agg")
    return require("matplotlib.pyplot", extra="score")


def _svg(figure: Any) -> str:
    file = io.StringIO()
    figure.savefig(file, format="svg", bbox_inches="tight", metadata={"Date": None})
    _pyplot().close(figure)
    text = file.getvalue()
    return text[text.index("<svg") :]
