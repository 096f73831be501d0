"""Counting what a station remembers and what was told."""

import shutil
import sqlite3
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeAlias

Row: TypeAlias = tuple[int, str, str, int | None, bytes | None]
"""A part, its source and frame, its sequence number and its outcome as JSON."""


def count_out_of_order(numbers: list[int]) -> int:
    """How many new numbers come after a higher one."""
    seen: set[int] = set()
    highest, count = 0, 0
    for number in numbers:
        if number not in seen and number < highest:
            count += 1
        seen.add(number)
        highest = max(highest, number)
    return count


def without_numbers(reason: str) -> str:
    """A reason as many parts have it."""
    words = ["N" if word.strip("(),.:").isdigit() else word for word in reason.split()]
    return " ".join(words)[:90]


def read_ledger(path: Path) -> list[Row]:
    """The ledger's rows, of a copy: SQLite would not find the file where only others see it."""
    with TemporaryDirectory() as scratch:
        for suffix in ("", "-wal"):
            with suppress(FileNotFoundError):
                shutil.copy(f"{path}{suffix}", f"{scratch}/ledger{suffix}")
        database = sqlite3.connect(f"{scratch}/ledger")
        try:
            return database.execute(
                "SELECT part, source, frame_id, sequence, outcome FROM parts ORDER BY part"
            ).fetchall()
        finally:
            database.close()
