"""The anomaly map of one image at its own resolution, computed only where it is asked for.

Each pixel is a weighted mean of a few neighbouring patches, so the highest of those bounds it. Most
of a map lies below the product's threshold and outside the score's highest pixels, which the bound
tells without computing it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from runtime.geometry.pixel_axis import BLOCK_PX, Bands, Indices, PixelAxis, bands_of
from runtime.geometry.region import AnomalyMap, Region

TOP_FRACTION = 0.001
"""Share of the pixels whose mean is the image's score, as in the paper."""

_CELLS_AT_ONCE = 4096
# A bound must hold for values that are rounded too.
_ROUNDING = np.float32(1e-5)

Values = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class PixelMap:
    """A patch map with its linear way to the pixels of the image.

    Attributes:
        patch_map: (rows, columns) float32, without negative values.
        rows: The way of the vertical axis.
        columns: The way of the horizontal axis.
        ignored: (H, W) bool, True where the product is not to be looked at; None if everywhere.
    """

    patch_map: Values
    rows: PixelAxis
    columns: PixelAxis
    ignored: npt.NDArray[np.bool_] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in px."""
        return self.rows.length_px, self.columns.length_px

    def pixels(self) -> AnomalyMap:
        """The whole map, (H, W) float32; ignored pixels are 0."""
        height, width = self.shape
        row_bands, column_bands = bands_of(self.rows), bands_of(self.columns)
        windows = self.patch_map[:, column_bands.patches_of_block].transpose(1, 0, 2)
        across = np.matmul(windows, column_bands.weights.transpose(0, 2, 1))
        across = np.ascontiguousarray(across.transpose(1, 0, 2)).reshape(len(self.patch_map), -1)
        across = np.ascontiguousarray(across[:, :width])
        anomaly_map = np.empty((height, width), np.float32)
        for number, first in enumerate(row_bands.first):
            rows = slice(number * BLOCK_PX, min((number + 1) * BLOCK_PX, height))
            weights = row_bands.weights[number, : rows.stop - rows.start]
            window = across[first : first + row_bands.width]
            np.matmul(weights, window, out=anomaly_map[rows])
        if self.ignored is not None:
            anomaly_map[self.ignored] = 0
        return anomaly_map

    def score(self) -> float:
        """Mean of the highest 0.1 % of the pixels that are looked at (at least one)."""
        looked_at = self.shape[0] * self.shape[1]
        if self.ignored is not None:
            looked_at -= int(np.count_nonzero(self.ignored))
        highest = self._highest(max(1, int(looked_at * TOP_FRACTION)))
        # Rounded to float32, as the server sends it: the verdict must not depend on the way.
        return float(np.float32(highest.mean(dtype=np.float64)))

    def peak(self) -> float:
        """The highest value."""
        return float(self._highest(1)[0])

    def regions(self, pixel_threshold: float) -> tuple[Region, ...]:
        """The 8-connected areas above the threshold, highest peak first.

        Takes 5 bytes for each pixel of the area in which defective cells touch.

        Args:
            pixel_threshold: Pixels above it belong to a region.
        """
        active = (self._bounds() > pixel_threshold).astype(np.uint8)
        count, groups, boxes, _ = cv2.connectedComponentsWithStats(active, connectivity=8)
        # Pixels that touch lie in cells that touch, so groups of cells can be searched one by one.
        regions: list[Region] = []
        for group in range(1, count):
            left, top, width, height = (int(value) for value in boxes[group, :4])
            inside = groups[top : top + height, left : left + width] == group
            rows, columns = np.nonzero(inside)
            regions += self._regions_in(
                rows + top, columns + left, (top, left, height, width), pixel_threshold
            )
        return tuple(sorted(regions, key=lambda region: -region.peak))

    def _regions_in(
        self,
        rows: Indices,
        columns: Indices,
        box: tuple[int, int, int, int],
        pixel_threshold: float,
    ) -> list[Region]:
        top, left, height, width = box
        above = np.zeros((height, BLOCK_PX, width, BLOCK_PX), np.uint8)
        for chunk, values in self._chunks(rows, columns):
            above[rows[chunk] - top, :, columns[chunk] - left] = values > pixel_threshold
        count, labels, stats, _ = cv2.connectedComponentsWithStats(
            above.reshape(height * BLOCK_PX, width * BLOCK_PX), connectivity=8
        )
        peaks = np.full(count, -np.inf, np.float32)
        cells = labels.reshape(height, BLOCK_PX, width, BLOCK_PX)
        for chunk, values in self._chunks(rows, columns):
            inside = values > pixel_threshold
            of_cells = cells[rows[chunk] - top, :, columns[chunk] - left]
            np.maximum.at(peaks, np.asarray(of_cells[inside], np.int64), values[inside])
        return [
            Region(
                x_px=int(stats[label, cv2.CC_STAT_LEFT]) + left * BLOCK_PX,
                y_px=int(stats[label, cv2.CC_STAT_TOP]) + top * BLOCK_PX,
                width_px=int(stats[label, cv2.CC_STAT_WIDTH]),
                height_px=int(stats[label, cv2.CC_STAT_HEIGHT]),
                area_px=int(stats[label, cv2.CC_STAT_AREA]),
                peak=float(peaks[label]),
            )
            for label in range(1, count)
        ]

    def _highest(self, count: int) -> Values:
        """The highest `count` values, in no order."""
        bounds = self._bounds()
        order = np.argsort(bounds, axis=None)[::-1]
        highest, floor = np.empty(0, np.float32), -np.inf
        # So many cells could hold them all; the floor that these give rules out most others.
        step = max(64, 4 * count // BLOCK_PX**2)
        position = 0
        while position < order.size and bounds.flat[order[position]] > floor:
            wanted = order[position : position + step]
            position += step
            # The floor rises ever more slowly, so it is asked ever more rarely.
            step = min(2 * step, _CELLS_AT_ONCE)
            rows, columns = np.unravel_index(wanted[bounds.flat[wanted] > floor], bounds.shape)
            for _, values in self._chunks(rows, columns):
                highest = np.concatenate([highest, values[values > floor]])
                if highest.size >= count:
                    highest = np.partition(highest, highest.size - count)[-count:]
                    floor = highest[0]
        return highest

    def _bounds(self) -> Values:
        """For each cell of `BLOCK_PX` x `BLOCK_PX` pixels a value that none of them exceeds."""
        rows, columns = bands_of(self.rows), bands_of(self.columns)
        over_rows = self.patch_map[rows.patches_of_block].max(axis=1)
        bounds = over_rows[:, columns.patches_of_block].max(axis=2)
        return np.asarray(bounds + _ROUNDING * np.abs(bounds), np.float32)

    def _chunks(self, rows: Indices, columns: Indices) -> Iterator[tuple[slice, Values]]:
        """The pixels of cells, (n, BLOCK_PX, BLOCK_PX), some at a time.

        Pixels that are ignored, or lie beyond the image, are minus infinity.
        """
        row_bands, column_bands = bands_of(self.rows), bands_of(self.columns)
        height, width = self.shape
        offsets = np.arange(BLOCK_PX)
        for start in range(0, rows.size, _CELLS_AT_ONCE):
            chunk = slice(start, start + _CELLS_AT_ONCE)
            row, column = rows[chunk], columns[chunk]
            window = self._windows(row_bands, column_bands, row, column)
            values = row_bands.weights[row] @ window
            values = values @ column_bands.weights[column].transpose(0, 2, 1)
            y_px = row[:, None] * BLOCK_PX + offsets
            x_px = column[:, None] * BLOCK_PX + offsets
            if (beyond := y_px >= height).any():
                values[beyond] = -np.inf
            if (beyond := x_px >= width).any():
                values.transpose(0, 2, 1)[beyond] = -np.inf
            if self.ignored is not None:
                within = (
                    np.minimum(y_px, height - 1)[:, :, None],
                    np.minimum(x_px, width - 1)[:, None, :],
                )
                values[self.ignored[within]] = -np.inf
            yield chunk, values

    def _windows(
        self, row_bands: Bands, column_bands: Bands, row: Indices, column: Indices
    ) -> Values:
        patch_rows = row_bands.first[row][:, None] + np.arange(row_bands.width)
        patch_columns = column_bands.first[column][:, None] + np.arange(column_bands.width)
        windows: Values = self.patch_map[patch_rows[:, :, None], patch_columns[:, None, :]]
        return windows
