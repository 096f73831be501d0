"""VisA in its original layout, with the official split file."""

import csv
from pathlib import Path

from runtime.errors import DatasetError
from train.data.dataset import Dataset, FileSample

SPLIT_FILE = Path("split_csv") / "1cls.csv"
_COLUMNS = ("object", "split", "label", "image", "mask")


def open_visa(root: Path, product: str) -> Dataset:
    """One class of VisA as `split_csv/1cls.csv` splits it.

    Args:
        root: Folder with `split_csv/` and one folder a class.
        product: The class, e.g. "macaroni1".

    Raises:
        DatasetError: The split file is missing or has other columns, the class is not in it, or a
            file that it names is missing.
    """
    split_file = root / SPLIT_FILE
    rows = _read_split(split_file)
    of_class = [row for row in rows if row["object"] == product]
    if not of_class:
        known = ", ".join(sorted({row["object"] for row in rows}))
        raise DatasetError(f"{split_file} has no class {product!r}; it lists: {known}")
    train = [_sample(root, row) for row in of_class if row["split"] == "train"]
    test = [_sample(root, row) for row in of_class if row["split"] == "test"]
    if defective := [sample.name for sample in train if sample.is_defective]:
        raise DatasetError(f"{split_file} puts the defective image {defective[0]} into training")
    return Dataset(product=product, layout="visa", train=tuple(train), test=tuple(test))


def visa_products(root: Path) -> tuple[str, ...]:
    """The classes that the split file lists.

    Raises:
        DatasetError: The split file is missing or has other columns.
    """
    return tuple(dict.fromkeys(row["object"] for row in _read_split(root / SPLIT_FILE)))


def _read_split(split_file: Path) -> list[dict[str, str]]:
    try:
        with split_file.open(newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise DatasetError(f"{split_file} cannot be read: {error.strerror or error}") from error
    if not rows or any(column not in rows[0] for column in _COLUMNS):
        raise DatasetError(f"{split_file}: expected the columns {', '.join(_COLUMNS)}")
    return rows


def _sample(root: Path, row: dict[str, str]) -> FileSample:
    image_path = root / row["image"]
    mask_path = root / row["mask"] if row["mask"] else None
    for path in (image_path, mask_path):
        if path is not None and not path.is_file():
            raise DatasetError(f"{path} is missing, although {root / SPLIT_FILE} names it")
    return FileSample(
        name=row["image"],
        is_defective=row["label"] != "normal",
        image_path=image_path,
        mask_path=mask_path,
    )
