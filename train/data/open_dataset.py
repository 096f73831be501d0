"""One door to all layouts."""

import logging
from pathlib import Path

from runtime.errors import DatasetError, OptionError
from runtime.images.listing import list_folders
from train.data.dataset import GOOD, Dataset, good_folder
from train.data.folder import open_folder
from train.data.prepared import open_prepared, prepared_products
from train.data.synthetic import SyntheticSettings, open_synthetic
from train.data.visa import SPLIT_FILE, open_visa, visa_products

SYNTHETIC = "synthetic"
logger = logging.getLogger("l2bt.data")
LAYOUTS = ("visa", "visa-prepared", "mvtec", "folder", SYNTHETIC)


def open_dataset(data: str | Path, *, product: str | None = None, layout: str = "auto") -> Dataset:
    """Open a data set. What was left out of its folders is told to the logger "l2bt.data".

    Args:
        data: Its root folder, or "synthetic" for images that the project draws.
        product: Its class or product. May be left out in the layouts "folder" (the folder's name is
            taken) and "synthetic".
        layout: One of `LAYOUTS`, or "auto" to tell it by the folders that are there.

    Raises:
        DatasetError: No layout fits, or the data set is incomplete.
        OptionError: The layout is unknown, or needs a product and none was named.
    """
    dataset = _open(data, product, layout)
    for note in dataset.notes:
        logger.warning("%s", note)
    return dataset


def _open(data: str | Path, product: str | None, layout: str) -> Dataset:
    if layout not in (*LAYOUTS, "auto"):
        raise OptionError(f"layout {layout!r}; expected auto or one of {', '.join(LAYOUTS)}")
    if str(data) == SYNTHETIC or layout == SYNTHETIC:
        return open_synthetic(SyntheticSettings(product=product or "plate"))
    root = Path(data)
    if not root.is_dir():
        raise DatasetError(f"data set folder {root} is missing")
    found = _detect(root, product) if layout == "auto" else layout
    if found == "folder":
        return open_folder(root, product or root.resolve().name)
    if product is None:
        raise OptionError(f"{root} has the layout {found}: name a class of it with --product")
    if found == "visa":
        return open_visa(root, product)
    return open_prepared(root, product, layout=found)


def list_products(data: str | Path, *, layout: str = "auto") -> tuple[str, ...]:
    """The names of all classes or products in a data set, in its own order.

    Args:
        data: Its root folder, or "synthetic".
        layout: As for `open_dataset`.

    Raises:
        DatasetError: No layout fits, or there is no product.
        OptionError: The layout is unknown.
    """
    if layout not in (*LAYOUTS, "auto"):
        raise OptionError(f"layout {layout!r}; expected auto or one of {', '.join(LAYOUTS)}")
    if str(data) == SYNTHETIC or layout == SYNTHETIC:
        return (SyntheticSettings().product,)
    root = Path(data)
    if not root.is_dir():
        raise DatasetError(f"data set folder {root} is missing")
    found = _detect(root, None) if layout == "auto" else layout
    if found == "folder":
        return (root.resolve().name,)
    names = visa_products(root) if found == "visa" else prepared_products(root)
    if not names:
        raise DatasetError(f"{root} holds no product in the layout {found}")
    return names


def _detect(root: Path, product: str | None) -> str:
    if (root / SPLIT_FILE).is_file():
        return "visa"
    if good_folder(root).is_dir():
        return "folder"
    classes = [root / product] if product else list_folders(root)
    for folder in classes:
        if good_folder(folder / "train").is_dir():
            return "visa-prepared" if (folder / "test" / "bad").is_dir() else "mvtec"
    raise DatasetError(
        f"{root} has no known layout; expected {SPLIT_FILE} (VisA), <class>/train/{GOOD} "
        f"(MVTec AD, prepared VisA), or {GOOD}/ (your own images)"
    )
