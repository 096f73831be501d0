"""The table of a product's inbox, and its rows."""

import json
import sqlite3
from pathlib import Path
from typing import Any

from runtime.errors import ModelError
from runtime.feedback.reviewed_part import ReviewedPart

_LAYOUT = 2
COLUMNS = (
    *("sha256", "name", "width", "height", "review", "who", "at", "score", "threshold"),
    *("version", "kept", "boxes", "mask_sha256", "by_chance", "bytes"),
)
_TABLE = """
CREATE TABLE parts (
    number INTEGER PRIMARY KEY,
    sha256 TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    review TEXT CHECK (review IN ('good', 'defect')),
    who TEXT NOT NULL,
    at TEXT NOT NULL,
    score REAL,
    threshold REAL,
    version INTEGER,
    kept TEXT,
    boxes TEXT NOT NULL,
    mask_sha256 TEXT,
    by_chance INTEGER NOT NULL,
    bytes INTEGER NOT NULL
)
"""


def prepare(database: sqlite3.Connection, path: Path) -> None:
    """Make the table if it is not there, and bring that of an earlier version up to date.

    Raises:
        ModelError: A later version wrote it.
    """
    # Readers and writers of several processes do not wait for each other.
    database.execute("PRAGMA journal_mode = WAL")
    # A power cut loses nothing that was said to be kept.
    database.execute("PRAGMA synchronous = FULL")
    database.execute("BEGIN IMMEDIATE")
    (layout,) = database.execute("PRAGMA user_version").fetchone()
    if layout == 0:
        database.execute(_TABLE)
    elif layout == 1:
        # It refused what is kept for a reason that it did not know.
        database.execute("ALTER TABLE parts RENAME TO parts_before")
        database.execute(_TABLE)
        database.execute("INSERT INTO parts SELECT * FROM parts_before")
        database.execute("DROP TABLE parts_before")
    if layout in (0, 1):
        database.execute(f"PRAGMA user_version = {_LAYOUT}")
    database.execute("COMMIT")
    if layout not in (0, 1, _LAYOUT):
        raise ModelError(
            f"{path} is an inbox of layout {layout}; this version reads {_LAYOUT}: use the "
            "version of l2bt-edge that wrote it"
        )


def row_of(part: ReviewedPart, size: int) -> tuple[Any, ...]:
    """The values of COLUMNS; `size` is the image file's, in bytes."""
    values = {
        **vars(part),
        "width": part.image_wh[0],
        "height": part.image_wh[1],
        "boxes": json.dumps(part.boxes),
        "bytes": size,
    }
    return tuple(values[name] for name in COLUMNS)


def part_of(row: dict[str, Any]) -> ReviewedPart:
    """What a row says."""
    names = ("sha256", "name", "review", "who", "at", "score", "threshold", "version", "kept")
    return ReviewedPart(
        **{name: row[name] for name in (*names, "mask_sha256")},
        image_wh=(row["width"], row["height"]),
        boxes=tuple(tuple(box) for box in json.loads(row["boxes"])),
        by_chance=bool(row["by_chance"]),
    )
