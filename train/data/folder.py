"""Your own images: `good/` to learn from, and optionally `test/` and `masks/`."""

from pathlib import Path

from train.data.dataset import GOOD, Dataset, FileSample, image_files


def open_folder(root: Path, product: str) -> Dataset:
    """A folder of the user's own.

    `good/` holds good images to learn from. `test/good/` may hold good images to test with, and
    `test/<defect>/` defective ones; the mask of `test/<defect>/a.jpg` is
    `masks/<defect>/a.png`, and may be missing.

    Args:
        root: The folder.
        product: Name of the product in it.

    Raises:
        DatasetError: `good/`, or a folder in `test/`, is missing or holds no image.
    """
    train = [
        FileSample(name=str(path.relative_to(root)), is_defective=False, image_path=path)
        for path in image_files(root / GOOD)
    ]
    test: list[FileSample] = []
    test_folder = root / "test"
    kinds = (
        sorted(path for path in test_folder.iterdir() if path.is_dir())
        if (test_folder.is_dir())
        else []
    )
    for kind in kinds:
        for path in image_files(kind):
            mask_path = root / "masks" / kind.name / f"{path.stem}.png"
            test.append(
                FileSample(
                    name=str(path.relative_to(root)),
                    is_defective=kind.name != GOOD,
                    image_path=path,
                    mask_path=mask_path if mask_path.is_file() else None,
                )
            )
    return Dataset(product=product, layout="folder", train=tuple(train), test=tuple(test))
