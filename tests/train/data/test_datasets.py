"""Four layouts behind one interface, and what is said when one is incomplete."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runtime.errors import BadImageError, DatasetError, OptionError
from tests.parts.small import random_image
from train.data.leaks import images_also_in_training
from train.data.open_dataset import list_products, open_dataset
from train.data.synthetic import SyntheticSettings, open_synthetic, write_synthetic


def write_image(path: Path, size: tuple[int, int] = (20, 30)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(random_image(*size)).save(path)
    return path


def write_mask(path: Path, size: tuple[int, int] = (20, 30)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros(size, np.uint8)
    # VisA's masks count any value above 0, not only 255.
    mask[2:5, 3:7] = 1
    Image.fromarray(mask).save(path)
    return path


def write_visa(root: Path) -> None:
    rows = ["object,split,label,image,mask"]
    for name, split, label in (("0", "train", "normal"), ("1", "test", "normal")):
        image = f"nuts/Data/Images/Normal/{name}.JPG"
        write_image(root / image)
        rows.append(f"nuts,{split},{label},{image},")
    image, mask = "nuts/Data/Images/Anomaly/0.JPG", "nuts/Data/Masks/Anomaly/0.png"
    write_image(root / image)
    write_mask(root / mask)
    rows.append(f"nuts,test,anomaly,{image},{mask}")
    (root / "split_csv").mkdir()
    (root / "split_csv" / "1cls.csv").write_text("\n".join(rows) + "\n")


def write_mvtec(root: Path) -> None:
    write_image(root / "nuts/train/good/000.png")
    write_image(root / "nuts/test/good/000.png")
    write_image(root / "nuts/test/crack/000.png")
    write_mask(root / "nuts/ground_truth/crack/000_mask.png")


def write_prepared_visa(root: Path) -> None:
    write_image(root / "nuts/train/good/000.JPG")
    write_image(root / "nuts/test/good/001.JPG")
    write_image(root / "nuts/test/bad/000.JPG")
    write_mask(root / "nuts/test/ground_truth/bad/000.png")


@pytest.mark.parametrize(
    ("write", "layout"),
    [(write_visa, "visa"), (write_mvtec, "mvtec"), (write_prepared_visa, "visa-prepared")],
)
def test_a_layout_is_told_by_its_folders_and_read_whole(
    write: object, layout: str, tmp_path: Path
) -> None:
    write(tmp_path)  # type: ignore[operator]
    dataset = open_dataset(tmp_path, product="nuts")
    assert (dataset.layout, dataset.product) == (layout, "nuts")
    assert [sample.is_defective for sample in dataset.train] == [False]
    assert sorted(sample.is_defective for sample in dataset.test) == [False, True]
    for sample in dataset.test:
        mask = sample.mask(20, 30)
        assert mask is not None
        assert mask.sum() == (12 if sample.is_defective else 0)


def test_a_folder_of_ones_own_needs_only_good_images(tmp_path: Path) -> None:
    write_image(tmp_path / "nuts/good/a.png")
    dataset = open_dataset(tmp_path / "nuts")
    assert (dataset.product, dataset.layout, dataset.test) == ("nuts", "folder", ())


def test_a_folders_masks_are_optional_a_file(tmp_path: Path) -> None:
    write_image(tmp_path / "good/a.png")
    write_image(tmp_path / "test/good/a.png")
    write_image(tmp_path / "test/dent/a.png")
    write_image(tmp_path / "test/dent/b.png")
    write_mask(tmp_path / "masks/dent/a.png")
    good, masked, bare = sorted(open_dataset(tmp_path).test, key=lambda sample: sample.name[-12:])[
        ::-1
    ]
    by_name = {sample.name: sample.mask(20, 30) for sample in (good, masked, bare)}
    assert by_name["test/dent/b.png"] is None
    assert by_name["test/dent/a.png"].sum() == 12  # type: ignore[union-attr]
    assert by_name["test/good/a.png"].sum() == 0  # type: ignore[union-attr]


def test_the_synthetic_layout_draws_without_files() -> None:
    dataset = open_dataset("synthetic")
    assert dataset.train[0].pixels().shape == (1000, 1500, 3)


def test_a_written_synthetic_data_set_is_the_drawn_one(tmp_path: Path) -> None:
    settings = SyntheticSettings(
        train_images=1, test_good=1, test_defective=2, height=120, width=160
    )
    write_synthetic(settings, tmp_path / "plates")
    written = {sample.name: sample for sample in open_dataset(tmp_path / "plates").test}
    for drawn in open_synthetic(settings).test:
        read = written[f"{drawn.name}.png"]
        assert np.array_equal(read.pixels(), drawn.pixels())
        assert np.array_equal(read.mask(120, 160), drawn.mask(120, 160))  # type: ignore[arg-type]


def test_the_fingerprint_changes_with_an_images_content(tmp_path: Path) -> None:
    path = write_image(tmp_path / "good/a.png")
    before = open_dataset(tmp_path).fingerprint()
    Image.fromarray(random_image(20, 30, seed=1)).save(path)
    assert open_dataset(tmp_path).fingerprint() != before


def test_a_missing_root_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="nowhere is missing"):
        open_dataset(tmp_path / "nowhere")


def test_an_unknown_layout_on_disk_lists_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no known layout; expected .*VisA.*good/"):
        open_dataset(tmp_path)


def test_a_layout_with_classes_asks_for_one(tmp_path: Path) -> None:
    write_visa(tmp_path)
    with pytest.raises(OptionError, match="--product"):
        open_dataset(tmp_path)


def test_an_unknown_class_lists_the_known_ones(tmp_path: Path) -> None:
    write_visa(tmp_path)
    with pytest.raises(DatasetError, match="has no class 'bolts'; it lists: nuts"):
        open_dataset(tmp_path, product="bolts")


def test_a_file_that_the_split_names_and_is_missing_is_named(tmp_path: Path) -> None:
    write_visa(tmp_path)
    (tmp_path / "nuts/Data/Masks/Anomaly/0.png").unlink()
    with pytest.raises(DatasetError, match=r"0\.png is missing, although"):
        open_dataset(tmp_path, product="nuts")


def test_an_empty_class_is_refused(tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    with pytest.raises(DatasetError, match="holds no image; expected files ending in"):
        open_dataset(tmp_path)


def test_an_unreadable_image_is_named_when_it_is_read(tmp_path: Path) -> None:
    path = write_image(tmp_path / "good/a.png")
    path.write_bytes(path.read_bytes()[:100])
    (sample,) = open_dataset(tmp_path).train
    with pytest.raises(BadImageError, match=r"a\.png"):
        sample.pixels()


def test_a_mask_of_another_size_names_both_files(tmp_path: Path) -> None:
    write_mvtec(tmp_path)
    write_mask(tmp_path / "nuts/ground_truth/crack/000_mask.png", (10, 30))
    sample = next(s for s in open_dataset(tmp_path, product="nuts").test if s.is_defective)
    with pytest.raises(DatasetError, match=r"000_mask\.png is 30 x 10 px, its image .*30 x 20 px"):
        sample.mask(20, 30)


def test_a_defective_image_without_its_mask_is_refused_where_the_layout_has_masks(
    tmp_path: Path,
) -> None:
    write_mvtec(tmp_path)
    (tmp_path / "nuts/ground_truth/crack/000_mask.png").unlink()
    with pytest.raises(DatasetError, match="has no mask; expected one of"):
        open_dataset(tmp_path, product="nuts")


@pytest.mark.parametrize("write", [write_visa, write_mvtec, write_prepared_visa])
def test_a_data_set_lists_its_products(write: object, tmp_path: Path) -> None:
    write(tmp_path)  # type: ignore[operator]
    assert list_products(tmp_path) == ("nuts",)


def test_products_are_listed_in_the_data_sets_order(tmp_path: Path) -> None:
    for name in ("screw", "bottle"):
        write_image(tmp_path / name / "train/good/0.png")
    (tmp_path / "license.txt").touch()
    assert list_products(tmp_path) == ("bottle", "screw")
    write_image(tmp_path / "mine/good/0.png")
    assert list_products(tmp_path / "mine") == ("mine",)
    assert list_products("synthetic") == ("plate",)


def test_a_folder_without_any_layout_lists_nothing_and_says_so(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="has no known layout"):
        list_products(tmp_path)


def test_a_test_image_that_is_a_training_image_is_found_by_its_content(tmp_path: Path) -> None:
    write_mvtec(tmp_path)
    assert images_also_in_training(open_dataset(tmp_path, product="nuts")) != {}
    write_image(tmp_path / "nuts/test/good/000.png", (21, 30))
    write_image(tmp_path / "nuts/test/crack/000.png", (22, 30))
    write_mask(tmp_path / "nuts/ground_truth/crack/000_mask.png", (22, 30))
    assert images_also_in_training(open_dataset(tmp_path, product="nuts")) == {}


@pytest.mark.parametrize(
    ("folder", "is_defective"),
    [("good", False), ("Good", False), ("OK", False), ("normal", False), ("scratch", True)],
)
def test_a_folder_of_good_test_images_is_known_by_its_usual_names(
    folder: str, is_defective: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_image(tmp_path / "Good/a.png")
    write_image(tmp_path / "test" / folder / "a.png")
    (sample,) = open_dataset(tmp_path).test
    assert sample.is_defective is is_defective
    assert ("is read as good images" in caplog.text) == (folder in ("Good", "OK", "normal"))


@pytest.mark.parametrize(
    "name", [".ipynb_checkpoints/a-checkpoint.png", "__MACOSX/._a.png", ".thumbnails/a.png"]
)
@pytest.mark.parametrize("place", ["good", "test"])
def test_a_tools_folder_is_no_data_and_no_kind_of_defect(
    place: str, name: str, tmp_path: Path
) -> None:
    write_image(tmp_path / "good/a.png")
    write_image(tmp_path / "test/good/a.png")
    write_image(tmp_path / place / name)
    dataset = open_dataset(tmp_path)
    assert [sample.name for sample in dataset.train] == ["good/a.png"]
    assert [sample.name for sample in dataset.test] == ["test/good/a.png"]


def test_images_of_folders_in_folders_are_read_and_what_is_left_out_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_image(tmp_path / "good/a.png")
    write_image(tmp_path / "good/cam1/b.png")
    (tmp_path / "good" / "Thumbs.db").touch()
    write_image(tmp_path / "test/scratch/cam2/c.png")
    write_mask(tmp_path / "masks/scratch/cam2/c_mask.png")
    dataset = open_dataset(tmp_path)
    assert [sample.name for sample in dataset.train] == ["good/a.png", "good/cam1/b.png"]
    mask = dataset.test[0].mask(20, 30)
    assert mask is not None
    assert mask.sum() == 12
    assert "2 images; left out: 1 of other kinds (such as Thumbs.db)" in caplog.text


def test_a_name_that_is_no_text_is_written_by_its_bytes(tmp_path: Path) -> None:
    write_image(tmp_path / "good" / os.fsdecode(b"gr\xfcn.png"))
    (sample,) = open_dataset(tmp_path).train
    assert sample.name == r"good/gr\xfcn.png"
    assert sample.pixels().shape == (20, 30, 3)


SPLIT = "object,split,label,image,mask\nnuts,train,normal,a.png,\nnuts,test,normal,b.png,\n"


@pytest.mark.parametrize(
    "content",
    [
        SPLIT.encode(),
        SPLIT.encode("utf-8-sig"),
        SPLIT.encode("utf-16"),
        SPLIT.replace("\n", "\r\n").encode(),
        SPLIT.replace("train", "Train").encode(),
        SPLIT.replace("a.png,", "a.png").encode(),
    ],
    ids=["plain", "marked UTF-8", "UTF-16", "Windows lines", "capital letter", "no last comma"],
)
def test_a_split_file_is_read_as_spreadsheets_write_it(content: bytes, tmp_path: Path) -> None:
    write_image(tmp_path / "a.png")
    write_image(tmp_path / "b.png")
    (tmp_path / "split_csv").mkdir()
    (tmp_path / "split_csv/1cls.csv").write_bytes(content)
    dataset = open_dataset(tmp_path, product="nuts")
    assert [sample.name for sample in dataset.train] == ["a.png"]
    assert [sample.name for sample in dataset.test] == ["b.png"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (SPLIT.replace("b.png", "bä.png").encode("latin-1"), "line 3 is no UTF-8 text"),
        (SPLIT.replace(",test,", ",tset,").encode(), "line 3: split is 'tset'"),
        (SPLIT.encode() + b"nuts,test\n", "line 4 has no label"),
        (b"object;split;label;image;mask\nnuts;train;normal;a.png;\n", "expected the columns"),
    ],
    ids=["Latin-1", "unknown split", "short row", "semicolons"],
)
def test_a_split_file_that_is_unclear_is_refused_with_the_line(
    content: bytes, reason: str, tmp_path: Path
) -> None:
    write_image(tmp_path / "a.png")
    (tmp_path / "split_csv").mkdir()
    (tmp_path / "split_csv/1cls.csv").write_bytes(content)
    with pytest.raises(DatasetError, match=reason):
        open_dataset(tmp_path, product="nuts")
