"""The report's pictures, made while the images pass by: a thumbnail of each, and the worst cases.

Only encoded pictures are kept, never maps or images.
"""

import heapq
import io
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from PIL import Image

from benchmarks.evaluation.metrics.components import Component
from benchmarks.evaluation.metrics.results import ImageResult
from runtime.geometry.region import AnomalyMap, Region
from runtime.images.decode import ImageArray
from runtime.inspections.inspection import Inspection
from runtime.inspections.overlay import lay_heat_over
from train.data.dataset import Sample

WORST_CASES = 10
GALLERY_LIMIT = 1000
_THUMBNAIL_WIDTH_PX = 260
_CASE_WIDTH_PX = 480
_CLOSE_UP_SIDE_PX = 320
# Pictures of tall images are at most so many times as high as those of others are wide.
_HIGHEST_SHARE = 1.5
# The close-up's side as a share of the image's shorter side, and at least so many px.
_CLOSE_UP_SHARE, _CLOSE_UP_LEAST_PX = 0.16, 96
_DEFECT_COLOUR, _REGION_COLOUR = (0, 229, 255), (255, 255, 255)


@dataclass(frozen=True, kw_only=True, order=True)
class WorstCase:
    """An image that was judged wrongly.

    Attributes:
        badness: How far the score lies on the wrong side of the threshold, as a share of it.
        row: The image's result.
        panels: Three pictures: the image with the true defects framed; its heat map with the
            regions framed; a close-up of the largest defect, or of the highest value where there
            is none. The heat's colours reach up to the image's own highest value.
    """

    badness: float
    row: ImageResult = field(compare=False)
    panels: tuple[bytes, ...] = field(compare=False, repr=False)


@dataclass(frozen=True, kw_only=True)
class Thumbnail:
    """An image beside its heat map.

    Attributes:
        row: The image's result.
        jpeg: The picture.
    """

    row: ImageResult
    jpeg: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Trait:
    """Where an image shows what is looked for.

    Attributes:
        border_share: Distance of the largest defect, or of the map's highest value where there is
            none, from the image's border, as a share of the shorter side.
        size_px: Pixels of the largest defect; None where there is none.
    """

    border_share: float
    size_px: int | None

    @classmethod
    def of(cls, anomaly_map: AnomalyMap, components: Sequence[Component]) -> "Trait":
        """The trait of an (H, W) map, and of the defects in it."""
        height, width = anomaly_map.shape
        row, column = _point_of_interest(anomaly_map, components)
        border_px = min(row, column, height - 1 - row, width - 1 - column)
        sizes = [component.size_px for component in components]
        return cls(border_share=border_px / min(height, width), size_px=max(sizes, default=None))


class PictureBook:
    """Collects pictures of a test set.

    Attributes:
        traits: Of each image, by name.
        thumbnails: Of all images up to a limit; those judged wrongly are never left out.
        left_out: How many right ones were, beyond the limit.
    """

    def __init__(self) -> None:
        self.thumbnails: list[Thumbnail] = []
        self.left_out = 0
        self.traits: dict[str, Trait] = {}
        self._worst: dict[bool, list[WorstCase]] = {True: [], False: []}

    @property
    def misses(self) -> list[WorstCase]:
        """Defective images judged good, the worst first."""
        return sorted(self._worst[True], reverse=True)

    @property
    def false_alarms(self) -> list[WorstCase]:
        """Good images judged defective, the worst first."""
        return sorted(self._worst[False], reverse=True)

    def add(
        self,
        sample: Sample,
        inspection: Inspection,
        row: ImageResult,
        components: Sequence[Component],
    ) -> None:
        """Draw what this image needs.

        Args:
            sample: The image.
            inspection: Its inspection, with the anomaly map.
            row: Its result.
            components: The defects in it.
        """
        assert inspection.anomaly_map is not None
        self.traits[row.name] = Trait.of(inspection.anomaly_map, components)
        badness = abs(inspection.score - inspection.threshold) / max(inspection.threshold, 1e-12)
        worst = self._worst[row.is_defective]
        is_worst = not row.is_right and (len(worst) < WORST_CASES or badness > worst[0].badness)
        if row.is_right and len(self.thumbnails) >= GALLERY_LIMIT:
            self.left_out += 1
            return
        pixels = sample.pixels()
        small = _panels(
            pixels,
            inspection,
            components,
            width_px=_THUMBNAIL_WIDTH_PX,
            full_heat_at=1.5 * inspection.pixel_threshold,
        )
        self.thumbnails.append(Thumbnail(row=row, jpeg=_to_jpeg(np.hstack(small), quality=72)))
        if is_worst:
            panels = _draw_case(pixels, inspection, components)
            case = WorstCase(
                badness=badness,
                row=row,
                panels=tuple(_to_jpeg(panel, quality=82) for panel in panels),
            )
            heapq.heappush(worst, case)
            if len(worst) > WORST_CASES:
                heapq.heappop(worst)


def _draw_case(
    pixels: ImageArray, inspection: Inspection, components: Sequence[Component]
) -> tuple[ImageArray, ...]:
    assert inspection.anomaly_map is not None
    whole, heat = _panels(
        pixels,
        inspection,
        components,
        width_px=_CASE_WIDTH_PX,
        full_heat_at=float(inspection.anomaly_map.max()),
    )
    row, column = _point_of_interest(inspection.anomaly_map, components)
    height, width = pixels.shape[:2]
    side = min(max(round(_CLOSE_UP_SHARE * min(height, width)), _CLOSE_UP_LEAST_PX), height, width)
    top = int(np.clip(row - side // 2, 0, height - side))
    left = int(np.clip(column - side // 2, 0, width - side))
    part = pixels[top : top + side, left : left + side]
    size = (_CLOSE_UP_SIDE_PX, _CLOSE_UP_SIDE_PX)
    close_up = np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_CUBIC), np.uint8)
    scale = _CLOSE_UP_SIDE_PX / side
    for component in components:
        _frame(close_up, component, scale=scale, colour=_DEFECT_COLOUR, offset=(left, top))
    return whole, heat, close_up


def _point_of_interest(anomaly_map: AnomalyMap, components: Sequence[Component]) -> tuple[int, int]:
    if components:
        largest = max(components, key=lambda component: component.size_px)
        return largest.y_px + largest.height_px // 2, largest.x_px + largest.width_px // 2
    row, column = np.unravel_index(int(np.argmax(anomaly_map)), anomaly_map.shape)
    return int(row), int(column)


def _panels(
    pixels: ImageArray,
    inspection: Inspection,
    components: Sequence[Component],
    *,
    width_px: int,
    full_heat_at: float,
) -> tuple[ImageArray, ImageArray]:
    """The image with its true defects framed, and its heat map with the regions framed."""
    assert inspection.anomaly_map is not None
    height, width = pixels.shape[:2]
    scale = min(width_px / width, _HIGHEST_SHARE * width_px / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    whole = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    shrunk = cv2.resize(inspection.anomaly_map, size, interpolation=cv2.INTER_AREA)
    small_map = np.asarray(shrunk, np.float32)
    # `lay_heat_over` is full at one and a half times the value that it is given.
    heat = lay_heat_over(whole, small_map, full_heat_at / 1.5)
    whole = whole.copy()
    for component in components:
        _frame(whole, component, scale=scale, colour=_DEFECT_COLOUR)
    for region in inspection.regions:
        _frame(heat, region, scale=scale, colour=_REGION_COLOUR)
    return whole, heat


def _frame(
    picture: ImageArray,
    box: Component | Region,
    *,
    scale: float,
    colour: tuple[int, int, int],
    offset: tuple[int, int] = (0, 0),
) -> None:
    """A frame with a margin, so that it does not hide what is tiny."""
    x_px, y_px = box.x_px - offset[0], box.y_px - offset[1]
    left, top = round(x_px * scale) - 3, round(y_px * scale) - 3
    right = round((x_px + box.width_px) * scale) + 3
    bottom = round((y_px + box.height_px) * scale) + 3
    cv2.rectangle(picture, (left, top), (right, bottom), colour, 1)


def _to_jpeg(picture: ImageArray, *, quality: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
