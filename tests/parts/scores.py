"""What stands in a table of scores."""

from pathlib import Path
from typing import Any

from runtime.scoring.settings import ScoringOptions
from runtime.scoring.statistics import open_rows

IMAGES = 240
OPTIONS = ScoringOptions(shard_images=20)


def rows(table: Path) -> dict[int, dict[str, Any]]:
    """The rows by their numbers; no number twice."""
    found = open_rows(table).to_table().to_pylist()
    by_number = {row["id"]: row for row in found}
    assert len(by_number) == len(found)
    return by_number


def scores(table: Path) -> dict[int, float | None]:
    """The scores by number."""
    return {number: row["score"] for number, row in rows(table).items()}
