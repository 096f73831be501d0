"""Products out of the checkpoints that the paper's authors publish."""

from pathlib import Path

import pytest
import torch

from runtime.errors import ModelError, OptionError
from train.data.dataset import Dataset
from train.learning.import_checkpoints import CheckpointFiles, import_checkpoints
from train.settings import DEMO_TEACHER, TeacherSettings
from train.students.bundle import ProductBundle
from train.students.students import Student

TEACHER = TeacherSettings(teacher=DEMO_TEACHER)


@pytest.fixture
def checkpoints(tmp_path: Path) -> Path:
    """Files named and keyed as the authors' are."""
    torch.manual_seed(0)
    for direction in ("forward", "backward"):
        state = Student(384).state_dict()
        assert {key.split(".")[0] for key in state} == {"input", "projection", "output"}
        torch.save(state, tmp_path / f"{direction}_net_run1_plate_50ep_4bs.pth")
    return tmp_path


def find(folder: Path, **changes: object) -> CheckpointFiles:
    names = {"label": "run1", "product": "plate", "epochs": 50, "batch_size": 4, **changes}
    return CheckpointFiles.find(folder, **names)  # type: ignore[arg-type]


def bundle_of(files: CheckpointFiles, **options: object) -> ProductBundle:
    return import_checkpoints(
        files,
        files.forward_net.parent / "plate",
        product="plate",
        teacher_settings=TEACHER,
        image_size=112,
        **options,  # type: ignore[arg-type]
    )


def test_checkpoints_become_a_bundle_with_their_students(checkpoints: Path) -> None:
    files = find(checkpoints)
    bundle = bundle_of(files, thresholds=(0.1, 0.2))
    for student, path in (
        (bundle.students.forward_student, files.forward_net),
        (bundle.students.backward_student, files.backward_net),
    ):
        for key, value in torch.load(path, weights_only=True).items():
            assert torch.equal(student.state_dict()[key], value)
    assert bundle.card.threshold.method == "given by hand"


def test_good_images_give_the_threshold_and_the_card_says_so(
    checkpoints: Path, small_dataset: Dataset
) -> None:
    bundle = bundle_of(find(checkpoints), dataset=small_dataset)
    assert bundle.card.threshold.image_score > 0
    assert "were trained on" in bundle.card.threshold.method


def test_without_a_threshold_or_images_nothing_is_imported(checkpoints: Path) -> None:
    with pytest.raises(OptionError, match="--data"):
        bundle_of(find(checkpoints))


def test_a_missing_checkpoint_is_named(checkpoints: Path) -> None:
    with pytest.raises(ModelError, match="forward_net_run1_plate_100ep_4bs.pth is missing"):
        find(checkpoints, epochs=100)


def test_a_checkpoint_that_would_have_to_be_unpickled_is_refused(checkpoints: Path) -> None:
    files = find(checkpoints)
    torch.save({"input.weight": Path("would be unpickled")}, files.forward_net)
    with pytest.raises(ModelError, match="cannot be read"):
        bundle_of(files, thresholds=(0.1, 0.2))


def test_students_of_another_width_are_refused(checkpoints: Path) -> None:
    files = find(checkpoints)
    torch.save(Student(8).state_dict(), files.forward_net)
    with pytest.raises(ModelError, match="no student of width 384"):
        bundle_of(files, thresholds=(0.1, 0.2))
    assert not (checkpoints / "plate").exists()
