"""Cutting and stitching: the paper's square, and tiles."""

import itertools
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from runtime.errors import BadImageError, OptionError
from runtime.geometry.geometry import GeometrySettings
from tests.parts.small import random_image

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


@settings(max_examples=60)
@given(height=SIZES, width=SIZES)
def test_the_square_is_the_image_padded_and_then_resized_whatever_is_done_first(
    height: int, width: int
) -> None:
    image, side = random_image(height, width), max(height, width)
    above, left = (side - height) // 2, (side - width) // 2
    borders = (above, side - height - above), (left, side - width - left), (0, 0)
    padded = Image.fromarray(np.pad(image, borders, mode="edge"))
    expected = np.asarray(padded.resize((112, 112), Image.Resampling.BICUBIC))
    assert np.array_equal(SMALL.for_image(height, width).cut(image)[0], expected)


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


# Tiles --------------------------------------------------------------------------------------------

TILES = GeometrySettings(image_size=112, kind="tiles", overlap_wh=(28, 14))
tile_settings = st.builds(
    lambda overlap, scale: GeometrySettings(
        image_size=112, kind="tiles", overlap_wh=overlap, scale=scale
    ),
    st.tuples(st.sampled_from([0, 14, 28, 56]), st.sampled_from([0, 14, 28, 56])),
    st.sampled_from([0.25, 0.5, 0.7, 1.0, 1.5]),
)


@settings(max_examples=60)
@given(tile_settings, SIZES, SIZES)
def test_tiles_cover_the_image_on_the_patch_grid_and_overlap_as_wished(
    geometry: GeometrySettings, height: int, width: int
) -> None:
    cut = geometry.for_image(height, width)
    for axis, overlap in zip((cut.columns, cut.rows), geometry.overlap_wh, strict=True):
        assert axis.patches * 14 >= axis.scaled_length
        assert axis.origins[0] == 0
        assert axis.origins[-1] + 8 == axis.patches
        for one, following in itertools.pairwise(axis.origins):
            assert one + 8 - following >= overlap // 14
            assert following > one
    assert cut.grid_wh == (cut.columns.patches, cut.rows.patches)


@settings(max_examples=40)
@given(st.integers(1, 300), st.integers(1, 300))
def test_tiles_at_full_scale_hold_the_images_own_pixels(height: int, width: int) -> None:
    image = random_image(height, width)
    cut = TILES.for_image(height, width)
    tiles = cut.cut(image)
    assert tiles.shape == (cut.tiles, 112, 112, 3)
    rebuilt = np.zeros((cut.rows.patches * 14, cut.columns.patches * 14, 3), np.uint8)
    places = [(r, c) for r in cut.rows.origins for c in cut.columns.origins]
    for tile, (row, column) in zip(tiles, places, strict=True):
        rebuilt[row * 14 : row * 14 + 112, column * 14 : column * 14 + 112] = tile
    top, left = cut.rows.edge_before, cut.columns.edge_before
    assert np.array_equal(rebuilt[top : top + height, left : left + width], image)
    # What lies around it repeats its edges.
    assert (rebuilt[:top, left] == image[0, 0]).all()
    assert (rebuilt[top + height :, left] == image[-1, 0]).all()


@settings(max_examples=60)
@given(tile_settings, SIZES, SIZES, st.integers(0, 2**32 - 1))
def test_joining_the_tiles_of_a_patch_map_gives_it_back_exactly(
    geometry: GeometrySettings, height: int, width: int, seed: int
) -> None:
    cut = geometry.for_image(height, width)
    rng = np.random.default_rng(seed)
    patch_map = rng.random((cut.rows.patches, cut.columns.patches)).astype(np.float32)
    tiles = [patch_map[r : r + 8, c : c + 8] for r in cut.rows.origins for c in cut.columns.origins]
    assert np.array_equal(cut.join(np.stack(tiles)), patch_map)


@settings(max_examples=40)
@given(tile_settings, SIZES, SIZES)
def test_a_constant_map_has_no_seams_and_no_dark_border(
    geometry: GeometrySettings, height: int, width: int
) -> None:
    cut = geometry.for_image(height, width)
    stitched = cut.stitch(np.full((cut.tiles, 8, 8), 0.3, np.float32))
    assert stitched.shape == (height, width)
    assert np.abs(stitched - 0.3).max() < 1e-6


def test_a_tile_fades_towards_its_neighbours_and_not_at_the_images_border() -> None:
    axis = TILES.for_image(112, 260).columns
    assert len(axis.origins) == 3
    first, middle, last = (axis.weights(number) for number in range(3))
    assert (first[0], last[-1]) == (1, 1)
    assert (np.diff(first) <= 0).all()
    assert (np.diff(last) >= 0).all()
    assert middle[0] < middle[4] > middle[-1]


def explicit_tile_pipeline(
    patch_map: np.ndarray,  # type: ignore[type-arg]
    height: int,
    width: int,
    edges: tuple[int, int],
) -> np.ndarray:  # type: ignore[type-arg]
    """At full scale, step by step: upsample by the patch, crop, blur with a renormalised border."""
    grid = torch.from_numpy(patch_map.astype(np.float64))[None, None]
    size = (patch_map.shape[0] * 14, patch_map.shape[1] * 14)
    pixels = functional.interpolate(grid, size=size, mode="bilinear")
    top, left = edges
    pixels = pixels[:, :, top : top + height, left : left + width]
    # The eight blurs are one kernel, whose border is renormalised once.
    kernel = np.ones(1)
    for passes, box in ((5, 5), (3, 7)):
        for _ in range(passes):
            kernel = np.convolve(kernel, np.full(box, 1 / box))
    column = torch.from_numpy(kernel)[None, None, :, None]
    reach = kernel.size // 2

    def blur(values: torch.Tensor) -> torch.Tensor:
        values = functional.conv2d(values, column, padding=(reach, 0))
        return functional.conv2d(values, column.transpose(2, 3), padding=(0, reach))

    return (blur(pixels) / blur(torch.ones_like(pixels)))[0, 0].numpy()


@settings(max_examples=40)
@given(SIZES, SIZES, st.integers(0, 2**32 - 1))
def test_tiles_reach_the_pixels_as_the_explicit_pipeline_does(
    height: int, width: int, seed: int
) -> None:
    cut = TILES.for_image(height, width)
    rng = np.random.default_rng(seed)
    maps = rng.random((cut.tiles, 8, 8)).astype(np.float32)
    edges = (cut.rows.edge_before, cut.columns.edge_before)
    expected = explicit_tile_pipeline(cut.join(maps), height, width, edges)
    assert np.abs(cut.stitch(maps) - expected).max() < 1e-5


def test_a_defect_keeps_its_place_at_any_scale() -> None:
    for scale in (0.5, 1.0, 1.7):
        geometry = replace(TILES, scale=scale)
        cut = geometry.for_image(400, 300)
        patch_map = np.zeros((cut.rows.patches, cut.columns.patches), np.float32)
        row = round((250 * scale + cut.rows.edge_before) / 14 - 0.5)
        column = round((120 * scale + cut.columns.edge_before) / 14 - 0.5)
        patch_map[row, column] = 1
        tiles = [
            patch_map[r : r + 8, c : c + 8] for r in cut.rows.origins for c in cut.columns.origins
        ]
        stitched = cut.stitch(np.stack(tiles))
        y_px, x_px = np.unravel_index(int(np.argmax(stitched)), stitched.shape)
        assert abs(int(y_px) - 250) <= 7 / scale + 1
        assert abs(int(x_px) - 120) <= 7 / scale + 1


@pytest.mark.parametrize(
    ("height", "width"), [(1, 1), (1, 500), (500, 1), (20, 30_000), (112, 112)]
)
def test_images_of_any_shape_are_cut_and_put_together(height: int, width: int) -> None:
    cut = TILES.for_image(height, width)
    tiles = cut.cut(random_image(height, width))
    assert tiles.shape[1:] == (112, 112, 3)
    assert cut.stitch(np.ones((cut.tiles, 8, 8), np.float32)).shape == (height, width)


def test_a_long_line_scan_is_refused_as_a_square_with_the_cure() -> None:
    with pytest.raises(BadImageError, match="30000 x 20 px .* --geometry tiles"):
        SMALL.for_image(20, 30_000)


def test_a_long_line_scan_takes_little_memory() -> None:
    cut = GeometrySettings(kind="tiles", overlap_wh=(56, 56)).for_image(1000, 30_000)
    patch_maps = np.random.default_rng(0).random((cut.tiles, 37, 37)).astype(np.float32)
    patch_maps[3, 20, 20] = 10
    tracemalloc.start()
    pixel_map = cut.pixel_map(patch_maps)
    pixel_map.score()
    assert len(pixel_map.regions(2)) == 1
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * 1000 * 30_000


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"overlap_wh": (20, 0)}, "overlap 20 px is no multiple .* the nearest are 14 and 28"),
        ({"overlap_wh": (70, 0)}, "overlap 70 px of tiles of 112 px; expected 0 to 56"),
        ({"overlap_wh": (-14, 0)}, "expected 0 to 56"),
        ({"scale": 0.0}, "scale is 0.0"),
        ({"scale": float("nan")}, "scale is nan"),
        ({"kind": "hexagons"}, "expected one of square, fitted, joint, tiles"),
        ({"kind": "square", "scale": 0.5}, "belong to tiles"),
    ],
)
def test_tiles_that_cannot_be_are_refused(options: dict[str, object], reason: str) -> None:
    with pytest.raises(OptionError, match=reason):
        GeometrySettings(**{"image_size": 112, "kind": "tiles", **options})  # type: ignore[arg-type]
