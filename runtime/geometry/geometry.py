"""From an image to the network's tiles, and from the tiles' patch maps to that of the image.

Four ways to look at an image, one kind of object for all. "square" is the paper's: pad the image
to a square by repeating its edges, resize it to the network's size, one tile. "fitted" does the
same with a network whose input has the shape of the product's images, so that next to nothing is
padded. "joint" looks at what is fitted, and once more at twice its size, in four tiles; each pixel
must be strange in both, by the geometric mean. "tiles" keeps the image's own resolution, or a
chosen scale of it: tiles of the network's size on the grid of patches, which overlap, so that no
defect is seen only at a tile's border.
"""

import math
from dataclasses import dataclass, field, replace
from functools import cached_property

import cv2
import numpy as np
import numpy.typing as npt

from runtime.errors import BadImageError, OptionError
from runtime.geometry.area import InspectionArea
from runtime.geometry.pixel_axis import BLOCK_PX, PixelAxis, bands_of
from runtime.geometry.pixel_map import PixelMap
from runtime.geometry.scaling import padded, resized
from runtime.geometry.tile_axis import TileAxis
from runtime.geometry.tile_buffer import TileBuffer
from runtime.geometry.tile_shape import describe_wh, tile_wh_of
from runtime.images.decode import MAX_PIXELS, ImageArray

KINDS = ("square", "fitted", "joint", "tiles")
SHAPED_KINDS = ("fitted", "joint")
"""Those whose tiles have the shape of the images."""
JOINT_ZOOM = 2
"""How much larger than what is fitted the second look of "joint" is, in each direction."""

PatchMaps = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class GeometrySettings:
    """What a product fixes about the geometry, whatever the image's size.

    Attributes:
        image_size: Side S of the square that the network sees, in px, and the longer side where it
            sees no square; a multiple of `patch_size`.
        patch_size: Side of the teacher's patches in px.
        kind: "square", "fitted", "joint" or "tiles".
        image_wh: Width and height in px of the images whose shape the network's input has; others
            are padded to that shape. For "fitted" and "joint".
        overlap_wh: How far neighbouring tiles overlap at least, horizontally and vertically, in px
            of the scaled image; multiples of `patch_size`, at most half a tile. For "tiles".
        scale: The image's size before it is cut into tiles, as a share of its own. For "tiles".
        border_weights: How much the image's outermost patches count, from the outermost ring
            inwards; all others count 1. Such patches see less of their surroundings than others,
            and are the noisiest of good images. Not for "square", whose border is the padding's.
    """

    image_size: int = 518
    patch_size: int = 14
    kind: str = "square"
    image_wh: tuple[int, int] | None = None
    overlap_wh: tuple[int, int] = (0, 0)
    scale: float = 1.0
    border_weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.border_weights and self.kind == "square":
            raise OptionError("border weights belong to what is fitted or tiled, not to the square")
        if not all(0 < weight <= 1 for weight in self.border_weights):
            raise OptionError(
                f"border weights are {self.border_weights}; expected numbers above 0, since no "
                "part of an image may be blind, and at most 1"
            )
        if self.kind not in KINDS:
            raise OptionError(f"geometry kind is {self.kind!r}; expected one of {', '.join(KINDS)}")
        if self.patch_size < 1 or self.image_size < self.patch_size:
            raise OptionError(
                f"image size {self.image_size} px and patch size {self.patch_size} px: "
                "the image must hold at least one patch"
            )
        self._require_on_grid("image size", self.image_size, least=self.patch_size)
        if (self.kind in SHAPED_KINDS) != (self.image_wh is not None):
            raise OptionError(
                "the images' width and height belong to the geometries 'fitted' and 'joint', which "
                f"need them; here the geometry is {self.kind!r}, and they are {self.image_wh}"
            )
        if self.image_wh is not None and min(self.image_wh) < 1:
            raise OptionError(f"images of {self.image_wh} px; expected a width and a height from 1")
        if self.kind != "tiles":
            if self.overlap_wh != (0, 0) or self.scale != 1:
                raise OptionError(f"overlap and scale belong to tiles, not to {self.kind}")
            return
        for overlap in self.overlap_wh:
            self._require_on_grid("overlap", overlap, least=0)
            if not 0 <= overlap <= self.image_size // 2:
                most = self.image_size // 2 // self.patch_size * self.patch_size
                raise OptionError(
                    f"overlap {overlap} px of tiles of {self.image_size} px; expected 0 to {most}"
                )
        if not (math.isfinite(self.scale) and 0.01 <= self.scale <= 4):
            raise OptionError(f"scale is {self.scale}; expected 0.01 to 4, and 1 for full size")

    @property
    def tile_wh(self) -> tuple[int, int]:
        """Width and height in px of a tile, which is what the network sees."""
        return tile_wh_of(self.image_size, patch_size=self.patch_size, image_wh=self.image_wh)

    @property
    def grid_wh(self) -> tuple[int, int]:
        """Width and height of a tile in patches."""
        width, height = self.tile_wh
        return width // self.patch_size, height // self.patch_size

    def padded_wh(self, height: int, width: int) -> tuple[int, int]:
        """Width and height in px to which an image is padded before it is resized."""
        if self.kind == "tiles":
            return width, height
        tile_width, tile_height = self.tile_wh
        return (
            max(width, -(-height * tile_width // tile_height)),
            max(height, -(-width * tile_height // tile_width)),
        )

    def for_image(
        self, height: int, width: int, *, area: InspectionArea | None = None
    ) -> "Geometry":
        """The geometry of an image of this height and width in px.

        Args:
            height: Of the image in px.
            width: Of the image in px.
            area: Where it is looked at; everywhere if left out.

        Raises:
            BadImageError: The image would be too large when it is padded, or the area is drawn on
                images of another size.
        """
        padded = self.padded_wh(height, width)
        if self.kind != "tiles" and math.prod(padded) > MAX_PIXELS:
            raise BadImageError(
                f"an image of {width} x {height} px is too long for this product: padded to "
                f"{padded[0]} x {padded[1]} px it has more than {MAX_PIXELS:,} pixels; train the "
                "product with --geometry tiles"
            )
        return Geometry(
            settings=self,
            image_height=height,
            image_width=width,
            ignored=None if area is None else area.ignored(height, width),
        )

    def describe(self) -> str:
        """In words, for people."""
        if self.kind == "square":
            return f"padded square of {self.image_size} px"
        if self.kind == "fitted":
            return f"the images' own shape at {describe_wh(self.tile_wh)}"
        if self.kind == "joint":
            return (
                f"the images' own shape at {describe_wh(self.tile_wh)}, and at twice that in "
                f"{JOINT_ZOOM**2} tiles"
            )
        overlap = "x".join(map(str, self.overlap_wh))
        return f"tiles of {self.image_size} px at scale {self.scale:g}, overlap {overlap} px"

    def _require_on_grid(self, name: str, size: int, *, least: int) -> None:
        if size % self.patch_size:
            below = max(least, size // self.patch_size * self.patch_size)
            raise OptionError(
                f"{name} {size} px is no multiple of the patch size {self.patch_size} px; the "
                f"nearest are {below} and {below + self.patch_size}"
            )


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """How an image of one size is cut, and put together again.

    Attributes:
        settings: The product's.
        image_height: Height of the image in px.
        image_width: Its width in px.
        ignored: (H, W) bool, True where the image is not looked at; None if it is everywhere.
    """

    settings: GeometrySettings
    image_height: int
    image_width: int
    ignored: npt.NDArray[np.bool_] | None = field(default=None, repr=False, compare=False)

    @cached_property
    def whole(self) -> "Geometry | None":
        """Of the look at the whole image, which comes before the tiles; None but for "joint"."""
        if self.settings.kind != "joint":
            return None
        return replace(self, settings=replace(self.settings, kind="fitted"))

    @cached_property
    def rows(self) -> TileAxis:
        """The vertical axis."""
        return self._axis(1, self.image_height)

    @cached_property
    def columns(self) -> TileAxis:
        """The horizontal axis."""
        return self._axis(0, self.image_width)

    @cached_property
    def places(self) -> tuple[tuple[int, int], ...]:
        """Row and column, among the tiles, of those that are looked at; row after row."""
        rows, columns = range(len(self.rows.origins)), range(len(self.columns.origins))
        if self.ignored is None:
            return tuple((row, column) for row in rows for column in columns)
        # A tile counts if a pixel that is looked at depends on one of its patches.
        of_rows, of_columns = bands_of(self._row_axis), bands_of(self._column_axis)
        reach_rows = [of_rows.blocks_of(self.rows.span(row)) for row in rows]
        reach_columns = [of_columns.blocks_of(self.columns.span(column)) for column in columns]
        looked_at = self._looked_at_blocks()
        return tuple(
            (row, column)
            for row in rows
            for column in columns
            if looked_at[reach_rows[row]][:, reach_columns[column]].any()
        )

    @property
    def tiles(self) -> int:
        """Number of tiles that go to the network."""
        return len(self.places) + (self.whole is not None)

    @property
    def grid_wh(self) -> tuple[int, int]:
        """Width and height of the image's patch map, in patches."""
        return self.columns.patches, self.rows.patches

    def cut(self, image: ImageArray, buffer: TileBuffer | None = None) -> npt.NDArray[np.uint8]:
        """Cut the image into tiles, row after row; before them the whole image if it is looked at.

        Args:
            image: (H, W, 3) uint8.
            buffer: Gives the memory, which the next cut of the same thread overwrites; fresh memory
                by default.

        Returns:
            (N, tile's height, tile's width, 3) uint8.
        """
        scaled = self._scaled(image)
        patch = self.settings.patch_size
        tile_width, tile_height = self.settings.tile_wh
        height, width = scaled.shape[:2]
        tiles = (buffer or TileBuffer()).take(self.tiles, self.settings.tile_wh)
        own = tiles
        if self.whole is not None:
            tiles[0] = self.whole._scaled(image)
            own = tiles[1:]
        for tile, (row, column) in zip(own, self.places, strict=True):
            top = self.rows.origins[row] * patch - self.rows.edge_before
            left = self.columns.origins[column] * patch - self.columns.edge_before
            bottom, right = top + tile_height, left + tile_width
            inside = scaled[max(top, 0) : bottom, max(left, 0) : right]
            if inside.shape == tile.shape:
                tile[:] = inside
                continue
            before = (max(-top, 0), max(-left, 0))
            after = (max(bottom - height, 0), max(right - width, 0))
            cv2.copyMakeBorder(
                inside, before[0], after[0], before[1], after[1], cv2.BORDER_REPLICATE, dst=tile
            )
        return tiles

    def join(self, patch_maps: PatchMaps) -> PatchMaps:
        """Blend the tiles' patch maps to that of the image.

        That of the whole image, if it is looked at, is brought to the tiles' patches, and the
        result is the geometric mean of both.

        Weights fade towards a tile's border where a neighbour overlaps it, and stay flat at the
        image's own border; where tiles agree, the result is what they say, but for the settings'
        border weights. Patches that no pixel depends on, since it is not looked at, may be 0.

        Args:
            patch_maps: (N, rows, columns) float32, in patches of a tile, in the order of `cut`.

        Returns:
            (rows, columns) float32 in patches.
        """
        if self.whole is not None:
            coarse = cv2.resize(self.whole.join(patch_maps[:1]), self.grid_wh)
            return np.asarray(np.sqrt(coarse * self._blend(patch_maps[1:])), np.float32)
        return self._blend(patch_maps)

    def _blend(self, patch_maps: PatchMaps) -> PatchMaps:
        if len(self.rows.origins) == len(self.columns.origins) == 1:
            (patch_map,) = patch_maps
            return self._weigh_border(np.asarray(patch_map, np.float32))
        total = np.zeros((self.rows.patches, self.columns.patches))
        weight = np.zeros_like(total)
        columns, rows = self.settings.grid_wh
        for patch_map, (r, c) in zip(patch_maps, self.places, strict=True):
            own = np.outer(self.rows.weights(r), self.columns.weights(c))
            top, left = self.rows.origins[r], self.columns.origins[c]
            total[top : top + rows, left : left + columns] += own * patch_map
            weight[top : top + rows, left : left + columns] += own
        joined = np.divide(total, weight, out=total, where=weight > 0)
        return self._weigh_border(joined.astype(np.float32))

    def _weigh_border(self, patch_map: PatchMaps) -> PatchMaps:
        if not self.settings.border_weights:
            return patch_map
        return np.asarray(patch_map * self._border, np.float32)

    @cached_property
    def _border(self) -> PatchMaps:
        """(rows, columns) float32, how much each patch counts."""
        rows, columns = (np.arange(axis.patches) for axis in (self.rows, self.columns))
        ring = np.minimum(
            np.minimum(rows, rows[::-1])[:, None], np.minimum(columns, columns[::-1])[None]
        )
        if self.whole is not None:
            # A ring of the whole image's patches is as wide as two of these.
            ring //= JOINT_ZOOM
        weights = np.array([*self.settings.border_weights, 1.0], np.float32)
        border: PatchMaps = weights[np.minimum(ring, len(weights) - 1)]
        return border

    def pixel_map(self, patch_maps: PatchMaps) -> PixelMap:
        """The image's anomaly map, computed where it is asked for.

        Args:
            patch_maps: (N, rows, columns) float32, in patches of a tile, in the order of `cut`.
        """
        return PixelMap(
            patch_map=self.join(patch_maps),
            rows=self._row_axis,
            columns=self._column_axis,
            ignored=self.ignored,
        )

    def stitch(self, patch_maps: PatchMaps) -> npt.NDArray[np.float32]:
        """The whole anomaly map, (H, W) float32."""
        return self.pixel_map(patch_maps).pixels()

    @cached_property
    def _row_axis(self) -> PixelAxis:
        return self._pixel_axis(self.rows)

    @cached_property
    def _column_axis(self) -> PixelAxis:
        return self._pixel_axis(self.columns)

    def _looked_at_blocks(self) -> npt.NDArray[np.bool_]:
        """Which blocks of pixels hold one that is looked at."""
        assert self.ignored is not None
        beyond = [(0, -length % BLOCK_PX) for length in self.ignored.shape]
        padded = np.pad(~self.ignored, beyond)
        height, width = padded.shape
        blocks = padded.reshape(height // BLOCK_PX, BLOCK_PX, width // BLOCK_PX, BLOCK_PX)
        return np.asarray(blocks.any(axis=(1, 3)))

    def _axis(self, axis: int, length: int) -> TileAxis:
        settings = self.settings
        if settings.kind == "tiles":
            return TileAxis.tiles(
                length=length,
                scale=settings.scale,
                tile_length=settings.image_size,
                overlap=settings.overlap_wh[axis],
                patch_size=settings.patch_size,
            )
        return TileAxis.padded(
            length=length,
            padded_length=settings.padded_wh(self.image_height, self.image_width)[axis],
            tile_length=settings.tile_wh[axis],
            tile_patches=settings.grid_wh[axis],
            tiles=JOINT_ZOOM if settings.kind == "joint" else 1,
        )

    def _pixel_axis(self, axis: TileAxis) -> PixelAxis:
        patch = self.settings.patch_size
        return PixelAxis(
            patches=axis.patches,
            patches_per_px=axis.scaled_length / axis.padded_length / patch,
            first_px=axis.edge_before / patch,
            domain_px=axis.padded_length,
            start_px=axis.padding_before,
            length_px=axis.length,
            renormalised=self.settings.kind != "square",
        )

    def _scaled(self, image: ImageArray) -> ImageArray:
        """Padded, then resized."""
        rows, columns = self.rows, self.columns
        wide = padded(image, columns=columns)
        if any(rows.padding):
            # Padding rows that are short already is quicker, and changes no pixel: Pillow brings
            # all rows to their length first, and rounds them to bytes before it mixes them.
            short = resized(wide, columns.scaled_length, image.shape[0])
            wide = padded(short, rows=rows)
        return resized(wide, columns.scaled_length, rows.scaled_length)
