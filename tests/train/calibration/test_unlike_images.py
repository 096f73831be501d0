"""A folder of good images is never all good: what stands out is named, and left out if told so."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from runtime.images.decode import read_image
from tests.parts.folders import write_samples
from tests.parts.loggers import showing
from tests.parts.small import SHALLOW_TEACHER
from train.calibration.unlike_images import PICTURE_NAME, find_unlike
from train.data.open_dataset import open_dataset
from train.data.synthetic import SyntheticSettings, open_synthetic
from train.learning.learn import learn_product
from train.settings import (
    FitSettings,
    GeometryOptions,
    WorkSettings,
)
from train.students.bundle import ProductBundle

QUICK = FitSettings(steps=20, batch_patches=256, folds=4)
STRANGER = "100.png"


@given(
    st.lists(st.floats(1.0, 1.5), min_size=8, max_size=40),
    st.integers(0, 39),
)
def test_one_score_far_above_the_others_stands_out_wherever_it_is(
    scores: list[float], place: int
) -> None:
    place = min(place, len(scores))
    scores = [*scores[:place], 1e6, *scores[place:]]
    assert find_unlike(scores)[0] == place


def test_scores_that_are_spread_as_usual_do_not_stand_out() -> None:
    scores = np.exp(np.random.default_rng(0).normal(scale=0.2, size=300))
    assert find_unlike(list(scores)) == ()


def test_of_few_images_nothing_is_said() -> None:
    assert find_unlike([1.0] * 6 + [1e9]) == ()


@pytest.fixture(scope="module")
def dirty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve good plates, and one image of something else in their folder."""
    plates = open_synthetic(
        SyntheticSettings(train_images=12, test_good=0, test_defective=0, height=100, width=150)
    )
    folder = write_samples(plates, tmp_path_factory.mktemp("dirty") / "plate")
    stripes = np.zeros((100, 150, 3), np.uint8)
    stripes[::4] = 255
    Image.fromarray(stripes).save(folder / "good" / STRANGER)
    return folder


def learn(dirty: Path, out: Path, settings: FitSettings) -> ProductBundle:
    return learn_product(
        open_dataset(str(dirty)),
        out,
        teacher_settings=SHALLOW_TEACHER,
        fit_settings=settings,
        geometry=GeometryOptions(geometry="square", image_size=112),
        work=WorkSettings(),
    )


@pytest.fixture(scope="module")
def learned(dirty: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[ProductBundle, str]:
    """A product of all thirteen, and what was told meanwhile."""
    told = io.StringIO()
    with showing(told):
        bundle = learn(dirty, tmp_path_factory.mktemp("with") / "plate", QUICK)
    return bundle, told.getvalue()


def test_a_stranger_among_good_images_is_named_and_shown(
    learned: tuple[ProductBundle, str],
) -> None:
    bundle, told = learned
    assert "1 of 13 good images are unlike the others" in told
    assert STRANGER in told
    assert "--leave-out-unlike" in told
    picture = read_image(bundle.folder / PICTURE_NAME)
    assert picture.shape[1] == 2 * 480
    calibration = bundle.card.calibration
    assert calibration is not None
    # Nobody has said yet that it is no good part.
    assert len(calibration.images) == 13
    assert any(STRANGER in name for name in calibration.images)


def test_it_is_left_out_of_learning_and_of_the_threshold_if_told_so(
    dirty: Path, tmp_path: Path, learned: tuple[ProductBundle, str]
) -> None:
    with_it = learned[0].card
    without = learn(dirty, tmp_path / "without", replace(QUICK, leave_out_unlike=True)).card
    assert without.calibration is not None
    assert len(without.calibration.images) == 12
    assert not any(STRANGER in name for name in without.calibration.images)
    assert without.threshold.image_score < with_it.threshold.image_score
    digests = str(without.training["trained_images"])
    assert len(digests) == 12 * 8
