"""The anomaly map where it is asked for: whole, its score, its regions, each as the whole map's."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.geometry.geometry import GeometrySettings
from runtime.geometry.pixel_axis import BLOCK_PX
from runtime.geometry.pixel_map import PixelMap

SQUARE = GeometrySettings(image_size=112)
FITTED = GeometrySettings(image_size=112, kind="fitted", image_wh=(100, 100))
JOINT = GeometrySettings(image_size=112, kind="joint", image_wh=(100, 100))
TILES = GeometrySettings(image_size=112, kind="tiles", overlap_wh=(28, 14))


def draw(geometry: GeometrySettings, height: int, width: int, seed: int) -> PixelMap:
    """A map of an image of this size: noise with a few outstanding patches."""
    rng = np.random.default_rng(seed)
    of_image = geometry.for_image(height, width)
    patch_maps = rng.uniform(0.1, 0.2, (of_image.tiles, 8, 8)).astype(np.float32)
    patch_maps[rng.random(patch_maps.shape) < 0.03] = 1
    return of_image.pixel_map(patch_maps)


any_map = st.builds(
    draw,
    st.sampled_from([SQUARE, FITTED, JOINT, TILES]),
    st.integers(1, 260),
    st.integers(1, 260),
    st.integers(0, 2**32 - 1),
)


@settings(max_examples=60)
@given(any_map)
def test_the_score_is_the_mean_of_the_highest_thousandth(found: PixelMap) -> None:
    values = np.sort(found.pixels(), axis=None)
    expected = values[-max(1, values.size // 1000) :].mean(dtype=np.float64)
    assert found.score() == pytest.approx(expected, rel=1e-6)
    assert found.peak() == pytest.approx(values[-1], rel=1e-6)


@settings(max_examples=60)
@given(any_map, st.floats(0.05, 0.9))
def test_regions_are_the_connected_areas_above_the_threshold(
    found: PixelMap, threshold: float
) -> None:
    pixels = found.pixels()
    # Values on the threshold may fall to either side by rounding.
    threshold += 1e-4 * bool(np.abs(pixels - threshold).min() < 1e-6)
    above = (pixels > threshold).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(above, connectivity=8)
    boxes = {
        tuple(map(int, stats[number])): float(pixels[labels == number].max())
        for number in range(1, count)
    }
    regions = found.regions(threshold)
    assert [r.peak for r in regions] == sorted((r.peak for r in regions), reverse=True)
    assert len(regions) == count - 1
    assert {
        (r.x_px, r.y_px, r.width_px, r.height_px, r.area_px): r.peak for r in regions
    } == pytest.approx(boxes, rel=1e-6)


def test_a_map_of_one_value_has_that_score_and_no_or_one_region() -> None:
    geometry = TILES.for_image(300, 200)
    found = geometry.pixel_map(np.full((geometry.tiles, 8, 8), 0.25, np.float32))
    assert found.score() == pytest.approx(0.25)
    assert found.regions(0.3) == ()
    (region,) = found.regions(0.2)
    assert (region.width_px, region.height_px, region.area_px) == (200, 300, 60_000)


def test_only_cells_that_can_matter_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    geometry = GeometrySettings(kind="tiles").for_image(2000, 3000)
    patch_maps = np.full((geometry.tiles, 37, 37), 0.1, np.float32)
    patch_maps[3, 10:13, 10:13] = 1
    found = geometry.pixel_map(patch_maps)
    computed = 0
    original = PixelMap._chunks

    def counted(self: PixelMap, rows: np.ndarray, columns: np.ndarray) -> object:  # type: ignore[type-arg]
        nonlocal computed
        computed += rows.size
        return original(self, rows, columns)

    monkeypatch.setattr(PixelMap, "_chunks", counted)
    found.score()
    (region,) = found.regions(0.5)
    assert region.peak == pytest.approx(found.pixels().max(), rel=1e-6)
    assert computed < 0.05 * (2000 * 3000) / BLOCK_PX**2


def test_ignored_pixels_count_for_nothing() -> None:
    found = draw(TILES, 200, 260, seed=0)
    ignored = np.zeros((200, 260), bool)
    ignored[:, :130] = True
    masked = PixelMap(found.patch_map, found.rows, found.columns, ignored)
    pixels = found.pixels()
    values = np.sort(pixels[:, 130:], axis=None)
    assert masked.score() == pytest.approx(values[-26:].mean(), rel=1e-6)
    assert (masked.pixels()[:, :130] == 0).all()
    assert np.array_equal(masked.pixels()[:, 130:], pixels[:, 130:])
    assert sum(region.area_px for region in masked.regions(0.3)) == (pixels[:, 130:] > 0.3).sum()
