"""Products that can learn."""

from functools import cache
from pathlib import Path

import pytest

from tests.parts.learnable import WHOLE, Trained, copy_of
from tests.parts.small import SHALLOW_TEACHER
from train.data.synthetic import open_synthetic
from train.learning.learn import learn_product
from train.settings import (
    FitSettings,
    GeometryOptions,
    WorkSettings,
)

# The last one has patches enough for a judge of its own.
_PRODUCTS = {
    "folds": (112, FitSettings(steps=60, folds=3, forecast=False)),
    "held-out": (112, FitSettings(steps=60, held_out=0.4)),
    "judged": (224, FitSettings(steps=60, folds=3, forecast=False)),
}


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Products with their memories, each trained when it is first asked for."""

    @cache
    def train(name: str) -> Path:
        image_size, settings = _PRODUCTS[name]
        folder = tmp_path_factory.mktemp(name)
        learn_product(
            open_synthetic(WHOLE),
            folder / "plate",
            teacher_settings=SHALLOW_TEACHER,
            fit_settings=settings,
            geometry=GeometryOptions(geometry="square", image_size=image_size),
            work=WorkSettings(keep_features=True),
        )
        return folder

    return train


@pytest.fixture
def product(trained: Trained, tmp_path: Path) -> Path:
    """A product of folds, to be changed, with five good parts and two defects in its inbox."""
    return copy_of(trained("folds"), tmp_path)
