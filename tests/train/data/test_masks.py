"""What a mask means is in its colours."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from runtime.errors import DatasetError
from train.data.masks import MaskFiles, read_mask

MARKED = np.zeros((40, 60), bool)
MARKED[10:20, 15:35] = True
GREY = MARKED.astype(np.uint8) * 255
RED = np.dstack([GREY, 0 * GREY, 0 * GREY])


def palette(index_of_background: int) -> Image.Image:
    indices = np.where(MARKED, 1 - index_of_background, index_of_background).astype(np.uint8)
    picture = Image.fromarray(indices, "P")
    black, red = [0, 0, 0], [255, 0, 0]
    picture.putpalette([*black, *red] if index_of_background == 0 else [*red, *black])
    return picture


def alpha(colours: Any, transparency: Any) -> Image.Image:
    return Image.fromarray(np.dstack([colours, transparency]))


MEANT: dict[str, Image.Image] = {
    "grey": Image.fromarray(GREY),
    "label numbers": Image.fromarray(MARKED.astype(np.uint8)),
    "label numbers of 16 bits": Image.fromarray(MARKED.astype(np.uint16) * 300),
    "1 bit": Image.fromarray(MARKED),
    "RGB": Image.fromarray(RED),
    "palette, background first": palette(0),
    "palette, background last": palette(1),
    "palette by reduced colours": Image.fromarray(RED).quantize(2),
    "RGBA, opaque": alpha(RED, np.full_like(GREY, 255)),
    "RGBA, transparent background": alpha(RED, GREY),
    "RGBA, transparent defect": alpha(RED, 255 - GREY),
    "LA, opaque": Image.fromarray(np.dstack([GREY, np.full_like(GREY, 255)]), "LA"),
}


@pytest.mark.parametrize("name", MEANT)
def test_black_is_the_background_and_other_colours_are_defects(name: str, tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    MEANT[name].save(path)
    assert (read_mask(path) == MARKED).all()


def test_a_palettes_transparency_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    palette(1).save(path, transparency=1)
    assert (read_mask(path) == MARKED).all()


@pytest.mark.parametrize(
    "picture",
    [
        Image.new("RGB", (60, 40), "white"),
        alpha(np.full((40, 60, 3), 255, np.uint8), GREY),
        Image.new("L", (60, 40), 7),
    ],
    ids=["white", "marked in the transparency alone", "one grey"],
)
def test_a_mask_without_background_is_refused(picture: Image.Image, tmp_path: Path) -> None:
    picture.save(tmp_path / "mask.png")
    with pytest.raises(DatasetError, match=r"mask\.png has no black pixel.*is it inverted\?"):
        read_mask(tmp_path / "mask.png")


def test_a_mask_of_several_pages_is_refused(tmp_path: Path) -> None:
    page = Image.fromarray(GREY)
    page.save(tmp_path / "mask.tif", save_all=True, append_images=[page])
    with pytest.raises(DatasetError, match="several pages"):
        read_mask(tmp_path / "mask.tif")


def masks(folder: Path, *names: str) -> MaskFiles:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(GREY).save(path)
    return MaskFiles([folder])


@pytest.mark.parametrize(
    "name", ["a.png", "a_mask.png", "a-mask.png", "A.PNG", "a.bmp", "a_mask.tif", "a.webp"]
)
def test_a_mask_is_found_by_its_usual_names(name: str, tmp_path: Path) -> None:
    found = masks(tmp_path, f"scratch/{name}").find(Path("test/scratch/a.jpg"), Path("scratch"))
    assert found == tmp_path / "scratch" / name


def test_a_mask_lies_in_the_same_folder_below_its_kind_as_its_image(tmp_path: Path) -> None:
    found = masks(tmp_path, "scratch/cam1/a.png", "scratch/cam2/a.png")
    assert found.find(Path("a.png"), Path("scratch/cam2")) == tmp_path / "scratch/cam2/a.png"
    assert found.find(Path("a.png"), Path("scratch")) is None


def test_two_masks_of_one_image_are_refused(tmp_path: Path) -> None:
    found = masks(tmp_path, "scratch/a.png", "scratch/a_mask.png")
    with pytest.raises(DatasetError, match="has 2 masks"):
        found.find(Path("a.png"), Path("scratch"))


def test_a_jpeg_mask_is_refused_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="save masks as PNG"):
        masks(tmp_path, "scratch/a.jpg").find(Path("a.png"), Path("scratch"))


def test_masks_of_no_image_are_named(tmp_path: Path) -> None:
    found = masks(tmp_path, "scratch/a.png", "scratch/b.png")
    found.find(Path("a.png"), Path("scratch"))
    note = found.note()
    assert note is not None
    assert note.startswith("1 masks belong to no test image (such as ")
    assert "b.png" in note
