"""A camera's bytes as 8-bit RGB, by the rule that the station file names."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from runtime.images.decode import ImageArray
from runtime.station.settings.pixel_rule import PIXEL_FORMATS, PixelScale

# OpenCV names a Bayer pattern by the second and third pixel of its second row.
_DEMOSAIC = {
    "RG": cv2.COLOR_BayerBG2RGB,
    "GR": cv2.COLOR_BayerGB2RGB,
    "GB": cv2.COLOR_BayerGR2RGB,
    "BG": cv2.COLOR_BayerRG2RGB,
}


def to_rgb(
    content: bytes, *, pixels: str, width: int, height: int, scale: PixelScale
) -> ImageArray:
    """Bring a frame to (H, W, 3) uint8 RGB.

    Values go in proportion from `scale.black` to 0 and from `scale.white` to 255, rounded to the
    nearest, and are cut off beyond; grey becomes three equal channels; a Bayer pattern is
    interpolated (bilinear) after that.

    Args:
        content: The frame's bytes; values of more than 8 bits take two, the lower first.
        pixels: GenICam's name of their format.
        width: In px.
        height: In px.
        scale: Which values become 0 and 255.

    Raises:
        ValueError: The bytes are not as many as the format needs.
    """
    found = PIXEL_FORMATS[pixels]
    channels = 3 if found.layout in ("rgb", "bgr") else 1
    dtype: np.dtype[Any] = np.dtype("u1" if found.bits == 8 else "<u2")
    wanted = width * height * channels * dtype.itemsize
    if len(content) < wanted:
        raise ValueError(f"{len(content)} bytes; a frame of {width} x {height} px has {wanted}")
    values = np.frombuffer(content, dtype, width * height * channels)
    eight = _eight_bits(values.reshape(height, width, channels), scale)
    if found.layout == "mono":
        return np.repeat(eight, 3, axis=2)
    if found.layout == "rgb":
        return np.ascontiguousarray(eight)
    if found.layout == "bgr":
        return np.ascontiguousarray(eight[..., ::-1])
    return np.asarray(cv2.cvtColor(eight[..., 0], _DEMOSAIC[found.layout]), np.uint8)


def describe_rule(pixels: str, scale: PixelScale) -> str:
    """The rule in words, as outcomes record it."""
    layout = PIXEL_FORMATS[pixels].layout
    pattern = "" if layout in ("mono", "rgb", "bgr") else ", bilinear demosaicing"
    return f"{pixels}, {scale} to 0..255{pattern}"


def _eight_bits(values: npt.NDArray[np.unsignedinteger[Any]], scale: PixelScale) -> ImageArray:
    if (scale.black, scale.white) == (0, 255) and values.dtype == np.uint8:
        return values.astype(np.uint8, copy=False)
    levels = np.arange(np.iinfo(values.dtype).max + 1, dtype=np.float64)
    table = np.clip((levels - scale.black) * 255 / (scale.white - scale.black), 0, 255)
    rounded: ImageArray = np.rint(table).astype(np.uint8)[values]
    return rounded
