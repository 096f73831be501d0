"""Where on the part defects lie, and how large they are."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from triton_repo.console.archive.inspections import Row

COLUMNS, ROWS = 24, 16
"""Cells that a part is divided into."""
SIZES_PX = (10, 20, 50, 100, 200)
"""Longest sides of regions at which the classes of size end."""


@dataclass(frozen=True, kw_only=True)
class DefectPlaces:
    """Defects of many parts, over one picture of them.

    Attributes:
        cells: (ROWS, COLUMNS) int, parts with a defect whose centre lies in the cell.
        sizes: Regions by class of size, the smallest first; one more than SIZES_PX.
        parts: How many parts were looked at.
    """

    cells: npt.NDArray[np.int64]
    sizes: tuple[int, ...]
    parts: int

    def pareto(self, most: int = 10) -> list[tuple[int, int, int, float]]:
        """The cells with most parts: row, column, parts, share of all with those before it."""
        order = np.argsort(-self.cells, axis=None, kind="stable")[:most]
        total = max(1, int(self.cells.sum()))
        found, sum_so_far = [], 0
        for row, column in zip(*np.unravel_index(order, self.cells.shape), strict=True):
            count = int(self.cells[row, column])
            if not count:
                break
            sum_so_far += count
            found.append((int(row), int(column), count, sum_so_far / total))
        return found


def locate(rows: Sequence[Row]) -> DefectPlaces:
    """Where the defects of rejected parts lie.

    Where a person drew boxes, these count; otherwise the regions that were found.

    Args:
        rows: Inspections, with regions, boxes, width_px and height_px.
    """
    cells = np.zeros((ROWS, COLUMNS), np.int64)
    sizes = [0] * (len(SIZES_PX) + 1)
    for row in rows:
        seen = set()
        for x_px, y_px, width_px, height_px in _boxes(row):
            column = int(COLUMNS * (x_px + width_px / 2) / row["width_px"])
            line = int(ROWS * (y_px + height_px / 2) / row["height_px"])
            seen.add((min(line, ROWS - 1), min(column, COLUMNS - 1)))
            sizes[int(np.searchsorted(SIZES_PX, max(width_px, height_px), side="right"))] += 1
        # A part counts once in a cell, however many regions its defect falls into.
        for cell in seen:
            cells[cell] += 1
    return DefectPlaces(cells=cells, sizes=tuple(sizes), parts=len(rows))


def _boxes(row: Row) -> list[tuple[int, int, int, int]]:
    if row["boxes"]:
        return [tuple(box) for box in row["boxes"]]
    names = ("x_px", "y_px", "width_px", "height_px")
    return [tuple(region[name] for name in names) for region in row["regions"]]
