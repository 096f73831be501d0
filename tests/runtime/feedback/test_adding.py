"""Adding files to an inbox: scored by a model, refused where they contradict what is known."""

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from runtime.detector import Detector
from runtime.errors import BadImageError, OptionError
from runtime.feedback.adding import Statement, add_files
from runtime.feedback.inbox import Inbox
from runtime.feedback.reviewed_part import ReviewedPart
from runtime.products.card import Calibration, ProductCard
from tests.parts.command import l2bt
from tests.parts.small import png
from train.data.dataset import Dataset


@pytest.fixture
def inbox(tmp_path: Path) -> Inbox:
    return Inbox(tmp_path / "feedback", "plate")


@pytest.fixture
def files(small_dataset: Dataset, tmp_path: Path) -> list[Path]:
    paths = []
    for number, sample in enumerate(small_dataset.test):
        kind = "bad" if sample.is_defective else "good"
        paths.append(tmp_path / f"{number}-{kind}.png")
        Image.fromarray(sample.pixels()).save(paths[-1])
    return paths


def test_each_file_gets_the_score_the_threshold_and_the_version_of_now(
    inbox: Inbox, files: list[Path], detector: Detector
) -> None:
    bad = [path for path in files if "bad" in path.name]
    found = list(add_files(inbox, bad, Statement(review="defect", who="ada"), inspector=detector))
    for path, part in zip(bad, found, strict=True):
        assert isinstance(part, ReviewedPart)
        said = detector.inspect(path)
        assert (part.score, part.threshold, part.version) == (said.score, said.threshold, 1)


class Calibrated:
    """The detector, with a card whose thresholds rest on more images."""

    def __init__(self, detector: Detector, calibration: Calibration) -> None:
        self.inspect, self.inspect_many = detector.inspect, detector.inspect_many
        self._card = replace(detector.read_card(), calibration=calibration)

    def read_card(self, *, product: str | None = None) -> ProductCard:
        return self._card


def test_a_good_part_that_is_unlike_all_good_ones_must_be_insisted_on(
    inbox: Inbox, files: list[Path], detector: Detector
) -> None:
    scores = sorted((detector.inspect(path).score, path) for path in files)
    worst = scores[-1][1]
    low = tuple(scores[0][0] * (1 + number / 100) for number in range(10))
    calibration = Calibration(images=tuple(map(str, range(10))), scores=low, peaks=low)
    inspector = Calibrated(detector, calibration)
    said = Statement(review="good", who="ada")
    (refused,) = add_files(inbox, [worst], said, inspector=inspector)
    assert isinstance(refused, OptionError)
    assert "insist with --force" in str(refused)
    insisting = Statement(review="good", who="ada", force=True)
    (taken,) = add_files(inbox, [worst], insisting, inspector=inspector)
    assert isinstance(taken, ReviewedPart)


def test_an_image_of_another_size_must_be_insisted_on(inbox: Inbox, tmp_path: Path) -> None:
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    paths[0].write_bytes(png(0))
    paths[1].write_bytes(png(1, width=61))
    good = Statement(review="good", who="ada")
    first, second = add_files(inbox, paths, good, inspector=None)
    assert isinstance(first, ReviewedPart)
    assert isinstance(second, OptionError)
    assert "b.png has 61 x 40 px" in str(second)
    (second,) = add_files(
        inbox, paths[1:], Statement(review="good", who="ada", force=True), inspector=None
    )
    assert isinstance(second, ReviewedPart)


def test_a_file_that_cannot_be_taken_does_not_keep_the_next_from_it(
    inbox: Inbox, tmp_path: Path
) -> None:
    (tmp_path / "a.png").write_bytes(b"nothing")
    (tmp_path / "b.png").write_bytes(png())
    paths = [tmp_path / name for name in ("a.png", "b.png", "b.png")]
    found = list(add_files(inbox, paths, Statement(review="good", who="ada"), inspector=None))
    assert isinstance(found[0], BadImageError)
    assert isinstance(found[1], ReviewedPart)
    assert isinstance(found[2], OptionError)
    assert all(str(tmp_path) in str(one) for one in (found[0], found[2]))


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"who": " "}, "--who"),
        ({"boxes": ((1, 1, 2, 2),)}, "belong to --defect"),
        ({"review": "defect", "boxes": ((1, 1, 2, 2),), "mask": Path("m")}, "exclude each other"),
    ],
)
def test_a_statement_that_contradicts_itself_is_refused(
    said: dict[str, object], reason: str
) -> None:
    with pytest.raises(OptionError, match=reason):
        Statement(**{"review": "good", "who": "ada", **said})  # type: ignore[arg-type]


def test_a_box_belongs_to_one_image(inbox: Inbox, tmp_path: Path) -> None:
    said = Statement(review="defect", who="ada", boxes=((1, 1, 2, 2),))
    with pytest.raises(OptionError, match="belong to one image, and 2 are given"):
        list(add_files(inbox, [tmp_path / "a", tmp_path / "b"], said, inspector=None))


def test_the_commands_add_list_and_remove(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    add = ("feedback", "add", "bolt", "a.png")
    said = l2bt(*add, "--defect", "--box", 1, 2, 3, 4, folder=tmp_path)
    assert "a.png: defect, not scored" in said.stdout, said.stderr
    listed = l2bt("feedback", "list", "bolt", folder=tmp_path)
    assert '"boxes": [[1, 2, 3, 4]]' in listed.stdout, listed.stderr
    digest = said.stdout.split()[0]
    removed = l2bt("feedback", "remove", "bolt", digest, folder=tmp_path)
    assert f"removed {digest} a.png" in removed.stdout, removed.stderr
    assert l2bt("feedback", "list", "bolt", folder=tmp_path).stdout == ""
    neither = l2bt(*add, folder=tmp_path)
    assert "give one of --good and --defect" in neither.stderr
    unknown = l2bt("feedback", "list", "nut", folder=tmp_path)
    assert "holds no inbox of 'nut'" in unknown.stderr
