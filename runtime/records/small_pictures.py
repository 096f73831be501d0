"""Small pictures of inspected parts, and their anomaly maps in grey."""

import cv2
import numpy as np

from runtime.geometry.region import AnomalyMap
from runtime.images.decode import ImageArray
from runtime.inspections.inspection import Inspection

PICTURE_PX = 1280
"""Pictures are halved until their longer side is shorter."""
FULL_HEAT = 2.0
"""Share of the pixel threshold at which the grey of a drawn anomaly map is full."""
_JPEG_QUALITY = 85
_LONGEST_JPEG_PX = 65_000
_ACCEPTED_A_SECOND = 5


class ShownParts:
    """Which parts get a picture: all that are not accepted, and a few accepted ones a second."""

    def __init__(self) -> None:
        self._accepted_from_s = 0.0

    def wants(self, inspection: Inspection, at_s: float) -> bool:
        """Whether a part gets one.

        Args:
            inspection: The part's.
            at_s: When it was, in seconds since 1970.
        """
        if inspection.verdict != "good":
            return True
        if at_s < self._accepted_from_s:
            return False
        self._accepted_from_s = max(self._accepted_from_s, at_s - 1) + 1 / _ACCEPTED_A_SECOND
        return True


def small_wh(width: int, height: int) -> tuple[int, int]:
    """Width and height in px of the small picture of an image."""
    while max(width, height) >= PICTURE_PX and min(width, height) > 1:
        width, height = width // 2, height // 2
    return width, height


def small_jpeg(image: ImageArray) -> bytes:
    """A small picture of an (H, W, 3) uint8 RGB image; empty where it is too long for a JPEG."""
    # Halves are means of four pixels, which OpenCV finds ten times as fast as those of other parts.
    while max(image.shape[:2]) >= PICTURE_PX and min(image.shape[:2]) > 1:
        height, width = image.shape[0] // 2, image.shape[1] // 2
        even = image[: 2 * height, : 2 * width]
        image = np.asarray(cv2.resize(even, (width, height), interpolation=cv2.INTER_AREA))
    if max(image.shape[:2]) > _LONGEST_JPEG_PX:
        return b""
    quality = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), quality)
    return bytes(encoded.tobytes())


def heat_png(anomaly_map: AnomalyMap, size_wh: tuple[int, int], pixel_threshold: float) -> bytes:
    """An anomaly map in grey, as a PNG file.

    Args:
        anomaly_map: (H, W) float32.
        size_wh: Width and height of the picture in px.
        pixel_threshold: The product's.
    """
    small = cv2.resize(anomaly_map, size_wh, interpolation=cv2.INTER_AREA)
    strength = np.clip(small / (FULL_HEAT * max(pixel_threshold, 1e-12)), 0, 1)
    _, encoded = cv2.imencode(".png", (strength * 255).astype(np.uint8))
    return bytes(encoded.tobytes())
