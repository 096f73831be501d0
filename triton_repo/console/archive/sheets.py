"""The archive's inspections as tables for other programs: CSV and Parquet."""

import csv
import io
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from typing import Any

from runtime.extras import require
from triton_repo.console.archive.inspections import Inspections, Place, Row, Wanted

_AT_ONCE = 2000
COLUMNS = (
    *("number", "time", "product", "version", "verdict", "score", "threshold"),
    *("review_threshold", "mean_residual", "regions", "width_px", "height_px", "image_sha256"),
    *("engine", "request_id", "latency_ms", "review", "reviewed_by", "is_paused"),
)


def each_row(inspections: Inspections, wanted: Wanted) -> Iterator[dict[str, Any]]:
    """The rows of a table, the newest first; regions are counted."""
    after: Place | None = None
    while found := inspections.find(wanted, after=after, most=_AT_ONCE):
        for row in found:
            yield _line_of(row)
        after = Place.of(found[-1])


def as_csv(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Lines of a CSV file."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _harmless(value) for name, value in row.items()})
        yield text.getvalue()
        text.seek(0)
        text.truncate()
    yield text.getvalue()


def as_parquet(rows: Iterable[dict[str, Any]]) -> bytes:
    """A Parquet file."""
    arrow: Any = require("pyarrow")
    parquet: Any = require("pyarrow.parquet")
    number, text, real = arrow.int64(), arrow.string(), arrow.float64()
    kinds = {
        **dict.fromkeys(COLUMNS, text),
        **dict.fromkeys(("number", "version", "regions", "width_px", "height_px"), number),
        **dict.fromkeys(("score", "threshold", "review_threshold", "mean_residual"), real),
        "latency_ms": real,
        "is_paused": arrow.bool_(),
        "time": arrow.timestamp("ms", "UTC"),
    }
    schema = arrow.schema([(name, kinds[name]) for name in COLUMNS])
    file = io.BytesIO()
    with parquet.ParquetWriter(file, schema) as writer:
        batch: list[dict[str, Any]] = []
        for row in rows:
            batch.append({**row, "time": datetime.fromisoformat(row["time"])})
            if len(batch) == _AT_ONCE:
                writer.write_table(arrow.Table.from_pylist(batch, schema))
                batch = []
        writer.write_table(arrow.Table.from_pylist(batch, schema))
    return file.getvalue()


def _line_of(row: Row) -> dict[str, Any]:
    at = datetime.fromtimestamp(row["at_s"], timezone.utc).isoformat(timespec="milliseconds")
    told = {**row, "time": at, "regions": len(row["regions"])}
    return {name: told[name] for name in COLUMNS}


def _harmless(value: Any) -> Any:
    # A spreadsheet takes a text that begins so for a formula.
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" and value else value
