"""What tests ask for again and again, made once for all tests of a process.

Reading and converting the demo teacher's weights takes most of a second and is asked for hundreds
of times; so are the same drawn images.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from unittest.mock import patch

from train.data import synthetic
from train.data.synthetic_defects import Defect
from train.data.synthetic_product import DrawnProduct, draw_product
from train.settings import DEMO_TEACHER
from train.teacher import teacher
from train.teacher.weights import Weights, load_weights


@cache
def _demo_weights() -> Weights:
    return load_weights(DEMO_TEACHER, None)


def _load_weights(name: str, file: Path | None) -> Weights:
    if name != DEMO_TEACHER or file is not None:
        return load_weights(name, file)
    weights = _demo_weights()
    return replace(weights, trunk=deepcopy(weights.trunk))


@lru_cache(maxsize=200)
def _kept_drawing(seed: int, height: int, width: int, defects: tuple[Defect, ...]) -> DrawnProduct:
    return draw_product(seed, height=height, width=width, defects=defects)


def _draw(seed: int, height: int, width: int, defects: tuple[Defect, ...]) -> DrawnProduct:
    if height * width > 240 * 360:
        return draw_product(seed, height=height, width=width, defects=defects)
    drawn = _kept_drawing(seed, height, width, defects)
    return replace(drawn, image=drawn.image.copy(), mask=drawn.mask.copy())


@contextmanager
def made_once() -> Iterator[None]:
    """Give each who asks a copy of what was made for the first."""
    with (
        patch.object(teacher, "load_weights", _load_weights),
        patch.object(synthetic, "_draw", _draw),
    ):
        yield
