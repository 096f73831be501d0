"""A version is held against all that people have said, whatever made it."""

from pathlib import Path

import pytest

from runtime.detector import Detector
from runtime.feedback.checking import check_known
from runtime.feedback.inbox import Inbox
from runtime.models.exported_model import ExportedModel
from tests.parts.command import l2bt
from tests.parts.learnable import content_of
from train.data.dataset import Dataset


@pytest.fixture
def inboxes(small_dataset: Dataset, tmp_path: Path) -> Path:
    """One defect and two good parts as they are, and one image of which the opposite was said."""
    good = [sample for sample in small_dataset.test if not sample.is_defective]
    defective = [sample for sample in small_dataset.test if sample.is_defective]
    folder = tmp_path / "feedback"
    with Inbox(folder, "plate") as inbox:
        for number, sample in enumerate((defective[0], *good[:2])):
            review = "defect" if sample.is_defective else "good"
            content = content_of(sample.pixels())
            inbox.add(content, name=f"{number}.png", review=review, who="ada")  # type: ignore[arg-type]
        inbox.add(
            content_of(good[2].pixels()),
            name="passes.png",
            review="defect",
            who="ada",
            score=2.0,
            threshold=1.0,
        )
        inbox.add(content_of(defective[1].pixels()), name="kept.png", review=None, who="server")
    return folder


def test_each_reviewed_part_is_inspected_and_what_contradicts_is_wrong(
    inboxes: Path, detector: Detector
) -> None:
    with Inbox(inboxes, "plate") as inbox:
        found = list(check_known(inbox, detector))
        for one in found:
            again = detector.inspect(inbox.content(one.part), want_map=False)
            assert one.found.score == again.score
            assert one.is_wrong == (again.is_defective != (one.part.review == "defect"))
    assert [one.part.name for one in found] == ["0.png", "1.png", "2.png", "passes.png"]
    assert found[-1].is_wrong
    assert "known defect passes: passes.png" in found[-1].describe()
    assert "when it was added 200%" in found[-1].describe()


def test_the_command_ends_with_status_1_where_a_known_defect_passes(
    inboxes: Path, exported: ExportedModel
) -> None:
    options = ("check", "plate", "--inboxes", inboxes, "--model", exported.folder)
    result = l2bt("feedback", *options, folder=inboxes.parent)
    assert result.returncode == 1
    assert "known defect passes: passes.png" in result.stdout
    assert "of 2 known defects pass" in result.stdout
    with Inbox(inboxes, "plate") as inbox:
        for part in inbox.parts(review="defect"):
            inbox.remove(part)
    assert l2bt("feedback", *options, folder=inboxes.parent).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["plate"], "give one of --model and --server"),
        (["nut", "--model", "nowhere"], "holds no inbox of 'nut'"),
    ],
)
def test_without_a_version_or_an_inbox_nothing_is_checked(
    inboxes: Path, arguments: list[str], reason: str
) -> None:
    result = l2bt("feedback", "check", *arguments, folder=inboxes.parent)
    assert result.returncode == 1
    assert reason in result.stderr
