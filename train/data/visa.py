"""VisA in its original layout, with the official split file."""

import csv
import io
from pathlib import Path

from runtime.errors import DatasetError
from train.data.dataset import Dataset, FileSample

SPLIT_FILE = Path("split_csv") / "1cls.csv"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_GOOD_LABELS = ("normal", "good", "ok")
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
        text = split_file.read_bytes()
    except OSError as error:
        raise DatasetError(f"{split_file} cannot be read: {error.strerror or error}") from error
    try:
        # Spreadsheets write a mark before the first column, and some of them UTF-16.
        decoded = text.decode("utf-16" if text[:2] in _UTF16_MARKS else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = text[: error.start].count(b"\n") + 1
        raise DatasetError(
            f"{split_file}, line {line} is no UTF-8 text ({error.reason}); save it as UTF-8"
        ) from error
    reader = csv.DictReader(io.StringIO(decoded, newline=""))
    rows = []
    for row in reader:
        if any(column not in row for column in _COLUMNS):
            break
        cells = {column: (row[column] or "").strip() for column in _COLUMNS}
        rows.append(cells)
        _check_row(cells, f"{split_file}, line {reader.line_num}")
    if not rows:
        raise DatasetError(f"{split_file}: expected the columns {', '.join(_COLUMNS)}")
    return rows


def _check_row(row: dict[str, str], place: str) -> None:
    """Bring the split's word to small letters, and refuse a row that says nothing sure.

    Raises:
        DatasetError: A cell is missing, or the split is neither of both.
    """
    row["split"] = row["split"].lower()
    row["label"] = row["label"].lower()
    for column in ("object", "label", "image"):
        if not row[column]:
            raise DatasetError(f"{place} has no {column}; expected {', '.join(_COLUMNS)}")
    if row["split"] not in ("train", "test"):
        raise DatasetError(f"{place}: split is {row['split']!r}; expected train or test")


def _sample(root: Path, row: dict[str, str]) -> FileSample:
    image_path = root / row["image"]
    mask_path = root / row["mask"] if row["mask"] else None
    for path in (image_path, mask_path):
        if path is not None and not path.is_file():
            raise DatasetError(f"{path} is missing, although {root / SPLIT_FILE} names it")
    return FileSample(
        name=row["image"],
        is_defective=row["label"] not in _GOOD_LABELS,
        image_path=image_path,
        mask_path=mask_path,
    )
