"""Where a product is looked at: polygons that include, and polygons that are ignored."""

import itertools
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from runtime.errors import BadImageError, OptionError
from runtime.images.decode import MAX_PIXELS, MAX_SIDE_PX
from runtime.storage.json_files import read_json

Point = tuple[float, float]
Polygon = tuple[Point, ...]

# Each side is held against each other one.
MAX_CORNERS = 2_000


@dataclass(frozen=True, kw_only=True)
class InspectionArea:
    """The part of an image that counts.

    Attributes:
        image_wh: Width and height in px of the images that the polygons are drawn on; others are
            refused.
        include: Polygons of (x, y) corners in px; the whole image if there is none.
        ignore: Polygons that are taken out of it.
    """

    image_wh: tuple[int, int]
    include: tuple[Polygon, ...] = ()
    ignore: tuple[Polygon, ...] = ()

    def __post_init__(self) -> None:
        width, height = self.image_wh
        # Before a mask of this size is drawn.
        smallest, largest = sorted(self.image_wh)
        if smallest < 1 or largest > MAX_SIDE_PX or width * height > MAX_PIXELS:
            raise OptionError(
                f"image_wh is {self.image_wh}; expected a width and a height in px that an image "
                f"can have: 1 to {MAX_SIDE_PX}, and {MAX_PIXELS} pixels at most"
            )
        for name, polygons in (("include", self.include), ("ignore", self.ignore)):
            for number, polygon in enumerate(polygons):
                self._check(polygon, f"{name} polygon {number}")
        if ignored_pixels(self).all():
            raise OptionError(
                "the area leaves no pixel to look at; draw smaller ignore polygons, or larger "
                "include polygons"
            )

    @classmethod
    def read(cls, path: Path) -> "InspectionArea":
        """Read an area from a JSON file.

        Raises:
            ModelError: The file is missing, or an entry is missing or wrong.
        """
        return read_json(path, cls)

    def describe(self) -> str:
        """In words, for people."""
        width, height = self.image_wh
        share = 1 - float(ignored_pixels(self).mean())
        return (
            f"looked at {share:.1%} of images of {width} x {height} px, by {len(self.include)} "
            f"include and {len(self.ignore)} ignore polygons"
        )

    def ignored(self, height: int, width: int) -> npt.NDArray[np.bool_]:
        """(H, W) bool, True where an image of this size is not looked at.

        Raises:
            BadImageError: The polygons are drawn on images of another size.
        """
        if (width, height) != self.image_wh:
            raise BadImageError(
                f"the image is {width} x {height} px, and the product's area is drawn on images of "
                f"{self.image_wh[0]} x {self.image_wh[1]} px"
            )
        return ignored_pixels(self)

    def _check(self, polygon: Polygon, name: str) -> None:
        width, height = self.image_wh
        if not 3 <= len(polygon) <= MAX_CORNERS:
            raise OptionError(
                f"{name} has {len(polygon)} corners; expected at least 3, and {MAX_CORNERS} at most"
            )
        for x_px, y_px in polygon:
            if not (0 <= x_px <= width and 0 <= y_px <= height):
                raise OptionError(
                    f"{name} has the corner ({x_px:g}, {y_px:g}) outside the image of {width} x "
                    f"{height} px"
                )
        sides = list(zip(polygon, (*polygon[1:], polygon[0]), strict=True))
        for one, other in itertools.combinations(sides, 2):
            if _cross(*one, *other):
                raise OptionError(
                    f"{name} crosses itself at the sides {one} and {other}; draw it as several"
                )


@lru_cache(maxsize=8)
def ignored_pixels(area: InspectionArea) -> npt.NDArray[np.bool_]:
    """(H, W) bool of images of the area's size; kept for the next image."""
    width, height = area.image_wh
    looked_at = np.full((height, width), not area.include)
    for polygon in area.include:
        looked_at |= _inside(polygon, height, width)
    for polygon in area.ignore:
        looked_at &= ~_inside(polygon, height, width)
    ignored = ~looked_at
    ignored.flags.writeable = False
    return ignored


def _inside(polygon: Polygon, height: int, width: int) -> npt.NDArray[np.bool_]:
    """(H, W) bool, True for pixels whose centre lies in the polygon.

    Each side toggles what lies right of it, so that an odd number of sides is inside.
    """
    toggles = np.zeros((height, width + 1), np.bool_)
    for (x_one, y_one), (x_two, y_two) in zip(polygon, (*polygon[1:], polygon[0]), strict=True):
        top, bottom = sorted((y_one, y_two))
        rows = np.arange(math.ceil(top - 0.5), math.ceil(bottom - 0.5))
        if rows.size:
            x_px = x_one + (rows + 0.5 - y_one) * (x_two - x_one) / (y_two - y_one)
            columns = np.clip(np.ceil(x_px - 0.5).astype(np.int64), 0, width)
            toggles[rows, columns] ^= True
    return np.logical_xor.accumulate(toggles, axis=1)[:, :width]


def _cross(a: Point, b: Point, c: Point, d: Point) -> bool:
    """Whether two sides have a point in common that is no corner of both."""
    if a in (c, d) or b in (c, d):
        return False
    return _turns(a, b, c) != _turns(a, b, d) and _turns(c, d, a) != _turns(c, d, b)


def _turns(a: Point, b: Point, c: Point) -> float:
    """1 where a, b, c turn left, -1 where they turn right, 0 on a line."""
    product = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    return math.copysign(1, product) if product else 0.0
