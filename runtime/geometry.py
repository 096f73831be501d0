"""From an image to the network's tiles, and from patch maps back to the image's own pixels.

The geometry here is the paper's: pad the image to a square by repeating its edges, resize the
square to the network's size; on the way back, upsample the patch map to the square, blur it, and
crop the image out of it. Callers see only `Geometry`, so that other ways of cutting can stand
beside it.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from runtime.errors import OptionError
from runtime.images import ImageArray

# The paper's blur, about a Gaussian of sigma 4.7 px: (passes, box side in px).
_BLUR_PASSES = ((5, 5), (3, 7))


class Geometry(Protocol):
    """How one image of a given height and width is cut and put together again."""

    def cut(self, image: ImageArray) -> npt.NDArray[np.uint8]:
        """(H, W, 3) uint8 image to (N, S, S, 3) uint8 tiles."""

    def stitch(self, patch_maps: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """(N, S/patch, S/patch) float32 patch maps to the (H, W) float32 anomaly map."""


@dataclass(frozen=True, kw_only=True)
class GeometrySettings:
    """What a product fixes about the geometry, whatever the image's size.

    Attributes:
        image_size: Side S of the square that the network sees, in px; a multiple of `patch_size`.
        patch_size: Side of the teacher's patches in px.
        kind: Only "square" (the paper's padded square) exists.
    """

    image_size: int = 518
    patch_size: int = 14
    kind: str = "square"

    def __post_init__(self) -> None:
        if self.kind != "square":
            raise OptionError(f"geometry kind is {self.kind!r}; expected 'square'")
        if self.patch_size < 1 or self.image_size < self.patch_size:
            raise OptionError(
                f"image size {self.image_size} px and patch size {self.patch_size} px: "
                "the image must hold at least one patch"
            )
        if self.image_size % self.patch_size:
            below = self.image_size // self.patch_size * self.patch_size
            raise OptionError(
                f"image size {self.image_size} px is no multiple of the patch size "
                f"{self.patch_size} px; the nearest are {below} and {below + self.patch_size}"
            )

    @property
    def grid_side(self) -> int:
        """Patches along a side of the network's square."""
        return self.image_size // self.patch_size

    def for_image(self, height: int, width: int) -> Geometry:
        """The geometry of an image of this height and width in px."""
        return SquareGeometry(settings=self, image_height=height, image_width=width)


@dataclass(frozen=True, kw_only=True)
class SquareGeometry:
    """The paper's way: one tile, the whole image padded to a square and resized."""

    settings: GeometrySettings
    image_height: int
    image_width: int

    @property
    def padded_side(self) -> int:
        """Side of the square that holds the whole image, in px."""
        return max(self.image_height, self.image_width)

    @property
    def top(self) -> int:
        """Rows of padding above the image."""
        return (self.padded_side - self.image_height) // 2

    @property
    def left(self) -> int:
        """Columns of padding left of the image."""
        return (self.padded_side - self.image_width) // 2

    def cut(self, image: ImageArray) -> npt.NDArray[np.uint8]:
        """Pad with the edges' pixels and resize, bicubic with antialiasing.

        Returns:
            (1, S, S, 3) uint8.
        """
        square = cv2.copyMakeBorder(
            image,
            self.top,
            self.padded_side - self.image_height - self.top,
            self.left,
            self.padded_side - self.image_width - self.left,
            cv2.BORDER_REPLICATE,
        )
        side = self.settings.image_size
        # Pillow, since OpenCV's bicubic does not antialias: small defects would flicker with pose.
        resized = Image.fromarray(square).resize((side, side), Image.Resampling.BICUBIC)
        return np.asarray(resized)[None]

    def stitch(self, patch_maps: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Upsample, blur and crop the (1, S/patch, S/patch) patch map in one step.

        Returns:
            (H, W) float32.
        """
        (patch_map,) = patch_maps
        grid = self.settings.grid_side
        rows = _patches_to_pixels(grid, self.padded_side, self.top, self.image_height)
        columns = _patches_to_pixels(grid, self.padded_side, self.left, self.image_width)
        anomaly_map: npt.NDArray[np.float32] = rows @ patch_map @ columns.T
        return anomaly_map


@lru_cache(maxsize=64)
def _patches_to_pixels(
    grid: int, padded_side: int, start: int, length: int
) -> npt.NDArray[np.float32]:
    """Matrix (length, grid) that takes one axis of a patch map to pixels start..start+length.

    Bilinear upsampling, the eight box blurs with their zero-padded border, and the crop are linear
    and separable: applied to the identity, they give a matrix that does all of them at once.
    """
    identity = np.eye(grid, dtype=np.float64)
    axis = cv2.resize(identity, (grid, padded_side), interpolation=cv2.INTER_LINEAR)
    axis = axis.reshape(padded_side, grid)
    for passes, box in _BLUR_PASSES:
        for _ in range(passes):
            axis = cv2.blur(axis, (1, box), borderType=cv2.BORDER_CONSTANT)
            axis = axis.reshape(padded_side, grid)
    matrix: npt.NDArray[np.float32] = axis[start : start + length].astype(np.float32)
    matrix.flags.writeable = False
    return matrix
