"""The image's outermost patches count less, and none of them is blind."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import OptionError
from runtime.geometry.geometry import GeometrySettings
from train.settings import GeometryChoice, GeometryOptions

WEIGHTS = (0.5, 0.75)
FITTED = GeometrySettings(image_size=112, kind="fitted", image_wh=(112, 84), border_weights=WEIGHTS)
TILES = GeometrySettings(image_size=112, kind="tiles", overlap_wh=(28, 28), border_weights=WEIGHTS)


def test_the_outermost_rings_of_patches_have_their_weights() -> None:
    joined = FITTED.for_image(84, 112).join(np.ones((1, 6, 8), np.float32))
    assert joined[0].tolist() == [0.5] * 8
    assert joined[1].tolist() == [0.5, *[0.75] * 6, 0.5]
    assert joined[2].tolist() == [0.5, 0.75, 1, 1, 1, 1, 0.75, 0.5]


@given(st.integers(100, 400), st.integers(100, 400))
def test_the_border_is_the_images_and_not_a_tiles(height: int, width: int) -> None:
    geometry = TILES.for_image(height, width)
    joined = geometry.join(np.ones((geometry.tiles, 8, 8), np.float32))
    assert np.allclose(joined[2:-2, 2:-2], 1)
    assert np.allclose(joined[0], 0.5) and np.allclose(joined[:, -1], 0.5)


def test_a_defect_at_the_border_still_raises_the_score() -> None:
    good = np.ones((1, 6, 8), np.float32)
    defective = good.copy()
    defective[0, 0, 3] = 4
    geometry = FITTED.for_image(840, 1120)
    scores = [geometry.pixel_map(one).score() for one in (good, defective)]
    assert scores[1] > 1.5 * scores[0]


@pytest.mark.parametrize("weights", [(0.0,), (-1.0,), (1.5,), (float("nan"),)])
def test_weights_that_blind_or_amplify_are_refused(weights: tuple[float, ...]) -> None:
    with pytest.raises(OptionError, match="no part of an image may be blind"):
        GeometrySettings(kind="tiles", border_weights=weights)


def test_the_square_has_no_border_weights() -> None:
    with pytest.raises(OptionError, match="not to the square"):
        GeometrySettings(border_weights=WEIGHTS)


@pytest.mark.parametrize("kind", ["square", "tiles", "fitted", "joint"])
def test_the_papers_recipe_weighs_all_patches_the_same(kind: GeometryChoice) -> None:
    image_wh = (150, 100) if kind in ("fitted", "joint") else None
    options = GeometryOptions(geometry=kind, image_size=112)
    assert options.settings(14, image_wh, recipe="paper").border_weights == ()
    assert bool(options.settings(14, image_wh, recipe="edge").border_weights) == (kind != "square")
