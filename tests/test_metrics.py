"""The numbers of an evaluation, held against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.metrics import roc_auc_score

from benchmarks.metrics import PixelAuroc, image_auroc

SHAPE = (12, 9)


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(
            # Few values, so that there are ties.
            arrays.arrays(np.float32, SHAPE, elements=st.sampled_from([0, 0.125, 0.5, 1, 3])),
            arrays.arrays(np.bool_, SHAPE),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_the_pixel_auroc_is_that_of_all_pixels_pooled(images: list) -> None:  # type: ignore[type-arg]
    metric = PixelAuroc()
    for anomaly_map, mask in images:
        metric.add(anomaly_map, mask)
    labels = np.concatenate([mask.ravel() for _, mask in images])
    scores = np.concatenate([anomaly_map.ravel() for anomaly_map, _ in images])
    found = metric.result()
    if labels.all() or not labels.any():
        assert found is None
    else:
        assert found is not None
        assert found.value == pytest.approx(roc_auc_score(labels, scores), abs=1e-9)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_the_error_bound_holds_for_values_that_nearly_tie(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = (1 + rng.random(SHAPE) * 1e-4).astype(np.float32)
    labels = rng.random(SHAPE) < 0.3
    labels[0, :2] = (True, False)
    metric = PixelAuroc()
    metric.add(scores, labels)
    found = metric.result()
    assert found is not None
    exact = roc_auc_score(labels.ravel(), scores.ravel())
    assert abs(found.value - exact) <= found.error_bound + 1e-12


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_negative_values_are_ordered_too(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=SHAPE).astype(np.float32)
    labels = rng.random(SHAPE) < 0.5
    labels[0, :2] = (True, False)
    metric = PixelAuroc()
    metric.add(scores, labels)
    found = metric.result()
    assert found is not None
    assert abs(found.value - roc_auc_score(labels.ravel(), scores.ravel())) < 1e-3


def test_a_map_with_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="holds NaN"):
        PixelAuroc().add(np.full(SHAPE, np.nan, np.float32), np.zeros(SHAPE, bool))


def test_a_map_of_another_shape_than_the_mask_is_refused() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        PixelAuroc().add(np.zeros((2, 2), np.float32), np.zeros((2, 3), bool))


def test_the_image_auroc_is_undefined_with_one_class() -> None:
    assert image_auroc([0.1, 0.2], [True, True]) is None
    assert image_auroc([0.1, 0.2], [False, True]) == 1.0
