"""What known defects look like: one unit of the judge, which leaves good parts as they are."""

import numpy as np
import numpy.typing as npt
import pytest
import torch

from runtime.geometry.area import InspectionArea
from runtime.geometry.geometry import GeometrySettings
from train.fitting.learn_judge import learn_judge
from train.fitting.patches import Tokens
from train.learning.defect_look import DefectLook, patches_of_defect
from train.students.students import Students

WIDTH = 12
STRENGTH = 0.25


@pytest.fixture
def students() -> Students:
    torch.manual_seed(0)
    found = Students(WIDTH).eval()
    assert learn_judge(found, good_tokens(), seed=0).learned
    return found


def good_tokens(seed: int = 1) -> Tokens:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(20, 60, 2, WIDTH)).astype(np.float16)


def defect_tokens(seed: int, patches: int = 4) -> Tokens:
    """Patches that lie in one direction, of which good ones know nothing."""
    rng = np.random.default_rng(seed)
    found = 0.3 * rng.normal(size=(patches, 2, WIDTH))
    found[..., 3] += 6
    return found.astype(np.float16)


@torch.no_grad()
def anomaly(students: Students, tokens: Tokens) -> npt.NDArray[np.float32]:
    both = torch.from_numpy(tokens.astype(np.float32))
    found: npt.NDArray[np.float32] = students(both[..., 0, :], both[..., 1, :]).numpy()
    return found


def test_patches_like_known_defects_say_more_and_good_ones_stay_as_they_are(
    students: Students,
) -> None:
    known = [defect_tokens(seed) for seed in range(5)]
    look = DefectLook.learn(known, list(good_tokens()[:, None]))
    taught = look.given_to(students, STRENGTH)
    more = np.log(anomaly(taught, defect_tokens(99)) / anomaly(students, defect_tokens(99)))
    # Each of the two directions gives its strength at the median of the known defects.
    assert np.median(more) == pytest.approx(2 * STRENGTH, abs=0.25)
    unseen = good_tokens(seed=2)
    change = np.log(anomaly(taught, unseen) / anomaly(students, unseen))
    assert np.median(np.abs(change)) < 0.05


def test_it_takes_the_place_of_the_unit_that_says_least(students: Students) -> None:
    look = DefectLook.learn([defect_tokens(0)], list(good_tokens()[:, None]))
    taught = look.given_to(students, STRENGTH)
    before, after = students.state_dict(), taught.state_dict()
    for direction in ("forward_judge", "backward_judge"):
        name = f"{direction}.expectation_input.weight"
        changed = (before[name] != after[name]).any(dim=1)
        assert int(changed.sum()) == 1
    assert before.keys() == after.keys()
    assert all(before[name].shape == after[name].shape for name in before)


def test_the_students_that_are_given_stay_as_they_are(students: Students) -> None:
    before = {name: value.clone() for name, value in students.state_dict().items()}
    look = DefectLook.learn([defect_tokens(0)], list(good_tokens()[:, None]))
    look.given_to(students, STRENGTH)
    assert all(torch.equal(value, before[name]) for name, value in students.state_dict().items())


@pytest.mark.parametrize(
    ("top", "left", "size", "patches"),
    [(0, 0, 28, 4), (2, 2, 14, 1), (30, 30, 3, 1), (0, 0, 112, 64)],
)
def test_a_patch_shows_a_defect_that_covers_half_of_it_or_else_most_of_all(
    top: int, left: int, size: int, patches: int
) -> None:
    mask = np.zeros((112, 112), bool)
    mask[top : top + size, left : left + size] = True
    geometry = GeometrySettings(image_size=112).for_image(112, 112)
    shows = patches_of_defect(geometry, mask)
    assert shows.shape == (1, 64)
    assert int(shows.sum()) == patches


def test_each_tile_that_shows_a_defect_has_its_patches() -> None:
    settings = GeometrySettings(image_size=112, kind="tiles", overlap_wh=(56, 56))
    geometry = settings.for_image(112, 168)
    mask = np.zeros((112, 168), bool)
    mask[:14, 56:112] = True
    shows = patches_of_defect(geometry, mask)
    assert shows.sum(axis=1).tolist() == [4, 4]


def test_nothing_shows_a_defect_where_the_product_does_not_look() -> None:
    left_half = InspectionArea(
        image_wh=(336, 112), include=(((0, 0), (112, 0), (112, 112), (0, 112)),)
    )
    settings = GeometrySettings(image_size=112, kind="tiles")
    geometry = settings.for_image(112, 336, area=left_half)
    mask = np.zeros((112, 336), bool)
    mask[:, 300:] = True
    assert geometry.tiles < 3
    assert not patches_of_defect(geometry, mask).any()
    # Nor does a patch of a tile that is looked at for the sake of others.
    mask[:, 98:126] = True
    columns = patches_of_defect(geometry, mask).reshape(geometry.tiles, 8, 8).any(axis=(0, 1))
    assert columns.tolist() == 7 * [False] + [True]
