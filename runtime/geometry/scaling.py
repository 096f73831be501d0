"""Bringing an image to the size that is cut into tiles."""

import cv2
import numpy as np
from PIL import Image

from runtime.geometry.tile_axis import TileAxis
from runtime.images.decode import ImageArray


def padded(
    image: ImageArray, *, rows: TileAxis | None = None, columns: TileAxis | None = None
) -> ImageArray:
    """Repeat the image's border until it is as long along these axes as they say."""
    above, below = rows.padding if rows is not None else (0, 0)
    left, right = columns.padding if columns is not None else (0, 0)
    if not any((above, below, left, right)):
        return image
    return np.asarray(
        cv2.copyMakeBorder(image, above, below, left, right, cv2.BORDER_REPLICATE), np.uint8
    )


def resized(image: ImageArray, width: int, height: int) -> ImageArray:
    """The image at this width and height in px; itself if it has them."""
    if image.shape[:2] == (height, width):
        return image
    # Pillow, since OpenCV's bicubic does not antialias: small defects would flicker with pose.
    resized = Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(resized)
