"""Products that can learn."""

from pathlib import Path

import pytest

from tests.parts.learnable import WHOLE, copy_of
from train.data.synthetic import open_synthetic
from train.learning.learn import learn_product
from train.settings import (
    DEMO_TEACHER,
    FitSettings,
    GeometryOptions,
    TeacherSettings,
    WorkSettings,
)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Products with their memories, each in a folder: of folds, of held-out images, and of folds
    with patches enough for a judge of its own.
    """
    found = {}
    for name, image_size, settings in (
        ("folds", 112, FitSettings(steps=150, folds=3, forecast=False)),
        ("held-out", 112, FitSettings(steps=150, held_out=0.4)),
        ("judged", 224, FitSettings(steps=60, folds=3, forecast=False)),
    ):
        folder = tmp_path_factory.mktemp(name)
        learn_product(
            open_synthetic(WHOLE),
            folder / "plate",
            teacher_settings=TeacherSettings(teacher=DEMO_TEACHER),
            fit_settings=settings,
            geometry=GeometryOptions(geometry="square", image_size=image_size),
            work=WorkSettings(keep_features=True),
        )
        found[name] = folder
    return found


@pytest.fixture
def product(trained: dict[str, Path], tmp_path: Path) -> Path:
    """A product of folds, to be changed, with five good parts and two defects in its inbox."""
    return copy_of(trained["folds"], tmp_path)
