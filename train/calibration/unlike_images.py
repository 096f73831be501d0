"""Good images that look least like the others: perhaps they are not good."""

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from runtime.geometry.region import AnomalyMap
from runtime.images.decode import ImageArray
from runtime.inspections.overlay import lay_heat_over
from runtime.products.unlike import unlike_bound

MOST_SHOWN = 8
_PANEL_WIDTH_PX = 480
PICTURE_NAME = "unlike.jpg"


def find_unlike(scores: Sequence[float]) -> tuple[int, ...]:
    """Numbers of the images whose score is unlike the others', the highest first.

    Args:
        scores: Of good images, by students that were not trained on them.
    """
    bound = unlike_bound(scores)
    order = np.argsort(scores)[::-1]
    return tuple(int(one) for one in order if scores[one] > bound)


def draw_unlike(
    images: Sequence[tuple[str, ImageArray, AnomalyMap, float]], *, pixel_threshold: float
) -> ImageArray:
    """The images that stand out, each beside its heat map.

    Args:
        images: Name, pixels, anomaly map and score of each; of at least one.
        pixel_threshold: Of the product, from which heat begins.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    rows = [
        np.hstack([_panel(pixels), _panel(lay_heat_over(pixels, anomaly_map, pixel_threshold))])
        for _, pixels, anomaly_map, _ in images
    ]
    banners = [_banner(f"{name}   score {score:.4g}", rows[0]) for name, _, _, score in images]
    return np.vstack([part for pair in zip(banners, rows, strict=True) for part in pair])


def _panel(image: ImageArray) -> ImageArray:
    height_px = max(1, round(_PANEL_WIDTH_PX * image.shape[0] / image.shape[1]))
    resized = cv2.resize(image, (_PANEL_WIDTH_PX, height_px), interpolation=cv2.INTER_AREA)
    return np.asarray(resized, np.uint8)


def _banner(text: str, row: ImageArray) -> ImageArray:
    canvas = Image.new("RGB", (row.shape[1], 28), (32, 32, 32))
    font = ImageFont.load_default(size=15)
    ImageDraw.Draw(canvas).text((8, 14), text, (255, 255, 255), font=font, anchor="lm")
    return np.asarray(canvas)
