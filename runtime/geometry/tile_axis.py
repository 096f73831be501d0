"""How one axis of an image is cut into tiles on the patch grid, and how they are blended."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, kw_only=True)
class TileAxis:
    """How one axis of an image is cut; all in px unless said otherwise.

    Attributes:
        length: Of the image.
        padding_before: Repeated edge before the image, added before it is resized.
        padded_length: With the padding on both sides.
        scaled_length: After resizing.
        edge_before: Repeated edge before the resized image.
        patches: Of the patch map.
        origins: The first patch of each tile.
        tile_patches: Patches along a tile.
    """

    length: int
    padding_before: int
    padded_length: int
    scaled_length: int
    edge_before: int
    patches: int
    origins: tuple[int, ...]
    tile_patches: int

    @classmethod
    def padded(
        cls,
        *,
        length: int,
        padded_length: int,
        tile_length: int,
        tile_patches: int,
        tiles: int = 1,
    ) -> "TileAxis":
        """Of an image that is padded, resized, and one tile, or several that lie side by side."""
        return cls(
            length=length,
            padding_before=(padded_length - length) // 2,
            padded_length=padded_length,
            scaled_length=tiles * tile_length,
            edge_before=0,
            patches=tiles * tile_patches,
            origins=tuple(number * tile_patches for number in range(tiles)),
            tile_patches=tile_patches,
        )

    @classmethod
    def tiles(
        cls, *, length: int, scale: float, tile_length: int, overlap: int, patch_size: int
    ) -> "TileAxis":
        """Of an image that is resized and cut into tiles; the tiles are spread evenly."""
        tile = tile_length // patch_size
        scaled = max(1, round(length * scale))
        patches = max(tile, -(-scaled // patch_size))
        step = tile - overlap // patch_size
        count = 1 + -(-(patches - tile) // step)
        spread = np.linspace(0, patches - tile, count)
        return cls(
            length=length,
            padding_before=0,
            padded_length=length,
            scaled_length=scaled,
            edge_before=(patches * patch_size - scaled) // 2,
            patches=patches,
            origins=tuple(int(origin) for origin in np.round(spread)),
            tile_patches=tile,
        )

    @property
    def padding(self) -> tuple[int, int]:
        """Repeated edge before and after the image."""
        return self.padding_before, self.padded_length - self.length - self.padding_before

    def span(self, number: int) -> slice:
        """The patches that a tile covers."""
        return slice(self.origins[number], self.origins[number] + self.tile_patches)

    def weights(self, number: int) -> npt.NDArray[np.float64]:
        """(tile_patches,) how much a tile counts: it fades where a neighbour overlaps it."""
        weights = np.ones(self.tile_patches)
        origin = self.origins[number]
        if number > 0:
            overlap = self.origins[number - 1] + self.tile_patches - origin
            weights[:overlap] *= np.arange(1, overlap + 1) / (overlap + 1)
        if number + 1 < len(self.origins):
            overlap = origin + self.tile_patches - self.origins[number + 1]
            weights[self.tile_patches - overlap :] *= np.arange(overlap, 0, -1) / (overlap + 1)
        return weights
