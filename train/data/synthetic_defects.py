"""Defects of known size with exact masks, put into a finished picture of a part."""

import math
from bisect import bisect_right
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from runtime.errors import OptionError

DEFECT_KINDS = ("speck", "scratch", "dent", "stain")
# The smallest and largest size in px at which each kind still looks like what it is called.
DEFECT_SIZES = {"speck": (3, 24), "scratch": (12, 200), "dent": (8, 120), "stain": (16, 200)}
# Each pixel of a mask differs from the good image by so many of 255 levels in some colour.
MIN_CHANGE = 5

_Array = npt.NDArray[Any]  # float64
_Window = tuple[slice, slice]


@dataclass(frozen=True)
class Defect:
    """A defect to draw; a kind or size that makes no sense raises an OptionError.

    Attributes:
        kind: One of `DEFECT_KINDS`.
        size_px: Longest extent in px, as `longest_extent` measures it, within `DEFECT_SIZES`.
    """

    kind: str
    size_px: int

    def __post_init__(self) -> None:
        if self.kind not in DEFECT_SIZES:
            raise OptionError(f"unknown defect kind {self.kind!r}; use one of {DEFECT_KINDS}")
        low, high = DEFECT_SIZES[self.kind]
        if type(self.size_px) is not int or not low <= self.size_px <= high:
            raise OptionError(
                f"size_px={self.size_px!r} does not suit a {self.kind}; "
                f"give a whole number of px from {low} to {high}"
            )


def longest_extent(mask: npt.NDArray[np.bool_]) -> float:
    """Measures a mask where it is longest, in any direction.

    Args:
        mask: bool, (H, W).

    Returns:
        The largest distance between the centres of two True pixels, plus one, in px; 0.0 if none.
    """
    points = cv2.findNonZero(mask.astype(np.uint8))
    if points is None:
        return 0.0
    hull = cv2.convexHull(points)[:, 0].astype(np.float64)
    return float(np.hypot(*(hull[:, None] - hull).transpose(2, 0, 1)).max()) + 1


def add_defect(
    rng: np.random.Generator,
    defect: Defect,
    image: npt.NDArray[np.uint8],
    mask: npt.NDArray[np.bool_],
    free: npt.NDArray[np.bool_],
    light: float,
) -> None:
    """Change the picture, mark the mask and take the place out of the free surface, all in place.

    Args:
        rng: Decides shape and place.
        defect: What to draw.
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) bool, True on defects.
        free: (H, W) bool, True where a defect may lie.
        light: Where the light comes from, in rad.

    Raises:
        OptionError: The defect does not fit on the free surface.
    """
    for _ in range(8):  # A long shape may fit another way round.
        gauge, side = _outline(rng, defect)
        level = _level(gauge, defect.size_px)
        left, top, width, height = cv2.boundingRect((gauge <= level).astype(np.uint8))
        crop = slice(top, top + height), slice(left, left + width)
        shape = gauge[crop] <= level
        place = _find_place(rng, shape, free)
        if place is not None:
            break
    else:
        rows, columns = free.shape
        raise OptionError(
            f"a {defect.kind} of {defect.size_px} px does not fit on what is free of the part in "
            f"an image of {columns} x {rows} px; ask for a smaller one, fewer, or a larger image"
        )
    depth = 1 - np.minimum(gauge[crop], level) / level
    good = image[place].astype(np.float64)
    changed = _changed(rng, defect.kind, good, depth, side[crop], light)
    image[place][shape] = changed[shape].astype(np.uint8)
    mask[place] |= shape
    taken = cv2.dilate(mask.astype(np.uint8), np.ones((7, 7), np.uint8))
    free &= taken == 0


def _waves(rng: np.random.Generator, x: _Array, orders: range, roughness: float) -> _Array:
    """A smooth random curve over x, of period tau."""
    total = np.zeros_like(x)
    for k in orders:
        total += rng.normal() * roughness / k**1.3 * np.sin(k * x + rng.uniform(0, math.tau))
    return total


def _outline(rng: np.random.Generator, defect: Defect) -> tuple[_Array, _Array]:
    """Draws a shape as a gauge, (N, N): at level t the shape is where the gauge is at most t.

    Beside it comes each pixel's angle in rad or, for a scratch, its place across, -1 to 1.
    """
    reach = math.ceil(0.75 * defect.size_px) + 3
    axis = np.arange(-reach, reach + 1)
    x, y = np.meshgrid(axis + rng.uniform(-0.5, 0.5), axis + rng.uniform(-0.5, 0.5))
    turn = rng.uniform(0, math.pi)
    x, y = x * math.cos(turn) + y * math.sin(turn), y * math.cos(turn) - x * math.sin(turn)
    if defect.kind == "scratch":
        along = 2 * x / defect.size_px
        bow = rng.uniform(-0.06, 0.06) * along**2 + _waves(rng, along, range(2, 5), 0.012)
        width = np.exp(_waves(rng, 2 * along, range(1, 9), 0.3))
        width *= min(3.2, 1.2 + 0.01 * defect.size_px) * np.sqrt(np.clip(1.05 - along**2, 0, 1))
        across = (y - bow * defect.size_px) / np.maximum(width, 1.0)
        return np.where(np.abs(across) < 1, np.abs(along), np.inf), across
    rough, stretch = {"speck": (0.2, 1.4), "dent": (0.07, 1.2), "stain": (0.28, 1.5)}[defect.kind]
    theta = np.arctan2(y, x)
    radius = np.exp(_waves(rng, theta, range(2, 9), rough))
    return np.hypot(x, y * rng.uniform(1, stretch)) / radius, theta + turn


def _level(gauge: _Array, size_px: int) -> float:
    """The level at which the shape's longest extent is the size; a level adds about one pixel."""
    levels = np.unique(gauge[np.isfinite(gauge)]).tolist()
    fitting = bisect_right(levels, size_px + 0.5, key=lambda t: longest_extent(gauge <= t))
    return float(levels[fitting - 1])


def _changed(
    rng: np.random.Generator, kind: str, good: _Array, depth: _Array, side: _Array, light: float
) -> _Array:
    """What a defect makes of good pixels, (H, W, 3) of 0 to 255; depth is 0 at the rim, 1 inside.

    The change fades towards the rim, as focus would have it, but never quite to nothing.
    """
    glaring = good.mean() > 185  # There a bright mark would not show.
    changed: _Array
    if kind == "speck":
        colour = np.array([44, 38, 34] if glaring or rng.random() < 0.7 else [232, 230, 224])
        changed = good + (colour - good) * (0.15 + 0.75 * np.clip(depth * 1.8, 0, 1)[..., None])
    elif kind == "scratch":
        burr, groove = np.exp(-5 * (side + 0.15) ** 2), np.exp(-9 * (side - 0.75) ** 2)
        changed = good * (1 - 0.35 * groove[..., None]) + (-78 if glaring else 78) * burr[..., None]
    elif kind == "dent":
        wall = np.sin(math.pi * (1 - depth) ** 1.5)
        facing = -np.cos(side - light) * wall
        changed = good * (1 - 0.06 * depth + 0.42 * facing)[..., None]
    else:
        tint = np.array([0.72, 0.64, 0.50] if rng.random() < 0.6 else [0.58, 0.63, 0.69])
        cloudy = cv2.resize(rng.random((5, 5)), good.shape[1::-1], interpolation=cv2.INTER_CUBIC)
        # A drying drop leaves most of its load near the rim.
        ring = np.exp(-(((depth - 0.12) / 0.09) ** 2)) * (0.05 + 0.55 * cloudy)
        amount = 0.12 + np.clip(depth * 6, 0, 1) * (0.2 + 0.4 * cloudy) + ring
        changed = good * (1 + (tint - 1) * amount[..., None])
    changed = np.clip(np.rint(changed), 0, 255)
    weak = np.abs(changed - good).max(axis=2) < MIN_CHANGE
    # In blue alone, where the eye is dullest: in all three colours a seam would show.
    blue = good[weak, 2]
    changed[weak, 2] = blue + np.where(blue < 128, MIN_CHANGE, -MIN_CHANGE)
    return changed


def _find_place(
    rng: np.random.Generator, shape: npt.NDArray[np.bool_], free: npt.NDArray[np.bool_]
) -> _Window | None:
    room = [f - s + 1 for f, s in zip(free.shape, shape.shape, strict=True)]
    if min(room) < 1:
        return None
    for top, left in rng.integers(0, room, (200, 2)).tolist():
        place = slice(top, top + shape.shape[0]), slice(left, left + shape.shape[1])
        if not (shape & ~free[place]).any():
            return place
    return None
