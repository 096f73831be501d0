"""An area that somebody draws: its polygons as text, and the tiles that are left to look at."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from runtime.errors import OptionError
from runtime.geometry.area import MAX_CORNERS, InspectionArea, Point, Polygon
from runtime.geometry.tile_axis import TileAxis
from runtime.products.card import ProductCard

_MOST_POLYGONS = 100
_CORNER = re.compile(r"(-?\d+(?:\.\d+)?),(-?\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class Tile:
    """What one input of the network shows of the image, in px.

    Attributes:
        x_px: Left edge.
        y_px: Top edge.
        width_px: Width.
        height_px: Height.
        is_looked_at: Whether it is inspected.
    """

    x_px: float
    y_px: float
    width_px: float
    height_px: float
    is_looked_at: bool


def read_polygons(text: str, name: str) -> tuple[Polygon, ...]:
    """Read polygons, a line each, such as 10,20 200,20 200,90.

    Args:
        text: What was typed or drawn.
        name: What to call them in an error.

    Raises:
        OptionError: A corner cannot be read, or there are too many.
    """
    lines = [line.split() for line in text.splitlines() if line.strip()]
    if len(lines) > _MOST_POLYGONS or any(len(corners) > MAX_CORNERS for corners in lines):
        raise OptionError(
            f"{name} has too much; expected at most {_MOST_POLYGONS} polygons of at most "
            f"{MAX_CORNERS} corners"
        )
    return tuple(tuple(_corner(corner, name) for corner in corners) for corners in lines)


def write_polygons(polygons: Sequence[Polygon]) -> str:
    """The text that `read_polygons` reads."""
    return "\n".join(
        " ".join(f"{x_px:g},{y_px:g}" for x_px, y_px in polygon) for polygon in polygons
    )


def area_of(
    include: Sequence[Polygon], ignore: Sequence[Polygon], *, image_wh: tuple[int, int]
) -> InspectionArea | None:
    """The area of polygons; None, which is everywhere, if there are none.

    Raises:
        OptionError: A polygon cannot be, or they leave nothing to look at.
    """
    if not include and not ignore:
        return None
    return InspectionArea(image_wh=image_wh, include=tuple(include), ignore=tuple(ignore))


def tiles_of(
    card: ProductCard, area: InspectionArea | None, *, image_wh: tuple[int, int]
) -> list[Tile]:
    """What the network's inputs show of an image, and which of them are left to look at.

    Raises:
        BadImageError: The product does not look at images of this size.
    """
    width, height = image_wh
    geometry = card.geometry.for_image(height, width, area=area)
    rows = _spans(geometry.rows, card.geometry.patch_size)
    columns = _spans(geometry.columns, card.geometry.patch_size)
    looked_at = set(geometry.places)
    return [
        Tile(left, top, right - left, bottom - top, (row, column) in looked_at)
        for row, (top, bottom) in enumerate(rows)
        for column, (left, right) in enumerate(columns)
    ]


def _corner(text: str, name: str) -> Point:
    found = _CORNER.fullmatch(text)
    if found is None:
        raise OptionError(
            f"{name} has the corner {text!r}; expected x,y in px, such as 10,20, with a blank "
            "between corners and a line for each polygon"
        )
    return float(found[1]), float(found[2])


def _spans(axis: TileAxis, patch_size: int) -> list[tuple[float, float]]:
    """Where each tile begins and ends, in px of the image."""
    pixels_per_scaled = axis.padded_length / axis.scaled_length

    def in_image(scaled: float) -> float:
        inside = (scaled - axis.edge_before) * pixels_per_scaled - axis.padding_before
        return min(max(inside, 0.0), float(axis.length))

    return [
        (in_image(first * patch_size), in_image((first + axis.tile_patches) * patch_size))
        for first in axis.origins
    ]
