"""What each process of `postprocess` keeps of the products that it counts."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from runtime.products.card import Calibration, Threshold
from runtime.products.catalogue import ServedProduct
from tests.parts.small import make_card
from triton_repo.python_models.metrics import ProductMetrics


class MetricFamily:
    """Triton's, which exists only inside a server; it keeps nothing."""

    COUNTER = GAUGE = HISTOGRAM = 0

    def __init__(self, **_: object) -> None:
        pass

    def Metric(self, **_: object) -> Any:  # noqa: N802
        def ignore(_: float) -> None:
            pass

        return SimpleNamespace(increment=ignore, observe=ignore, set=ignore)


def test_versions_that_left_their_slots_are_forgotten_when_a_new_one_comes() -> None:
    metrics = ProductMetrics(SimpleNamespace(MetricFamily=MetricFamily), "postprocess_0")
    for number, current in [(1, {1}), (2, {1, 2}), (3, {2, 3})]:
        served = ServedProduct(number=number, slot=0, version=number, card=make_card())
        metrics.count(served, 0.05, 0.1, current=lambda present=current: present)  # type: ignore[misc]
    assert set(metrics._products) == {2, 3}


def test_each_count_says_whether_drift_is_raised() -> None:
    metrics = ProductMetrics(SimpleNamespace(MetricFamily=MetricFamily), "postprocess_0")
    scores = tuple(np.linspace(0.5, 1, 100))
    card = make_card(
        threshold=Threshold(image_score=1.0, pixel_value=1.0, method="a test", good_images=100),
        calibration=Calibration(images=tuple(map(str, range(100))), scores=scores, peaks=scores),
    )
    served = ServedProduct(number=1, slot=0, version=1, card=card)
    rng = np.random.default_rng(0)
    usual = [
        metrics.count(served, score, 0.1, current=set) for score in rng.permutation(scores[:-1])
    ]
    assert not any(usual)
    changed = [metrics.count(served, 0.97, 0.1, current=set) for _ in range(200)]
    assert changed[-1]
