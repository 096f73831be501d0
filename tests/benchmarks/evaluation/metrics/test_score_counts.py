"""Counting pixels by their value: lossless for every float32, whatever the memory."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from benchmarks.evaluation.metrics import score_counts
from benchmarks.evaluation.metrics.score_counts import ScoreCounts, to_keys, to_values

any_float = st.floats(width=32, allow_nan=False)
next_to_a_quarter = float(np.nextafter(np.float32(0.25), np.float32(1)))
tied_float = st.sampled_from([-1.5, -0.0, 0.0, 0.25, next_to_a_quarter, 3.0])
scores = arrays.arrays(np.float32, st.integers(1, 60), elements=any_float | tied_float)


def count(values: npt.NDArray[np.float32], *, page_memory_bytes: int) -> ScoreCounts:
    counts = ScoreCounts(page_memory_bytes=page_memory_bytes)
    half = values.size // 2
    counts.add(to_keys(values[:half]))
    counts.add(to_keys(values[half:]))
    return counts


@given(scores)
def test_keys_are_ordered_like_their_values(values: npt.NDArray[np.float32]) -> None:
    keys = to_keys(values)
    assert np.array_equal(
        keys[:, None] < keys[None, :],
        values[:, None] < values[None, :],
    )
    assert np.array_equal(to_values(keys), values)


@pytest.mark.parametrize("page_memory_bytes", [1 << 25, 1 << 18, 0])
@given(scores, scores)
def test_ranks_are_those_of_all_values_whatever_the_memory_for_pages(
    page_memory_bytes: int,
    values: npt.NDArray[np.float32],
    asked: npt.NDArray[np.float32],
) -> None:
    counts = count(values, page_memory_bytes=page_memory_bytes)
    asked = np.concatenate([asked, values[:5]])
    above, tied = counts.above_and_tied(to_keys(asked))
    assert above.tolist() == [(values > value).sum() for value in asked]
    assert tied.tolist() == [(values == value).sum() for value in asked]


@pytest.mark.parametrize("page_memory_bytes", [1 << 25, 0])
@given(scores)
def test_the_value_at_each_position_is_that_of_the_sorted_values(
    page_memory_bytes: int, values: npt.NDArray[np.float32]
) -> None:
    counts = count(values, page_memory_bytes=page_memory_bytes)
    keys = counts.keys_at(np.arange(values.size))
    assert np.array_equal(to_values(keys), np.sort(values))


def test_a_position_outside_is_refused() -> None:
    counts = count(np.ones(3, np.float32), page_memory_bytes=0)
    with pytest.raises(IndexError, match="among 3 pixels"):
        counts.keys_at(np.array([3]))


def test_a_value_in_more_pixels_than_a_counter_holds_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(score_counts, "_COUNTER_LIMIT", 10)
    counts = ScoreCounts(page_memory_bytes=1 << 20)
    values = np.array([0.5, 0.5, 0.5, 0.7], np.float32)
    for _ in range(50):
        counts.add(to_keys(values))
    above, tied = counts.above_and_tied(to_keys(np.array([0.5, 0.7], np.float32)))
    assert above.tolist() == [50, 0]
    assert tied.tolist() == [150, 50]
    assert int(counts._counters.max()) <= 10


def test_memory_follows_the_range_of_the_values_and_not_their_number() -> None:
    rng = np.random.default_rng(0)
    counts = ScoreCounts()
    for _ in range(5):
        counts.add(to_keys(rng.uniform(0.25, 1, 400_000).astype(np.float32)))
    factors_of_two = 2
    assert counts.used_bytes == factors_of_two * (32 << 20)
