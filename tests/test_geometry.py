"""Cutting and stitching in the paper's way."""

import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.errors import OptionError
from runtime.geometry import GeometrySettings
from tests.conftest import random_image

SIZES = st.integers(1, 300)
SMALL = GeometrySettings(image_size=112)


def explicit_pipeline(
    patch_map: np.ndarray,  # type: ignore[type-arg]
    height: int,
    width: int,
) -> np.ndarray:  # type: ignore[type-arg]
    """The way as the paper describes it, step by step, in float64."""
    side = max(height, width)
    pixels = torch.from_numpy(patch_map.astype(np.float64))[None, None]
    pixels = functional.interpolate(pixels, size=(side, side), mode="bilinear")
    for passes, box in ((5, 5), (3, 7)):
        kernel = torch.full((1, 1, box, box), 1 / box**2, dtype=torch.float64)
        for _ in range(passes):
            pixels = functional.conv2d(pixels, kernel, padding=box // 2)
    top, left = (side - height) // 2, (side - width) // 2
    return pixels[0, 0, top : top + height, left : left + width].numpy()


@settings(max_examples=60)
@given(height=SIZES, width=SIZES, seed=st.integers(0, 2**32 - 1))
def test_stitching_equals_the_papers_explicit_pipeline(height: int, width: int, seed: int) -> None:
    patch_map = np.random.default_rng(seed).random((8, 8)).astype(np.float32)
    stitched = SMALL.for_image(height, width).stitch(patch_map[None])
    assert stitched.shape == (height, width)
    assert np.abs(stitched - explicit_pipeline(patch_map, height, width)).max() < 1e-5


def test_stitching_at_full_size_equals_the_papers_explicit_pipeline() -> None:
    patch_map = np.random.default_rng(0).random((37, 37)).astype(np.float32)
    stitched = GeometrySettings().for_image(1000, 1500).stitch(patch_map[None])
    assert np.abs(stitched - explicit_pipeline(patch_map, 1000, 1500)).max() < 1e-5


@settings(max_examples=40)
@given(height=SIZES, width=SIZES)
def test_a_tile_has_the_networks_size_whatever_the_images(height: int, width: int) -> None:
    tiles = SMALL.for_image(height, width).cut(random_image(height, width))
    assert tiles.shape == (1, 112, 112, 3)
    assert tiles.dtype == np.uint8


def test_a_square_image_of_the_networks_size_is_not_changed() -> None:
    image = random_image(112, 112)
    assert np.array_equal(SMALL.for_image(112, 112).cut(image)[0], image)


def test_the_padding_repeats_the_edges_on_both_sides() -> None:
    image = random_image(56, 112)
    tile = SMALL.for_image(56, 112).cut(image)[0]
    assert np.array_equal(tile[28:84], image)
    assert (tile[:28] == image[0]).all()
    assert (tile[84:] == image[-1]).all()


def test_a_size_off_the_patch_grid_is_refused_with_the_nearest_two() -> None:
    with pytest.raises(OptionError, match="the nearest are 518 and 532"):
        GeometrySettings(image_size=520)
