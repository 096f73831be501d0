"""An image for measurements: neither empty nor pure noise, which codecs and scores are made for."""

import io

import cv2
import numpy as np
from PIL import Image

from runtime.images.decode import ImageArray

_JPEG_QUALITY = 95


def draw_image(height: int, width: int, seed: int = 0) -> ImageArray:
    """An (H, W, 3) uint8 image: soft colours, a little noise, and a few spots of much noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(40, 215, (12, 12, 3)).astype(np.float32)
    smooth = np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), float)
    side = max(1, min(height, width) // 20)
    rows, columns = rng.integers(0, height - side, 4), rng.integers(0, width - side, 4)
    for row, column in zip(rows, columns, strict=True):
        spot = np.s_[row : row + side, column : column + side]
        smooth[spot] += rng.normal(0, 40, smooth[spot].shape)
    noisy = smooth + rng.normal(0, 2, smooth.shape)
    pixels: ImageArray = np.clip(noisy, 0, 255).astype(np.uint8)
    return pixels


def encode(image: ImageArray, kind: str = "JPEG") -> bytes:
    """The bytes of an image file: "JPEG" or "PNG"."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, quality=_JPEG_QUALITY)
    return buffer.getvalue()
