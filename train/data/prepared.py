"""The layouts with `train/good` and `test/<defect>`: MVTec AD, and prepared VisA."""

from pathlib import Path

from runtime.errors import DatasetError
from runtime.images.listing import list_folders
from train.data.dataset import GOOD, Dataset, FileSample, good_folder, image_files, name_of
from train.data.labelled import labelled_folders

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
        DatasetError: A folder is missing or empty, or a defective image has no mask or several.
    """
    folder = root / product
    good = image_files(good_folder(folder / "train"))
    train = [
        FileSample(name=name_of(path, root), is_defective=False, image_path=path)
        for path in good.paths
    ]
    test_folder = folder / "test"
    if not test_folder.is_dir():
        raise DatasetError(f"folder {test_folder} is missing; expected {GOOD}/ and defects in it")
    places = (folder / _MASKS, test_folder / _MASKS)
    test, notes = labelled_folders(root, test_folder, mask_folders=places, without=_MASKS)
    for sample in test:
        if sample.is_defective and sample.mask_path is None:
            kind = sample.image_path.parent.relative_to(test_folder)
            expected = [
                str(place / kind / f"{sample.image_path.stem}{ending}.png")
                for place in places
                for ending in ("_mask", "")
            ]
            raise DatasetError(
                f"{sample.image_path} has no mask; expected one of {', '.join(expected)}"
            )
    return Dataset(
        product=product,
        layout=layout,
        train=tuple(train),
        test=tuple(test),
        notes=tuple(filter(None, (good.note, *notes))),
    )


def prepared_products(root: Path) -> tuple[str, ...]:
    """The folders in `root` that hold `train/good`."""
    return tuple(
        folder.name for folder in list_folders(root) if good_folder(folder / "train").is_dir()
    )
