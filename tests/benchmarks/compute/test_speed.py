"""The speed benchmarks compare like with like; how fast it is, they say and no test asserts."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.compute import geometry_speed, metrics_speed


def test_both_evaluators_of_the_metrics_benchmark_find_the_same(tmp_path: Path) -> None:
    for number in range(2):
        anomaly_map, mask = metrics_speed.draw_image(number)
        assert mask.any() == bool(number % 2)
        # A ninth of the pixels: what is compared are two ways of counting.
        np.save(tmp_path / f"{number}.map.npy", anomaly_map[::3, ::3])
        np.save(tmp_path / f"{number}.mask.npy", np.packbits(mask[::3, ::3]))
    _, ours = metrics_speed.measure_ours(tmp_path, 2)
    _, plain = metrics_speed.measure_plain(tmp_path, 2)
    assert set(ours) == set(plain)
    assert ours == pytest.approx(plain, abs=1e-9)


def test_both_ways_of_the_geometry_benchmark_give_the_same_map() -> None:
    measured = geometry_speed.measure(700, 900, repetitions=1)
    assert measured.tiles == 4
    assert measured.largest_difference < 1e-5
    result = geometry_speed.SpeedResult(
        machine="a test", versions={}, repetitions=1, measurements=(measured,)
    )
    assert "| 900 x 700 px | 4 |" in geometry_speed.to_markdown(result)
