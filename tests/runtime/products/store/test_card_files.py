"""Changing a product's card: of two who change it at once, the second is told."""

import multiprocessing
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.errors import OptionError
from runtime.geometry.area import InspectionArea
from runtime.models.exported_model import ExportedModel
from runtime.products.store.card_files import CardFiles
from tests.parts.small import make_card
from train.students.bundle import write_bundle
from train.students.students import Students

AREA = InspectionArea(image_wh=(90, 60), include=(((0, 0), (80, 0), (80, 50)),), ignore=())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    card = make_card()
    card = replace(card, teacher=replace(card.teacher, dimension=8))
    return write_bundle(tmp_path / "plate", card, Students(8)).folder


def test_of_two_changes_to_a_bundle_the_second_is_refused_and_the_first_is_kept(
    folder: Path,
) -> None:
    one, other = CardFiles.find(folder), CardFiles.find(folder)
    one.change_area(AREA)
    with pytest.raises(OptionError, match=r"product\.json was changed by somebody else"):
        other.change_threshold(replace(other.card.threshold, image_score=0.7), None)
    assert CardFiles.find(folder).card.area == AREA


def test_of_two_changes_in_a_store_the_second_is_refused_and_the_first_is_kept(
    exported: ExportedModel, tmp_path: Path
) -> None:
    import shutil

    model = shutil.copytree(exported.folder, tmp_path / "model")
    one, other = CardFiles.find(model), CardFiles.find(model)
    one.change_threshold(replace(one.card.threshold, image_score=0.6), one.card.calibration)
    with pytest.raises(OptionError, match="version 2 of plate became active while .* version 1"):
        other.change_area(AREA)
    found = CardFiles.find(model)
    assert (found.version, found.card.threshold.image_score, found.card.area) == (2, 0.6, None)


def test_one_operator_changes_a_card_again_and_again(folder: Path) -> None:
    files = CardFiles.find(folder)
    for score in (0.5, 0.6):
        files = files.change_threshold(replace(files.card.threshold, image_score=score), None)
    assert CardFiles.find(folder).card.threshold.image_score == 0.6


def _change(folder: Path, score: float, results: "multiprocessing.Queue[bool]") -> None:
    files = CardFiles.find(folder)
    try:
        files.change_threshold(replace(files.card.threshold, image_score=score), None)
    except OptionError:
        results.put(False)
    else:
        results.put(True)


def test_of_many_operators_each_is_told_whether_the_change_was_written(folder: Path) -> None:
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[bool] = context.Queue()
    scores = [0.3, 0.4, 0.5, 0.6]
    operators = [context.Process(target=_change, args=(folder, s, results)) for s in scores]
    for operator in operators:
        operator.start()
    written = [results.get(timeout=60) for _ in operators]
    for operator in operators:
        operator.join()
    assert any(written)
    assert CardFiles.find(folder).card.threshold.image_score in scores
