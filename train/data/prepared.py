"""The layouts with `train/good` and `test/<defect>`: MVTec AD, and prepared VisA."""

from pathlib import Path

from runtime.errors import DatasetError
from train.data.dataset import GOOD, Dataset, FileSample, image_files

_MASKS = "ground_truth"


def open_prepared(root: Path, product: str, *, layout: str) -> Dataset:
    """One class in MVTec AD's layout or in VisA's prepared one.

    Masks stand in `<class>/ground_truth/<defect>/` or `<class>/test/ground_truth/<defect>/`, named
    like the image, with `_mask` behind the name in MVTec AD.

    Args:
        root: Folder with one folder a class.
        product: The class.
        layout: "mvtec" or "visa-prepared", as the results shall name it.

    Raises:
        DatasetError: A folder is missing or empty, or a defective image has no mask.
    """
    folder = root / product
    train = [
        FileSample(name=str(path.relative_to(root)), is_defective=False, image_path=path)
        for path in image_files(folder / "train" / GOOD)
    ]
    test_folder = folder / "test"
    if not test_folder.is_dir():
        raise DatasetError(f"folder {test_folder} is missing; expected {GOOD}/ and defects in it")
    test: list[FileSample] = []
    for kind in sorted(path for path in test_folder.iterdir() if path.is_dir()):
        if kind.name == _MASKS:
            continue
        for path in image_files(kind):
            is_defective = kind.name != GOOD
            test.append(
                FileSample(
                    name=str(path.relative_to(root)),
                    is_defective=is_defective,
                    image_path=path,
                    mask_path=_mask_of(path, folder) if is_defective else None,
                )
            )
    return Dataset(product=product, layout=layout, train=tuple(train), test=tuple(test))


def prepared_products(root: Path) -> tuple[str, ...]:
    """The folders in `root` that hold `train/good`."""
    return tuple(sorted(f.name for f in root.iterdir() if (f / "train" / GOOD).is_dir()))


def _mask_of(image: Path, folder: Path) -> Path:
    defect = image.parent.name
    places = [folder / _MASKS / defect, folder / "test" / _MASKS / defect]
    candidates = [place / f"{image.stem}{end}.png" for place in places for end in ("_mask", "")]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise DatasetError(
        f"{image} has no mask; expected one of {', '.join(str(path) for path in candidates)}"
    )
