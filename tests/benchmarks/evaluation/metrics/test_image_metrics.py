"""The image metrics."""

import numpy as np
import pytest

from benchmarks.evaluation.metrics.image_metrics import measure_images

SCORES = [0.1, 0.4, 0.35, 0.8]
DEFECTIVE = [False, False, True, True]


def test_they_are_undefined_with_one_class() -> None:
    assert measure_images([0.1, 0.2], [True, True]) is None
    assert measure_images([], []) is None


def test_the_textbook_example() -> None:
    found = measure_images(SCORES, DEFECTIVE)
    assert found is not None
    assert found.auroc == pytest.approx(0.75)
    assert found.average_precision == pytest.approx((1 + 2 / 3) / 2)
    assert found.best_f1 == pytest.approx(0.8)


def test_images_above_the_best_threshold_have_the_best_f1() -> None:
    found = measure_images(SCORES, DEFECTIVE)
    assert found is not None
    above = np.array(SCORES) > found.best_f1_threshold
    hits = (above & np.array(DEFECTIVE)).sum()
    assert 2 * hits / (above.sum() + sum(DEFECTIVE)) == pytest.approx(found.best_f1)
