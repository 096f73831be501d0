"""The pixel metrics of a test set, held against scikit-learn and against their definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from benchmarks.evaluation.metrics.aupimo import HighestGoodPixels
from benchmarks.evaluation.metrics.pixel_metrics import PixelEvaluator, PixelResult
from benchmarks.evaluation.metrics.plain_evaluator import evaluate_plainly
from benchmarks.evaluation.metrics.pro import LIMITS
from benchmarks.evaluation.metrics.score_counts import to_keys
from tests.parts.plain_metrics import LabelledMap, au_pro, aupimo, components, good_scores

SHAPE = (11, 9)
tied = st.sampled_from([-1.0, 0.0, 0.125, 0.5, 1.0, 3.0])
distinct = st.floats(-4, 4, width=32)
maps = (
    arrays.arrays(np.float32, SHAPE, elements=tied)
    | arrays.arrays(np.float32, SHAPE, elements=distinct)
    | st.floats(0, 1, width=32).map(lambda value: np.full(SHAPE, value, np.float32))
)
sparse = st.lists(st.tuples(st.integers(0, SHAPE[0] - 1), st.integers(0, SHAPE[1] - 1)), max_size=4)


def one_pixel_defects(places: list[tuple[int, int]]) -> np.ndarray:  # type: ignore[type-arg]
    mask = np.zeros(SHAPE, bool)
    for row, column in places:
        mask[row, column] = True
    return mask


def defect_at_the_border(width: int) -> np.ndarray:  # type: ignore[type-arg]
    mask = np.zeros(SHAPE, bool)
    mask[:, -width:] = True
    return mask


masks = (
    arrays.arrays(np.bool_, SHAPE)
    | sparse.map(one_pixel_defects)
    | st.integers(1, 3).map(defect_at_the_border)
)
defective_images = st.tuples(maps, masks).map(
    lambda pair: LabelledMap(pair[0], pair[1], is_defective=True)
)
good_images = maps.map(lambda one: LabelledMap(one, np.zeros(SHAPE, bool), is_defective=False))
image_lists = st.lists(defective_images | good_images, min_size=1, max_size=4)


def evaluate(images: list[LabelledMap]) -> PixelResult | None:
    evaluator = PixelEvaluator(good_images=sum(not image.is_defective for image in images))
    for number, image in enumerate(images):
        evaluator.add(str(number), image.anomaly_map, image.mask, is_defective=image.is_defective)
    return evaluator.result()


def both_classes(images: list[LabelledMap]) -> bool:
    return bool(components(images)) and good_scores(images).size > 0


@given(image_lists)
def test_areas_precision_and_f1_are_those_of_all_pixels_pooled(images: list[LabelledMap]) -> None:
    found = evaluate(images)
    if not both_classes(images):
        assert found is None
        return
    assert found is not None
    labels = np.concatenate([image.mask.ravel() for image in images])
    scores = np.concatenate([image.anomaly_map.ravel() for image in images])
    assert found.metrics.auroc == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert found.metrics.average_precision == pytest.approx(
        average_precision_score(labels, scores), abs=1e-12
    )
    precision, recall, _ = precision_recall_curve(labels, scores)
    f1 = np.max(2 * precision * recall / np.maximum(precision + recall, 1e-300))
    assert found.metrics.best_f1 == pytest.approx(f1, abs=1e-12)
    above = scores > found.metrics.best_f1_threshold
    hits = (above & labels).sum()
    assert 2 * hits / (above.sum() + labels.sum()) == pytest.approx(f1, abs=1e-12)


@settings(max_examples=60)
@given(image_lists)
def test_au_pro_is_the_area_over_every_threshold(images: list[LabelledMap]) -> None:
    found = evaluate(images)
    if found is None:
        return
    parts, good = components(images), good_scores(images)
    q1, q2, q3 = np.quantile([part.size for part in parts], [0.25, 0.5, 0.75])
    overlap = found.metrics.overlap
    assert overlap.quartiles_px == (q1, q2, q3)
    for limit in LIMITS:
        label = f"{limit:.0%}"
        assert overlap.aupro["exact"][label] == pytest.approx(au_pro(parts, good, limit), abs=1e-9)
        edges = [0, q1, q2, q3, np.inf]
        for number in range(4):
            cumulative = [part for part in parts if part.size <= edges[number + 1]]
            disjoint = [part for part in cumulative if part.size > edges[number]]
            for expected, size_bin in (
                (cumulative, overlap.cumulative[number]),
                (disjoint, overlap.disjoint[number]),
            ):
                assert size_bin.components == len(expected)
                if expected:
                    assert size_bin.aupro is not None
                    assert size_bin.smallest_px == min(part.size for part in expected)
                    assert size_bin.largest_px == max(part.size for part in expected)
                    assert size_bin.aupro["exact"][label] == pytest.approx(
                        au_pro(expected, good, limit), abs=1e-9
                    )


@pytest.mark.slow
@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_the_papers_protocol_is_its_99_points_written_down_plainly(seed: int) -> None:
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(3):
        mask = rng.random((30, 40)) < 0.02
        anomaly_map = (rng.normal(size=mask.shape) + 1.5 * mask).astype(np.float32)
        images.append(LabelledMap(anomaly_map, mask, is_defective=True))
    found = evaluate(images)
    assert found is not None
    plain = evaluate_plainly((image.anomaly_map, image.mask) for image in images)
    assert found.metrics.auroc == pytest.approx(plain["P-AUROC"], abs=1e-9)
    for size_bin in found.metrics.overlap.cumulative:
        assert size_bin.aupro is not None
        for label, area in size_bin.aupro["paper"].items():
            assert area == pytest.approx(plain[f"AU-PRO {size_bin.name} {label}"], abs=1e-9)


def test_the_papers_99_points_are_far_too_low_at_a_rate_of_1_percent() -> None:
    rng = np.random.default_rng(0)
    mask = np.zeros((300, 400), bool)
    mask[100:120, 100:120] = True
    scores = (rng.normal(size=mask.shape) + 2.5 * mask).astype(np.float32)
    found = evaluate([LabelledMap(scores, mask, is_defective=True)])
    assert found is not None
    aupro = found.metrics.overlap.aupro
    assert aupro["paper"]["30%"] == pytest.approx(aupro["exact"]["30%"], abs=0.01)
    assert aupro["paper"]["1%"] < aupro["exact"]["1%"] - 0.1


def low_rate_image(seed: int, *, is_defective: bool, levels: int) -> LabelledMap:
    rng = np.random.default_rng(seed)
    mask = np.zeros((200, 250), bool)
    if is_defective:
        mask[20:30, 40 : 50 + seed] = True
    scores = rng.normal(size=mask.shape) + 4 * mask
    # With few levels good and defect pixels tie.
    rounded = (np.round(scores * levels) / levels).astype(np.float32)
    return LabelledMap(rounded, mask, is_defective=is_defective)


@pytest.mark.parametrize("levels", [3, 1000])
def test_aupimo_is_the_mean_recall_over_the_logarithm_of_the_rate(levels: int) -> None:
    images = [low_rate_image(seed, is_defective=seed % 2 == 1, levels=levels) for seed in range(6)]
    found = evaluate(images)
    assert found is not None
    expected = aupimo(images)
    assert list(found.aupimo_of_image.values()) == pytest.approx(expected, abs=2e-4)
    assert found.metrics.aupimo == pytest.approx(np.mean(expected), abs=2e-4)
    assert 0.2 < np.mean(expected) < 0.9


def test_aupimo_weighs_good_images_alike_whatever_their_size() -> None:
    rng = np.random.default_rng(0)
    good = [rng.normal(size=size).astype(np.float32) for size in (200_000, 50_000, 400_000)]
    highest = HighestGoodPixels(images=len(good))
    for scores in good:
        highest.add(to_keys(scores))
    part = (rng.normal(size=500) + 4).astype(np.float32)
    found = highest.recall_areas([to_keys(part)])
    images = [
        *(LabelledMap(one[None], np.zeros((1, one.size), bool), is_defective=False) for one in good)
    ]
    # Only the highest pixels of each matter for the slow way, which asks every threshold.
    kept = [LabelledMap(np.sort(i.anomaly_map)[:, -60:], i.mask[:, -60:], False) for i in images]
    shrunk = _aupimo_of_top(kept, [one.size for one in good], part)
    assert found == pytest.approx([shrunk], abs=2e-4)


def _aupimo_of_top(
    kept: list[LabelledMap],
    sizes: list[int],
    part: np.ndarray,  # type: ignore[type-arg]
) -> float:
    thresholds = np.unique(np.concatenate([one.anomaly_map.ravel() for one in kept]))[::-1]
    rates = np.array(
        [
            np.mean([(k.anomaly_map >= t).sum() / n for k, n in zip(kept, sizes, strict=True)])
            for t in thresholds
        ]
    )
    steps = np.exp(np.linspace(np.log(1e-5), np.log(1e-4), 20_001))
    middle = np.sqrt(steps[1:] * steps[:-1])
    crossing = thresholds[np.searchsorted(rates, middle)]
    return float(np.mean([(part > threshold).mean() for threshold in crossing]))


def test_too_few_good_pixels_leave_aupimo_undefined() -> None:
    found = evaluate(
        [
            LabelledMap(np.zeros(SHAPE, np.float32), np.zeros(SHAPE, bool), is_defective=False),
            LabelledMap(np.ones(SHAPE, np.float32), np.eye(*SHAPE, dtype=bool), is_defective=True),
        ]
    )
    assert found is not None
    assert found.metrics.aupimo is None
    assert found.aupimo_of_image == {}


def test_a_component_tells_its_image_place_size_and_peak() -> None:
    anomaly_map = np.zeros(SHAPE, np.float32)
    anomaly_map[2:4, 3] = (0.5, 0.25)
    mask = np.zeros(SHAPE, bool)
    mask[2:4, 3] = mask[4, 4] = mask[9, 0] = True
    evaluator = PixelEvaluator(good_images=0)
    first, second = evaluator.add("a.png", anomaly_map, mask, is_defective=True)
    assert (first.image, first.x_px, first.y_px) == ("a.png", 3, 2)
    assert (first.width_px, first.height_px, first.size_px, first.peak) == (2, 3, 3, 0.5)
    assert (second.size_px, second.peak) == (1, 0.0)


@pytest.mark.parametrize(
    ("anomaly_map", "mask", "is_defective", "reason"),
    [
        (np.full(SHAPE, np.nan, np.float32), np.zeros(SHAPE, bool), False, "holds NaN"),
        (np.zeros((2, 2), np.float32), np.zeros((2, 3), bool), True, "differ in shape"),
        (np.zeros(SHAPE, np.float32), np.ones(SHAPE, bool), False, "labelled good"),
    ],
)
def test_what_cannot_be_counted_is_refused(
    anomaly_map: np.ndarray,  # type: ignore[type-arg]
    mask: np.ndarray,  # type: ignore[type-arg]
    is_defective: bool,
    reason: str,
) -> None:
    with pytest.raises(ValueError, match=reason):
        PixelEvaluator(good_images=1).add("a.png", anomaly_map, mask, is_defective=is_defective)
