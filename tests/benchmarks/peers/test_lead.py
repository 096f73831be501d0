"""A lead in I-AUROC, and how sure it is."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from benchmarks.peers.lead import auroc_lead

LABELS = [False] * 60 + [True] * 60


def scores(seed: int, *, apart: float) -> list[float]:
    noise = np.random.default_rng(seed).normal(size=len(LABELS))
    return [float(score) for score in noise + apart * np.array(LABELS)]


small = st.lists(st.integers(0, 5).map(float), min_size=10, max_size=10)


@given(small, small)
def test_the_difference_is_that_of_scikit_learns_areas(
    ours: list[float], others: list[float]
) -> None:
    labels = [number % 2 == 1 for number in range(10)]
    lead = auroc_lead(ours, others, labels)
    assert lead is not None
    expected = roc_auc_score(labels, ours) - roc_auc_score(labels, others)
    assert lead.difference == pytest.approx(expected)


def test_a_clear_lead_has_an_interval_above_zero() -> None:
    lead = auroc_lead(scores(0, apart=3), scores(1, apart=1), LABELS)
    assert lead is not None
    assert 0 < lead.low < lead.difference < lead.high


def test_two_ways_that_are_as_good_have_an_interval_around_zero() -> None:
    lead = auroc_lead(scores(0, apart=1), scores(1, apart=1), LABELS)
    assert lead is not None
    assert lead.low < 0 < lead.high


def test_the_same_scores_are_no_lead_at_all() -> None:
    lead = auroc_lead(scores(0, apart=1), scores(0, apart=1), LABELS)
    assert lead is not None
    assert (lead.low, lead.difference, lead.high) == (0, 0, 0)


def test_a_single_defective_image_gives_no_interval() -> None:
    assert auroc_lead([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [False, False, True]) is None
