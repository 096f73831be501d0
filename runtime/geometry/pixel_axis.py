"""From patches to pixels along one axis: upsampling, blur, crop and rescale as one banded matrix.

Bilinear upsampling, the paper's eight box blurs, the crop and the rescaling are linear, and the
same for rows and columns. Composed, they are a matrix in which each pixel depends on a few
neighbouring patches, so only those weights are kept.
"""

from dataclasses import dataclass
from functools import lru_cache, reduce

import cv2
import numpy as np
import numpy.typing as npt

# The paper's blur, about a Gaussian of sigma 4.7 px: (passes, box side in px).
_BLUR_PASSES = ((5, 5), (3, 7))
BLOCK_PX = 16

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class PixelAxis:
    """One axis of an image over one axis of a patch map.

    Attributes:
        patches: Patches along the axis.
        patches_per_px: How many patches a pixel advances.
        first_px: Where pixel 0 begins, in patches from the first patch's edge.
        domain_px: Pixels over which the blur runs; beyond them there is nothing.
        start_px: The first of them that belongs to the image.
        length_px: Pixels of the image.
        renormalised: Whether the blur's weights are made to sum to 1 at the border. The paper's do
            not, which darkens a frame of 19 px.
    """

    patches: int
    patches_per_px: float
    first_px: float
    domain_px: int
    start_px: int
    length_px: int
    renormalised: bool


@dataclass(frozen=True, kw_only=True)
class Bands:
    """The matrix, in blocks of `BLOCK_PX` pixels that share their patches.

    Attributes:
        first: (B,) the first patch of each block.
        weights: (B, BLOCK_PX, K) of K patches from there on; rows beyond the last pixel are 0.
    """

    first: Indices
    weights: Floats

    @property
    def width(self) -> int:
        """Patches K that a block depends on."""
        return self.weights.shape[2]

    @property
    def patches_of_block(self) -> Indices:
        """(B, K) the patches that each block depends on."""
        return self.first[:, None] + np.arange(self.width)

    def blocks_of(self, patches: slice) -> npt.NDArray[np.bool_]:
        """(B,) whether a block depends on one of these neighbouring patches."""
        ends = self.first + self.width
        return np.asarray((self.first < patches.stop) & (ends > patches.start))


@lru_cache(maxsize=32)
def bands_of(axis: PixelAxis) -> Bands:
    """Compose the matrix of an axis; kept for the next image of the same size."""
    kernel = _blur_kernel()
    reach = kernel.size // 2
    pixels = axis.start_px + np.arange(axis.length_px)
    lowest, _ = _patch_of(axis, np.maximum(pixels - reach, 0))
    highest, _ = _patch_of(axis, np.minimum(pixels + reach, axis.domain_px - 1))
    highest = np.minimum(highest + 1, axis.patches - 1)
    blocks = -(-axis.length_px // BLOCK_PX)
    begins = np.arange(blocks) * BLOCK_PX
    ends = np.minimum(begins + BLOCK_PX, axis.length_px) - 1
    width = int((highest[ends] - lowest[begins]).max()) + 1
    # A band that would end behind the last patch begins earlier, with weights of 0.
    first = np.maximum(np.minimum(lowest[begins], axis.patches - width), 0)
    width = min(width, axis.patches)
    weights = np.zeros((blocks * BLOCK_PX, width))
    row = np.arange(axis.length_px)
    block_first = first[row // BLOCK_PX]
    blur = _blur_weights(axis)
    for tap, offset in enumerate(range(-reach, reach + 1)):
        source = pixels + offset
        inside = (source >= 0) & (source < axis.domain_px)
        lower, share = _patch_of(axis, source[inside])
        upper = np.minimum(lower + 1, axis.patches - 1)
        target = row[inside]
        weight = blur[target, tap]
        weights[target, lower - block_first[target]] += weight * (1 - share)
        weights[target, upper - block_first[target]] += weight * share
    if axis.renormalised:
        weights[: axis.length_px] /= weights[: axis.length_px].sum(axis=1, keepdims=True)
    blocked = weights.astype(np.float32).reshape(blocks, BLOCK_PX, width)
    blocked.flags.writeable = False
    return Bands(first=first.astype(np.int64), weights=blocked)


def _patch_of(axis: PixelAxis, pixels: Indices) -> tuple[Indices, npt.NDArray[np.float64]]:
    """The patch whose centre lies before each pixel's, and how far on to the next it is."""
    place = (pixels + 0.5) * axis.patches_per_px + axis.first_px - 0.5
    # As in bilinear resizing, beyond the outermost centres the outermost patch counts alone.
    place = np.clip(place, 0, axis.patches - 1)
    lower = np.minimum(place.astype(np.int64), max(axis.patches - 2, 0))
    return lower, place - lower


def _blur_weights(axis: PixelAxis) -> npt.NDArray[np.float64]:
    """(length_px, taps) how much each neighbour counts in a pixel after all blurs."""
    kernel = _blur_kernel()
    reach = kernel.size // 2
    weights = np.tile(kernel, (axis.length_px, 1))
    if axis.renormalised:
        return weights
    # The paper pads with zeros before each of the eight blurs, not once: what one blur has carried
    # over the border is lost to the next. So near the border the kernel is another one.
    side = min(axis.domain_px, 4 * reach)
    blurred = np.eye(side)
    for passes, box in _BLUR_PASSES:
        for _ in range(passes):
            # OpenCV drops the second axis where it has one column.
            once = cv2.blur(blurred, (1, box), borderType=cv2.BORDER_CONSTANT)
            blurred = np.asarray(once, np.float64).reshape(side, side)
    padded = np.pad(blurred, ((0, 0), (reach, reach)))
    near = np.stack([padded[number, number : number + kernel.size] for number in range(side)])
    pixels = axis.start_px + np.arange(axis.length_px)
    at_begin, at_end = pixels < side // 2, pixels >= axis.domain_px - (side + 1) // 2
    weights[at_begin] = near[pixels[at_begin]]
    weights[at_end] = near[pixels[at_end] - (axis.domain_px - side)]
    return weights


def _blur_kernel() -> npt.NDArray[np.float64]:
    boxes = [np.full(side, 1 / side) for passes, side in _BLUR_PASSES for _ in range(passes)]
    return reduce(np.convolve, boxes)
