"""Known defects teach the judge what they look like, if that helps, and are never forgotten."""

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from runtime.errors import OptionError
from runtime.feedback.inbox import Inbox
from runtime.products.trust.signatures import SIGNATURE_NAME
from tests.parts.command import l2bt
from tests.parts.learnable import WHOLE, Trained, content_of, copy_of
from train.data.synthetic import open_synthetic
from train.learning.defect_lessons import Tried, choose
from train.learning.learn_again import learn_again
from train.learning.relearn import Relearned
from train.settings import RelearnSettings
from train.students.bundle import open_bundle


def learn(bundle: Path) -> Relearned:
    settings = RelearnSettings(updates=8)
    return learn_again(bundle, inboxes=bundle.parent / "feedback", settings=settings, force=True)


def know_defects(bundle: Path, count: int, *, marked: bool = True) -> None:
    """Stains of one kind on parts that were good."""
    rng = np.random.default_rng(0)
    with Inbox(bundle.parent / "feedback", "plate") as inbox:
        for number, sample in enumerate(open_synthetic(WHOLE).train[:count]):
            pixels = sample.pixels().copy()
            x, y = int(rng.integers(20, 90)), int(rng.integers(20, 50))
            pixels[y : y + 24, x : x + 24] = (200, 40, 40)
            inbox.add(
                content_of(pixels),
                name=f"stain-{number}.png",
                review="defect",
                who="ada",
                boxes=[(x, y, 24, 24)] if marked else [],
            )


@pytest.fixture
def judged(trained: Trained, tmp_path: Path) -> Path:
    return copy_of(trained("judged"), tmp_path)


def leave_good_parts(bundle: Path, count: int) -> None:
    with Inbox(bundle.parent / "feedback", "plate") as inbox:
        for part in inbox.parts(review="good")[count:]:
            inbox.remove(part)


def test_marked_defects_are_learned_from_if_those_left_out_score_higher(judged: Path) -> None:
    know_defects(judged, 6)
    leave_good_parts(judged, 0)
    found = learn(judged)
    without, with_look = found.tried
    assert (without.strength, with_look.strength > 0) == (0.0, True)
    assert with_look.distance > without.distance
    assert len(with_look.unseen) == 6
    assert found.taken is with_look
    card = open_bundle(judged).card
    assert card.training["known_defects_strength"] == with_look.strength
    assert card.threshold.image_score == with_look.threshold.image_score
    with pytest.raises(OptionError, match="no 5 defects with a box or mask that are others"):
        learn(judged)


@pytest.mark.parametrize(("count", "marked"), [(4, True), (6, False)])
def test_few_defects_or_such_without_a_place_are_only_watched(
    judged: Path, count: int, marked: bool, caplog: pytest.LogCaptureFixture
) -> None:
    know_defects(judged, count, marked=marked)
    leave_good_parts(judged, 1)
    with caplog.at_level(logging.INFO, logger="l2bt.train"):
        found = learn(judged)
    assert [one.strength for one in found.tried] == [0.0]
    assert "is not learned" in caplog.text
    assert found.comparison.defects == 2 + count


def test_a_product_without_a_judge_of_its_own_says_that_it_learns_no_look(
    product: Path, caplog: pytest.LogCaptureFixture
) -> None:
    know_defects(product, 5)
    with caplog.at_level(logging.INFO, logger="l2bt.train"):
        found = learn(product)
    assert [one.strength for one in found.tried] == [0.0]
    assert "no judge of its own" in caplog.text


def test_a_known_defect_that_passes_is_named_with_the_reason(
    product: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Inbox(product.parent / "feedback", "plate") as inbox:
        part = open_synthetic(WHOLE).train[0].pixels()
        boxes = [(10, 10, 2, 2)]
        inbox.add(content_of(part), name="speck.png", review="defect", who="ada", boxes=boxes)
    with caplog.at_level(logging.WARNING, logger="l2bt.train"):
        learn(product)
    assert "known defect speck.png passes: it scores" in caplog.text
    assert "it covers 4 px, and a patch" in caplog.text


def test_where_nothing_was_learned_the_bundle_stays_as_it_is_with_its_signature(
    product: Path,
) -> None:
    know_defects(product, 5)
    leave_good_parts(product, 0)
    (product / SIGNATURE_NAME).write_text("a signature")
    before = {path.name: path.read_bytes() for path in product.iterdir()}
    assert not learn(product).is_new
    result = l2bt("learn", "plate", folder=product.parent)
    assert result.returncode == 0, result.stderr
    assert "nothing is changed" in result.stdout
    assert {path.name: path.read_bytes() for path in product.iterdir()} == before


def tried(strength: float, *, false_alarms: int, distance: float) -> Tried:
    return cast(
        Tried,
        SimpleNamespace(strength=strength, false_alarms=false_alarms, distance=distance),
    )


@pytest.mark.parametrize(
    ("false_alarms", "distance", "is_taken"),
    [(1, 0.2, True), (1, 0.05, False), (2, 0.2, False), (0, 0.2, True)],
)
def test_a_look_is_kept_that_lifts_unseen_defects_and_costs_no_false_alarm(
    false_alarms: int, distance: float, is_taken: bool
) -> None:
    without = tried(0, false_alarms=1, distance=0.1)
    with_look = tried(0.25, false_alarms=false_alarms, distance=distance)
    assert choose([without, with_look]) is (with_look if is_taken else without)
