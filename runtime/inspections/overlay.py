"""Pictures of inspections: the image beside its heat map, regions, verdict and score."""

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from runtime.geometry.region import AnomalyMap
from runtime.images.decode import ImageArray
from runtime.inspections.inspection import Inspection

_COLOURS = {"good": (31, 122, 77), "review": (191, 120, 0), "defective": (178, 34, 34)}
_INK = (255, 255, 255)
_PANEL_WIDTH_PX = 750


def draw_inspection(
    image: ImageArray, inspection: Inspection, *, title: str, panel_width_px: int = _PANEL_WIDTH_PX
) -> ImageArray:
    """The image on the left, the same with the heat map on the right, the verdict above.

    Args:
        image: (H, W, 3) uint8 RGB, the inspected one.
        inspection: Its inspection, with the anomaly map.
        title: What stands beside the verdict, usually the image's name.
        panel_width_px: Width of each of the two pictures; those of tall images are narrower.

    Returns:
        (h, 2 * panel_width_px, 3) uint8 RGB.

    Raises:
        ValueError: The inspection has no map.
    """
    if inspection.anomaly_map is None:
        raise ValueError("the inspection has no anomaly map; inspect with want_map=True")
    # A tall image gets a narrower panel: a JPEG has at most 65,500 px a side.
    height, width = image.shape[:2]
    panel_width_px = max(1, min(panel_width_px, round(2 * panel_width_px * width / height)))
    scale = panel_width_px / width
    heat = lay_heat_over(image, inspection.anomaly_map, inspection.pixel_threshold)
    panels = np.hstack([_shrink(image, panel_width_px), _shrink(heat, panel_width_px)])
    banner_height = max(18, panel_width_px // 14)
    canvas = Image.new("RGB", (panels.shape[1], panels.shape[0] + banner_height))
    canvas.paste(Image.fromarray(panels), (0, banner_height))
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((0, 0, canvas.width, banner_height), fill=_COLOURS[inspection.verdict])
    font = ImageFont.load_default(size=banner_height * 0.5)
    text = (
        f"{inspection.verdict.upper()}   score {inspection.score:.4f}   "
        f"threshold {inspection.threshold:.4f}   {title}"
    )
    draw.text((banner_height * 0.4, banner_height / 2), text, _INK, font=font, anchor="lm")
    for region in inspection.regions:
        left = panel_width_px + region.x_px * scale
        top = banner_height + region.y_px * scale
        right, bottom = left + region.width_px * scale, top + region.height_px * scale
        # A margin, so that the frame of a tiny region does not hide it.
        draw.rectangle((left - 4, top - 4, right + 4, bottom + 4), outline=_INK, width=2)
    return np.asarray(canvas)


def lay_heat_over(image: ImageArray, anomaly_map: AnomalyMap, pixel_threshold: float) -> ImageArray:
    """The image with its anomaly map as transparent heat.

    Heat begins at half the pixel threshold and is full at one and a half times it, the same in all
    pictures of a product, so that a good part does not glow.

    Args:
        image: (H, W, 3) uint8 RGB.
        anomaly_map: (H, W) float32.
        pixel_threshold: The product's.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    colours, opacity = heat_colours(anomaly_map / max(pixel_threshold, 1e-12))
    blended: ImageArray = (image * (1 - opacity) + colours * opacity).astype(np.uint8)
    return blended


def heat_colours(relative_map: AnomalyMap) -> tuple[ImageArray, AnomalyMap]:
    """Colours and opacity of the heat.

    Args:
        relative_map: (H, W) float32, the anomaly map as a share of the pixel threshold.

    Returns:
        (H, W, 3) uint8 RGB, and (H, W, 1) float32 from 0 to 1.
    """
    strength = np.clip(relative_map - 0.5, 0, 1).astype(np.float32)
    bgr = cv2.applyColorMap((strength * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    colours = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
    return colours, np.minimum(strength * 2, np.float32(0.75))[..., None]


def _shrink(image: ImageArray, width_px: int) -> ImageArray:
    height_px = max(1, round(image.shape[0] * width_px / image.shape[1]))
    resized = cv2.resize(image, (width_px, height_px), interpolation=cv2.INTER_AREA)
    return np.asarray(resized, np.uint8)
