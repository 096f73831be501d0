"""Photographs of a made-up industrial product, drawn from a seed, with exact defect masks.

The product is an index plate on blue felt: brushed aluminium, a turned flange with a brass bush,
sunk screws and engraved scales. Pose, light, focus, sensor noise and every grain of texture
follow from the seed; a defect changes the finished picture, and only inside its mask.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from runtime.errors import OptionError
from train.data.synthetic_defects import Defect, add_defect

# The smallest height and width in px: below it the screws are a blur.
MIN_IMAGE_SIDE = 64

_Array = npt.NDArray[Any]  # float32
_Point = tuple[float, float]
_Window = tuple[slice, slice]

# The drawing: one unit is one px of a 1500 x 1000 image, the origin is the plate's centre.
_PLATE_HALF = (612.0, 402.0)
_PLATE_CORNER = 34.0
_BEVEL = 13.0
_FLANGE = (-268.0, -14.0)
_BORE_RADIUS = 66.0
_BUSH_RADIUS = 101.0
_BOLTS = range(30, 360, 60)  # degrees on the flange
_SCREWS = tuple((x, y) for x in (-546.0, 546.0) for y in (-336.0, 336.0))
# Turned shapes from the middle out: (radius, height, brightness).
_FLANGE_SHAPE = (
    *((66, -9, 1.0), (76, -1, 1.0), (77, 0, 1.0), (99, 0, 1.0), (101, -3, 0.35), (104, -3, 0.35)),
    *((106, -6, 1.0), (112, -6, 1.0), (113, -7, 1.0), (193, -7, 1.0), (206, 0, 1.0)),
)
_BOLT_SHAPE = ((8, -4, 0.1), (9.5, -4, 0.45), (14, 0, 0.8), (15, 0, 1.0))
_SCREW_SHAPE = ((26, -5, 0.85), (28.5, -7, 0.25), (30, -7, 0.25), (31, -6, 0.95), (37, 0, 0.85))

_GAUSSIAN = np.array([NormalDist().inv_cdf((i + 0.5) / 256) for i in range(256)], np.float32)


@dataclass(frozen=True)
class DrawnProduct:
    """A picture and the truth about it.

    Attributes:
        image: uint8 RGB, (height, width, 3).
        mask: bool, (height, width); True exactly where a defect changed the part.
    """

    image: npt.NDArray[np.uint8]
    mask: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class _Scene:
    """How one picture was taken; `u` and `v` are each pixel's place on the drawing."""

    rng: np.random.Generator
    shape: tuple[int, int]
    px: float  # per unit of the drawing
    to_image: npt.NDArray[np.float64]
    u: _Array
    v: _Array
    light: float  # where it comes from, rad in the image


def draw_product(
    seed: int, *, height: int = 1000, width: int = 1500, defects: Sequence[Defect] = ()
) -> DrawnProduct:
    """Draws one photograph of the product, scaled to the image.

    Away from the mask the picture is the good picture of the same seed, byte for byte.

    Args:
        seed: Not negative; the same seed and arguments give the same bytes.
        height: Image height in px, at least `MIN_IMAGE_SIDE`.
        width: Image width in px, at least `MIN_IMAGE_SIDE`.
        defects: Defects to put on the plate, apart from each other, where the seed decides.

    Returns:
        The image, uint8 RGB (height, width, 3), and its mask, bool (height, width).

    Raises:
        OptionError: If the seed or the image size is out of range, or a defect does not fit.
    """
    if seed < 0:
        raise OptionError(f"seed must be 0 or more, got {seed}")
    if min(height, width) < MIN_IMAGE_SIDE:
        raise OptionError(
            f"height and width must be {MIN_IMAGE_SIDE} px or more: {height}, {width}"
        )
    scene = _take_up_pose(seed, height, width)
    drawn = DrawnProduct(_photograph(scene), np.zeros((height, width), np.bool_))
    if defects:
        free = _free_surface(scene)
        # The largest has the fewest places to go, so it chooses first.
        for index in sorted(range(len(defects)), key=lambda i: -defects[i].size_px):
            rng = np.random.default_rng((seed, 1 + index))
            add_defect(rng, defects[index], drawn.image, drawn.mask, free, scene.light)
    return drawn


def _take_up_pose(seed: int, height: int, width: int) -> _Scene:
    rng = np.random.default_rng((seed, 0))
    px = min(height / 1000, width / 1500) * rng.uniform(0.985, 1.015)
    angle = math.radians(rng.uniform(-1.5, 1.5))
    cx, cy = (np.array([width - 1, height - 1]) / 2 + rng.uniform(-7, 7, 2) * px).tolist()
    c, s = math.cos(angle), math.sin(angle)
    to_image = np.array([[px * c, -px * s, cx], [px * s, px * c, cy]])
    x = ((np.arange(width) - cx) / px).astype(np.float32)
    y = ((np.arange(height) - cy) / px).astype(np.float32)[:, None]
    light = math.radians(rng.uniform(-140, -105))
    return _Scene(rng, (height, width), px, to_image, c * x + s * y, c * y - s * x, light)


def _noise(rng: np.random.Generator, shape: tuple[int, ...]) -> _Array:
    """Normal noise out of one random byte a value: several times faster than the generator's."""
    return cv2.LUT(rng.integers(0, 256, shape, np.uint8), _GAUSSIAN)


def _plate_distance(u: _Array, v: _Array) -> _Array:
    """Signed distance to the plate's outline in units, negative inside."""
    width, height = (np.float32(half - _PLATE_CORNER) for half in _PLATE_HALF)
    x, y = np.abs(u) - width, np.abs(v) - height
    inside = np.minimum(np.maximum(x, y), 0) - np.float32(_PLATE_CORNER)
    return cv2.magnitude(np.maximum(x, 0), np.maximum(y, 0)) + inside


def _brushing(scene: _Scene) -> _Array:
    """Streaks along the plate: long fine ones, short fine ones and broad bands."""
    height, width = scene.shape
    step = 4  # Streaks are smooth along their length, so that axis can be drawn coarse.
    margin = 8 + max(scene.shape) // 25
    total: _Array = np.zeros(scene.shape, np.float32)
    for length, thick, weight in ((300, 1, 0.9), (70, 1, 0.7), (520, 5, 0.5)):
        run = max(3, int(length * scene.px / step))
        rows, columns = (height + 2 * margin) // thick, (width + 2 * margin) // step
        streaks = cv2.blur(_noise(scene.rng, (rows, columns)), (run, 1)) * (weight * run**0.5)
        turn = scene.to_image[:, :2] / scene.px * (step, thick)
        warp = np.column_stack([turn, (-margin, -margin)])
        total += cv2.warpAffine(streaks, warp, (width, height), borderMode=cv2.BORDER_REFLECT)
    return total


def _polar(scene: _Scene, centre: _Point, radius: float) -> tuple[_Window, _Array, _Array]:
    """The window around a point, with the distance (units) and angle (rad) from it."""
    spans, axes = [], []
    for at, end in zip(scene.to_image @ (*centre, 1.0), scene.shape[::-1], strict=True):
        reach = radius * scene.px + 2
        span = np.arange(max(0, int(at - reach)), min(end, int(at + reach) + 2))
        spans.append(slice(int(span[0]), int(span[-1]) + 1))
        axes.append(((span - at) / scene.px).astype(np.float32))
    x, y = np.meshgrid(*axes)
    return (spans[1], spans[0]), *cv2.cartToPolar(x, y)


def _disc(scene: _Scene, r: _Array, radius: float) -> _Array:
    """Anti-aliased cover of a disc, 0 to 1."""
    return np.clip((np.float32(radius) - r) * np.float32(scene.px) + np.float32(0.5), 0, 1)


def _spun_shine(theta: _Array, light: float) -> _Array:
    """Turned metal mirrors a lamp as a bow tie: bright where its grooves lie across the light."""
    total = np.zeros_like(theta)
    for turn, weight, sharpness in ((0.0, 1.0, 6.0), (1.15, 0.45, 14.0), (-0.8, 0.3, 24.0)):
        across = np.sin(theta - np.float32(light + turn))
        total += weight * np.exp(across * across * np.float32(-sharpness))
    return total


def _turning_marks(scene: _Scene, r: _Array, theta: _Array) -> _Array:
    turns, columns = int(float(r.max()) * scene.px) + 3, 256
    marks = cv2.blur(_noise(scene.rng, (turns, columns)), (61, 1)) * 5
    # Mirrored, so that the marks meet where the angle wraps round.
    marks = np.hstack([marks, marks[:, ::-1]]) + _noise(scene.rng, (turns, 1)) * np.float32(0.8)
    column = theta * np.float32((2 * columns - 1) / math.tau)
    return cv2.remap(marks, column, r * np.float32(scene.px), cv2.INTER_LINEAR)


def _add_turned(
    scene: _Scene, tone: _Array, height: _Array, centre: _Point, shape: Sequence[Sequence[float]]
) -> None:
    radii, heights, shades = zip(*shape, strict=True)
    at, r, theta = _polar(scene, centre, radii[-1])
    metal = 0.31 + 0.5 * _spun_shine(theta, scene.light)
    metal *= 1 + 0.05 * _turning_marks(scene, r, theta)
    metal *= np.interp(r, radii, shades).astype(np.float32)
    height[at] += np.interp(r, radii, heights).astype(np.float32)
    tone[at] += (metal - tone[at]) * _disc(scene, r, radii[-1])


def _add_screw(scene: _Scene, tone: _Array, height: _Array, centre: _Point) -> None:
    _add_turned(scene, tone, height, centre, _SCREW_SHAPE)
    at, r, theta = _polar(scene, centre, 18)
    side = math.pi / 3  # of the hexagon socket, which stands as the screwdriver left it
    angle = np.mod(theta + np.float32(scene.rng.uniform(0, side)), side) - side / 2
    depth = np.clip((12 - r * np.cos(angle)) / 3, 0, 1).astype(np.float32)
    height[at] -= 6 * depth
    tone[at] *= 1 - 0.8 * depth


def _on_flange(radius: float, degree: float) -> _Point:
    turn = math.radians(degree - 90)
    return _FLANGE[0] + radius * math.cos(turn), _FLANGE[1] + radius * math.sin(turn)


def _engraving(scene: _Scene) -> _Array:
    """How much of each pixel is engraved, 0 to 1; drawn at twice the size, for finesse."""
    zoom, (left, top) = 2 * scene.px, _PLATE_HALF
    art: _Array = np.zeros((int(2 * top * zoom), int(2 * left * zoom)), np.uint8)

    def line(start: _Point, end: _Point) -> None:
        ends = [
            [round((x + left) * zoom * 16), round((y + top) * zoom * 16)] for x, y in (start, end)
        ]
        cv2.line(art, ends[0], ends[1], (255,), max(1, round(1.5 * zoom)), cv2.LINE_AA, 4)

    def text(words: str, at: _Point, size: float, centred: bool = True) -> None:
        font, scale, stroke = cv2.FONT_HERSHEY_SIMPLEX, size * zoom / 21, size * zoom / 9
        (width, height), _ = cv2.getTextSize(words, font, scale, max(1, round(stroke)))
        x, y = round((at[0] + left) * zoom), round((at[1] + top) * zoom)
        origin = (x - width // 2, y + height // 2) if centred else (x, y)
        cv2.putText(art, words, origin, font, scale, (255,), max(1, round(stroke)), cv2.LINE_AA)

    for degree in range(0, 360, 2):
        end = 256 if degree % 30 == 0 else 246 if degree % 10 == 0 else 236
        line(_on_flange(218, degree), _on_flange(end, degree))
    for degree in range(0, 360, 30):
        text(str(degree), _on_flange(284, degree), 17)
    for mm in range(51):
        x = 96 + mm * 7.6
        line((x, 250), (x, 286 if mm % 10 == 0 else 277 if mm % 5 == 0 else 268))
        if mm % 10 == 0:
            text(str(mm), (x, 308), 16)
    text("INDEX PLATE", (94, -246), 40, centred=False)
    text("TYPE KX 360 / 50", (96, -196), 19, centred=False)
    text("EN AW-6082 T6   No. 0417", (96, -160), 19, centred=False)
    to_plate = np.array([[1 / zoom, 0, -left], [0, 1 / zoom, -top], [0, 0, 1]])
    art = cv2.warpAffine(art, scene.to_image @ to_plate, scene.shape[::-1])
    return art.astype(np.float32) * np.float32(1 / 255)


def _felt(scene: _Scene) -> _Array:
    """Grain, clouds and loose fibres, about 1 on average."""
    rng, (height, width) = scene.rng, scene.shape
    felt: _Array = cv2.GaussianBlur(_noise(rng, scene.shape), (5, 5), 1.1) * np.float32(0.26)
    clouds = cv2.GaussianBlur(_noise(rng, (height // 8 + 1, width // 8 + 1)), (0, 0), 1.2)
    felt += cv2.resize(clouds, (width, height)) * np.float32(0.12)
    heading = rng.uniform(0, math.tau, (1600, 1)) + rng.normal(0, 0.4, (1600, 6)).cumsum(axis=1)
    steps = np.dstack([np.cos(heading), np.sin(heading)]) * rng.uniform(3, 8, (1600, 1, 1))
    paths = rng.uniform(0, (width, height), (1600, 1, 2)) + steps.cumsum(axis=1) * scene.px
    paths = (paths * 16).astype(np.int32)
    fibres: _Array = np.full(scene.shape, 125, np.uint8)
    for shade, some in ((165, paths[::2]), (98, paths[1::4]), (190, paths[3::4])):
        cv2.polylines(fibres, list(some), False, (shade,), 1, cv2.LINE_AA, 4)
    felt += fibres.astype(np.float32) * np.float32(1 / 125)
    return felt


def _light_fields(scene: _Scene) -> tuple[_Array, _Array]:
    """Light on the bare plate and on the felt, shadow included; smooth, so computed coarse."""
    rng, step = scene.rng, max(1, round(8 * scene.px))
    u, v = scene.u[::step, ::step], scene.v[::step, ::step]
    x, y = math.cos(scene.light), math.sin(scene.light)
    falloff = 1 + (u * x + v * y) / 4000 - (u * u + v * v) / 7e6
    # Brushed metal smears a lamp's image across the brushing: upright bands, softly leaning.
    left, right = rng.uniform(-420, -120), rng.uniform(230, 520)
    bands = 0.49 + 0.25 * np.exp(-(((u + 0.3 * v - left) / 240) ** 2))
    bands += 0.30 * np.exp(-(((u + 0.3 * v - right) / 150) ** 2))
    edge = _plate_distance(u + 16 * x, v + 16 * y)
    bore = _BORE_RADIUS - np.hypot(u + 22 * x - _FLANGE[0], v + 22 * y - _FLANGE[1])
    shadow = 1 - 0.78 * np.clip(0.5 - np.maximum(edge, 2 * bore) / 60, 0, 1)
    lights = ((bands * falloff).astype(np.float32), (shadow * falloff).astype(np.float32))
    return cv2.resize(lights[0], scene.shape[::-1]), cv2.resize(lights[1], scene.shape[::-1])


def _metal(scene: _Scene, tone: _Array) -> _Array:
    """Works the plate's light into the finished metal, still without colour; returns its cover."""
    px, bevel = np.float32(scene.px), np.float32(_BEVEL)
    distance = _plate_distance(scene.u, scene.v)
    height = np.minimum(-distance - bevel, 0)
    tone *= 1 + np.float32(0.045) * _brushing(scene)
    _add_turned(scene, tone, height, _FLANGE, _FLANGE_SHAPE)
    for degree in _BOLTS:
        _add_turned(scene, tone, height, _on_flange(152, degree), _BOLT_SHAPE)
    for centre in _SCREWS:
        _add_screw(scene, tone, height, centre)
    engraved = _engraving(scene)
    height -= np.float32(1.6) * engraved
    tone *= 1 - np.float32(0.64) * engraved
    # A slope is as bright as it faces the light: the derivative of the height along the light.
    x, y = math.cos(scene.light), math.sin(scene.light)
    along = np.array([[0, y, 0], [x, 0, -x], [0, -y, 0]], np.float32) * (np.float32(0.21) * px)
    tone *= np.clip(1 + cv2.filter2D(height, cv2.CV_32F, along), 0.25, 1.75)
    worn_edge = 1 - np.abs(distance + bevel) * np.float32(0.6)
    tone += np.float32(0.16) * np.clip(worn_edge, 0, 1)
    cover: _Array = np.clip(np.float32(0.5) - distance * px, 0, 1)
    return cover


def _photograph(scene: _Scene) -> npt.NDArray[np.uint8]:
    rng = scene.rng
    tone, felt = _light_fields(scene)
    cover = _metal(scene, tone)
    at, r, _ = _polar(scene, _FLANGE, _FLANGE_SHAPE[-1][0])
    solid = 1 - _disc(scene, r, _BORE_RADIUS)
    cover[at] *= solid
    tone *= cover
    felt *= _felt(scene) * (np.float32(0.21) * (1 - cover))
    warm = rng.uniform(-0.02, 0.02)
    exposure = rng.uniform(0.96, 1.08) * np.array([1 + warm, 1, 1 - warm])
    dye, alloy = exposure * (0.46, 0.92, 1.16), exposure * (1.003, 1.0, 0.992)
    image: _Array = cv2.merge([cv2.addWeighted(felt, dye[i], tone, alloy[i], 0) for i in range(3)])
    brass = (_disc(scene, r, _BUSH_RADIUS) * solid)[..., None]
    image[at] *= 1 + brass * np.array([0.26, -0.04, -0.5], np.float32)
    x, below = scene.u[at] - np.float32(_FLANGE[0]), scene.v[at] - np.float32(_FLANGE[1] - 190)
    zero_mark = np.minimum(np.float32(0.42) * below - np.abs(x), 26 - below)
    red = np.clip(zero_mark * np.float32(scene.px) + np.float32(0.5), 0, 1)[..., None]
    image[at] *= 1 + red * np.array([0.2, -0.8, -0.84], np.float32)
    image = cv2.GaussianBlur(image, (5, 5), rng.uniform(0.45, 0.8))
    grain = _noise(rng, image.shape)
    photo = cv2.addWeighted(image, 255, grain, rng.uniform(1.2, 2.4), 0, dtype=cv2.CV_8U)
    return photo.astype(np.uint8, copy=False)


def _free_surface(scene: _Scene) -> npt.NDArray[np.bool_]:
    """Where a defect may lie: the plate's face and flange, clear of bevel, holes and screws."""
    free: npt.NDArray[np.bool_] = _plate_distance(scene.u, scene.v) < -_BEVEL - 3
    holes = [(_FLANGE, _BUSH_RADIUS + 6)]
    holes += [(_on_flange(152, degree), _BOLT_SHAPE[-1][0] + 2) for degree in _BOLTS]
    holes += [(centre, _SCREW_SHAPE[-1][0] + 2) for centre in _SCREWS]
    for centre, radius in holes:
        at, r, _ = _polar(scene, centre, radius)
        free[at] &= r > radius
    return free
