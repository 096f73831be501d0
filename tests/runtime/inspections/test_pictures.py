"""Pictures are named after their images, all differently, and replace nothing else."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import OptionError
from runtime.images.decode import read_image
from runtime.images.listing import list_images
from runtime.inspections.pictures import PictureFolder, picture_stems
from tests.parts.small import random_image

PARTS = st.text("ab_.", min_size=1, max_size=4).filter(lambda part: part.strip("."))


@given(parts=st.lists(st.tuples(PARTS, PARTS, st.sampled_from([".png", ".jpg"])), max_size=12))
@pytest.mark.parametrize("with_folders", [False, True])
def test_no_two_images_share_a_picture(
    with_folders: bool, parts: list[tuple[str, str, str]]
) -> None:
    paths = list(dict.fromkeys(Path(folder, name + ending) for folder, name, ending in parts))
    stems = picture_stems(paths, with_folders=with_folders)
    assert len({stem.casefold() for stem in stems}) == len(paths)
    assert not any("/" in stem for stem in stems)


def test_an_image_alone_gives_its_picture_its_own_name() -> None:
    assert picture_stems([Path("cam/a.png"), Path("cam/b.png")]) == ["a", "b"]


def test_the_kinds_of_a_test_set_stand_before_the_names() -> None:
    assert picture_stems([Path("test/dent/a.png")], with_folders=True) == ["test_dent_a"]


def test_images_of_one_name_are_told_apart_by_folder_and_ending() -> None:
    paths = [Path("x/a.png"), Path("x/a.jpg"), Path("y/a.png"), Path("y/b.png")]
    assert picture_stems(paths) == ["x_a.png", "x_a.jpg", "y_a.png", "b"]


def test_a_name_that_is_too_long_is_cut(tmp_path: Path) -> None:
    (stem,) = picture_stems([tmp_path / f"{'ä' * 120}.png"])
    PictureFolder(tmp_path / "pictures").write(stem, random_image(8, 8))


def test_a_folder_of_other_files_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    original = tmp_path / "part.jpg"
    original.write_bytes(b"an image of the user's")
    with pytest.raises(OptionError, match="no pictures of l2bt"):
        PictureFolder(tmp_path)
    assert original.read_bytes() == b"an image of the user's"
    assert list(tmp_path.iterdir()) == [original]


def test_pictures_of_an_earlier_run_are_replaced_and_are_no_images(tmp_path: Path) -> None:
    folder = tmp_path / "inspected"
    PictureFolder(folder).write("a", random_image(8, 8))
    path = PictureFolder(folder).write("a", random_image(16, 8))
    assert read_image(path).shape == (16, 8, 3)
    assert list_images(tmp_path).images == []


def test_a_file_where_a_folder_should_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pictures").touch()
    with pytest.raises(OptionError, match="expected a folder"):
        PictureFolder(tmp_path / "pictures")
