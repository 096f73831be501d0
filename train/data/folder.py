"""Your own images: `good/` to learn from, and optionally `test/` and `masks/`."""

from pathlib import Path

from train.data.dataset import Dataset, FileSample, good_folder, image_files, name_of
from train.data.labelled import labelled_folders


def open_folder(root: Path, product: str) -> Dataset:
    """A folder of the user's own.

    `good/` holds good images to learn from. `test/good/` may hold good images to test with, and
    `test/<defect>/` defective ones; the mask of `test/<defect>/a.jpg` is
    `masks/<defect>/a.png` or `a_mask.png`, and may be missing.

    Args:
        root: The folder.
        product: Name of the product in it.

    Raises:
        DatasetError: `good/`, or a folder in `test/`, is missing or holds no image, or an image has
            several masks.
    """
    good = image_files(good_folder(root))
    train = [
        FileSample(name=name_of(path, root), is_defective=False, image_path=path)
        for path in good.paths
    ]
    test, notes = labelled_folders(root, root / "test", mask_folders=(root / "masks",))
    return Dataset(
        product=product,
        layout="folder",
        train=tuple(train),
        test=tuple(test),
        notes=tuple(filter(None, (good.note, *notes))),
    )
