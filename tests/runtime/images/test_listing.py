"""Which files of a folder count as images, for every command alike."""

import os
from pathlib import Path

import pytest

from runtime.images.listing import DRAWN_MARKER, list_images


def make(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def names(folder: Path) -> list[str]:
    return [str(path.relative_to(folder)) for path in list_images(folder).images]


def test_images_in_folders_within_folders_are_taken(tmp_path: Path) -> None:
    make(tmp_path, "b.PNG", "a.jpg", "cam1/c.tiff", "cam1/left/d.webp")
    assert names(tmp_path) == ["a.jpg", "b.PNG", "cam1/c.tiff", "cam1/left/d.webp"]
    assert list_images(tmp_path).describe() == "4 images"


@pytest.mark.parametrize(
    "name",
    [
        "._a.png",
        ".a.png",
        ".ipynb_checkpoints/a-checkpoint.png",
        "__MACOSX/a.png",
        ".thumbnails/a.png",
        "@eaDir/a.png",
        "cam1/.trash/deep/a.png",
        "Thumbs.db",
        "notes.txt",
    ],
)
def test_what_tools_leave_is_left_out_and_counted(tmp_path: Path, name: str) -> None:
    listing = list_images(make(tmp_path, "a.png", name))
    assert listing.images == [tmp_path / "a.png"]
    assert listing.describe().startswith("1 image; left out: 1 ")


def test_pictures_that_were_drawn_are_no_images(tmp_path: Path) -> None:
    make(tmp_path, "a.png", "inspected/a.jpg", f"inspected/{DRAWN_MARKER}")
    assert names(tmp_path) == ["a.png"]


def test_linked_folders_are_looked_through_once(tmp_path: Path) -> None:
    make(tmp_path, "disk/a.png", "parts/b.png")
    (tmp_path / "parts" / "cam").symlink_to(tmp_path / "disk")
    (tmp_path / "parts" / "round").symlink_to(tmp_path / "parts")
    assert names(tmp_path / "parts") == ["b.png", "cam/a.png"]


def test_what_is_no_file_is_left_out(tmp_path: Path) -> None:
    os.mkfifo(make(tmp_path, "a.png") / "pipe.png")
    assert names(tmp_path) == ["a.png"]
