"""The product bundle on disk: written whole, and refused with the reason when it is not right."""

import shutil
from pathlib import Path

import msgspec
import pytest
import torch

from runtime.errors import ModelError, OptionError
from runtime.products.card import CARD_NAME, ProductCard
from runtime.products.students_file import STUDENTS_NAME
from tests.parts.small import make_card
from train.reference import ReferenceDetector
from train.students.bundle import ProductBundle, open_bundle, write_bundle
from train.students.students import Students


@pytest.fixture
def copy(bundle: ProductBundle, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle.folder, tmp_path / "copy"))


def change_card(folder: Path, **changes: object) -> None:
    card = msgspec.json.decode((folder / CARD_NAME).read_bytes())
    for path, value in changes.items():
        *parents, name = path.split("__")
        part = card
        for parent in parents:
            part = part[parent]
        part[name] = value
    (folder / CARD_NAME).write_bytes(msgspec.json.encode(card))


def test_a_bundle_reads_back_as_it_was_written(tmp_path: Path) -> None:
    students = Students(384)
    written = write_bundle(tmp_path / "plate", make_card(), students)
    read = open_bundle(tmp_path / "plate")
    assert read.card == written.card
    for key, value in students.state_dict().items():
        assert torch.equal(read.students.state_dict()[key], value)


def test_a_bundle_says_what_judges_it(tmp_path: Path) -> None:
    plain = write_bundle(tmp_path / "plain", make_card(), Students(384))
    judged = write_bundle(tmp_path / "judged", make_card(), Students(384, judged=True))
    assert open_bundle(plain.folder).judge.startswith("the paper's, since")
    assert open_bundle(judged.folder).judge == "their own"


def test_a_failed_write_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ProductCard, "write", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_bundle(tmp_path / "plate", make_card(), Students(384))
    assert not list(tmp_path.iterdir())


def test_a_failed_overwrite_leaves_the_old_bundle(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (copy / STUDENTS_NAME).read_bytes()
    monkeypatch.setattr(ProductCard, "write", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_bundle(copy, make_card(), Students(384), overwrite=True)
    assert (copy / STUDENTS_NAME).read_bytes() == before


def test_an_existing_folder_is_not_overwritten_unasked(copy: Path) -> None:
    with pytest.raises(OptionError, match="--overwrite"):
        write_bundle(copy, make_card(), Students(384))


def test_overwriting_replaces_no_folder_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.jpg").touch()
    with pytest.raises(OptionError, match=r"photos holds no product\.json"):
        write_bundle(tmp_path / "photos", make_card(), Students(384), overwrite=True)
    assert (tmp_path / "photos" / "holiday.jpg").exists()


@pytest.mark.parametrize("name", [STUDENTS_NAME, CARD_NAME])
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(ModelError, match=name):
        open_bundle(copy)


def test_cut_students_are_refused(copy: Path) -> None:
    data = (copy / STUDENTS_NAME).read_bytes()
    (copy / STUDENTS_NAME).write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelError, match="cut or swapped"):
        open_bundle(copy)


def test_the_students_of_another_product_are_refused(copy: Path, tmp_path: Path) -> None:
    write_bundle(tmp_path / "other", make_card(), Students(384))
    shutil.copy(tmp_path / "other" / STUDENTS_NAME, copy / STUDENTS_NAME)
    with pytest.raises(ModelError, match="cut or swapped"):
        open_bundle(copy)


def test_a_cut_card_is_refused(copy: Path) -> None:
    data = (copy / CARD_NAME).read_bytes()
    (copy / CARD_NAME).write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelError, match=r"product\.json is not a valid ProductCard"):
        open_bundle(copy)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"schema": "l2bt.product/99"}, "reads 'l2bt.product/1'"),
        ({"product": "../../etc"}, "product name '../../etc'"),
        ({"threshold__image_score": "high"}, r"Expected `float`, got `str`.*threshold"),
        ({"threshold__image_score": None}, r"Expected `float`, got `null`.*threshold"),
        ({"teacher__layers": [8, 4]}, "expected two blocks"),
        ({"geometry__image_size": 225}, "the nearest are 224 and 238"),
        ({"teacher__dimension": 768}, "does not hold two students of width 768"),
    ],
)
def test_a_card_that_is_wrong_is_refused_with_the_reason(
    copy: Path, changes: dict[str, object], reason: str
) -> None:
    change_card(copy, **changes)
    with pytest.raises(ModelError, match=reason):
        open_bundle(copy)


def test_another_teacher_than_in_training_is_refused(copy: Path) -> None:
    change_card(copy, teacher__weights_sha256="0" * 64)
    with pytest.raises(ModelError, match="the product was trained with 000000000000"):
        ReferenceDetector(copy)


def test_students_with_nan_are_refused(tmp_path: Path) -> None:
    students = Students(384)
    with torch.no_grad():
        students.forward_student.input.bias[0] = float("nan")
    write_bundle(tmp_path / "plate", make_card(), students)
    with pytest.raises(ModelError, match="holds NaN"):
        open_bundle(tmp_path / "plate")
