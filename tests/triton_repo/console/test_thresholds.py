"""What another threshold would do, as the console shows it, and serving with it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import OptionError
from runtime.geometry.area import InspectionArea
from runtime.models.exported_model import ExportedModel
from runtime.products.conformal import choose_threshold
from runtime.products.store.card_files import CardFiles
from tests.parts.console import Pages
from tests.parts.records import record
from tests.parts.small import make_card
from triton_repo.configuration.build import build_repository
from triton_repo.console.products.installed import Version
from triton_repo.console.products.threshold_preview import Evidence, Share, preview

SCORES = st.lists(st.floats(0, 10), max_size=30)


def _evidence(calibration: list[float], recorded: list[float], defects: list[float]) -> Evidence:
    return Evidence(
        version=Version(number=1, card=make_card(), is_active=True, was_before=False),
        calibration=np.sort(np.array(calibration, np.float64)),
        recorded=np.sort(np.array(recorded, np.float64)),
        defects=[{"number": 1, "score": score} for score in sorted(defects)],
        goods=[],
    )


@given(SCORES, SCORES, SCORES, st.tuples(st.floats(0, 10), st.floats(0, 10)))
def test_a_higher_threshold_rejects_no_more_and_lets_no_fewer_defects_pass(
    calibration: list[float],
    recorded: list[float],
    defects: list[float],
    wished: tuple[float, float],
) -> None:
    evidence = _evidence(calibration, recorded, defects)
    low, high = (preview(evidence, score, None) for score in sorted(wished))
    assert len(low.passed) <= len(high.passed)
    for of_low, of_high, scores in (
        (low.calibration, high.calibration, calibration),
        (low.recorded, high.recorded, recorded),
    ):
        if of_low is None or of_high is None:
            assert not scores
            continue
        assert of_low.count == sum(score > min(wished) for score in scores)
        assert of_low.count >= of_high.count
        lowest, highest = of_low.interval
        assert lowest <= of_low.count / of_low.total <= highest


@given(SCORES, SCORES)
def test_the_slider_spans_all_scores_with_ends_of_few_digits(
    calibration: list[float], recorded: list[float]
) -> None:
    evidence = _evidence(calibration, recorded, [])
    lowest, highest = evidence.score_range
    known = [*calibration, *recorded, evidence.version.card.threshold.image_score]
    assert lowest <= min(known) <= max(known) <= highest
    assert lowest < highest
    assert all(float(f"{end:.15g}") == end for end in (lowest, highest))


def test_none_of_twenty_is_up_to_seventeen_in_a_hundred() -> None:
    assert Share(count=0, total=20).interval == pytest.approx((0, 0.1684), abs=1e-4)


def test_defects_between_both_thresholds_are_for_review() -> None:
    found = preview(_evidence([], [], [1.0, 2.0, 3.0]), 2.5, 1.5)
    assert [row["score"] for row in found.passed] == [1.0]
    assert [row["score"] for row in found.reviewed] == [2.0]
    with pytest.raises(OptionError, match="for review from 3 on, above the threshold, 2.5"):
        preview(_evidence([], [], []), 2.5, 3.0)


@pytest.fixture
def stocked(pages: Pages, tiny_exported: ExportedModel) -> Pages:
    build_repository(tiny_exported, pages.console.settings.repository)
    return pages


def test_scores_of_the_same_students_count_and_those_of_another_area_do_not(
    stocked: Pages,
) -> None:
    repository = stocked.console.settings.repository
    stocked.write(*(replace(record(number), score=float(number)) for number in range(10)))
    stocked.console.inspections.review(3, "defect", who="Ada")
    stocked.console.inspections.review(4, "good", who="Ada")
    files = CardFiles.find(repository, product="plate")
    files = files.change_threshold(replace(files.card.threshold, image_score=5.5), None)
    evidence = stocked.console.evidence.of("plate")
    assert (evidence.version.number, list(evidence.recorded)) == (2, list(range(10)))
    found = preview(evidence, 2.5, None)
    assert found.recorded == Share(count=7, total=10)
    assert [row["number"] for row in found.passed] == [3]
    assert [row["number"] for row in found.rejected_goods] == [4]
    files.change_area(InspectionArea(image_wh=(360, 240), ignore=(((0, 0), (9, 0), (9, 9)),)))
    evidence = stocked.console.evidence.of("plate", anew=True)
    assert (evidence.recorded.size, len(evidence.defects)) == (0, 0)


def test_a_threshold_by_hand_or_by_a_rate_becomes_a_version_and_what_cannot_be_is_told(
    stocked: Pages,
) -> None:
    engineer = stocked.visitor("engineer")
    csrf = stocked.csrf(engineer)
    path = "/products/plate/threshold"
    assert engineer.get(path).status_code == 200

    def apply(**form: str) -> tuple[int, str]:
        answer = engineer.post(path, data={"csrf": csrf, **form})
        return answer.status_code, answer.text

    assert apply(version="1", image_score="0.75")[0] == 303
    active = stocked.console.installed.one("plate").active
    assert active is not None
    assert (active.number, active.card.threshold.image_score) == (2, 0.75)
    assert stocked.console.people.audit()[0]["what"] == (
        "set the threshold of plate to 0.75 by hand: version 2"
    )
    for form, words in (
        ({"version": "1", "image_score": "0.5"}, "version 2 of plate became active meanwhile"),
        ({"version": "2"}, "no threshold came"),
        ({"version": "2", "image_score": "inf"}, "expected a finite number"),
        ({"version": "2", "false_alarm_rate": "0.0001"}, "9999 good images"),
        (
            {"version": "2", "image_score": "0.5", "review_score": "0.6"},
            "above the image threshold",
        ),
    ):
        status, text = apply(**form)
        assert status == 400
        assert words in text
    assert apply(version="2", false_alarm_rate="0.5")[0] == 303
    by_rate = stocked.console.installed.one("plate").active
    assert by_rate is not None
    assert (by_rate.number, by_rate.card.threshold.good_images > 0) == (3, True)


def test_what_is_for_review_stays_when_a_threshold_is_chosen_by_a_rate(stocked: Pages) -> None:
    files = CardFiles.find(stocked.console.settings.repository, product="plate")
    assert files.card.calibration is not None
    both = choose_threshold(files.card.calibration, false_alarm_rate=0.25, review_rate=0.75)
    files.change_threshold(both, files.card.calibration)
    engineer = stocked.visitor("engineer")
    form = {"version": "2", "false_alarm_rate": "0.5", "csrf": stocked.csrf(engineer)}
    assert engineer.post("/products/plate/threshold", data=form).status_code == 303
    active = stocked.console.installed.one("plate").active
    assert active is not None
    assert active.card.threshold.false_alarm_rate == 0.5
    assert active.card.threshold.review_rate == both.review_rate
