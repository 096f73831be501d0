"""Score and regions of an anomaly map."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from runtime.scoring import find_regions, image_score

MAPS = arrays.arrays(
    np.float32,
    arrays.array_shapes(min_dims=2, max_dims=2, max_side=60),
    elements=st.floats(0, 4, width=32),
)


@given(MAPS)
def test_the_score_is_the_mean_of_the_highest_thousandth(anomaly_map: np.ndarray) -> None:  # type: ignore[type-arg]
    count = max(1, anomaly_map.size // 1000)
    expected = np.sort(anomaly_map.ravel())[-count:].mean(dtype=np.float64)
    assert image_score(anomaly_map) == np.float32(expected)


@given(MAPS, st.floats(0, 4, width=32))
def test_regions_hold_exactly_the_pixels_above_the_threshold(
    anomaly_map: np.ndarray,  # type: ignore[type-arg]
    threshold: float,
) -> None:
    regions = find_regions(anomaly_map, threshold)
    assert sum(region.area_px for region in regions) == (anomaly_map > threshold).sum()
    for region in regions:
        rows = slice(region.y_px, region.y_px + region.height_px)
        columns = slice(region.x_px, region.x_px + region.width_px)
        assert region.peak in anomaly_map[rows, columns]
        assert region.peak > threshold


def test_pixels_that_touch_at_a_corner_are_one_region() -> None:
    anomaly_map = np.zeros((4, 4), np.float32)
    anomaly_map[0, 0], anomaly_map[1, 1] = 1, 2
    (region,) = find_regions(anomaly_map, 0.5)
    assert (region.width_px, region.height_px, region.area_px, region.peak) == (2, 2, 2, 2.0)


def test_regions_come_with_the_highest_peak_first() -> None:
    anomaly_map = np.zeros((1, 5), np.float32)
    anomaly_map[0, 0], anomaly_map[0, 4] = 1, 3
    assert [region.peak for region in find_regions(anomaly_map, 0.5)] == [3, 1]
