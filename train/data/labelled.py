"""Test images in one folder a kind: `good`, and one for each kind of defect."""

from collections.abc import Sequence
from pathlib import Path

from runtime.images.listing import list_folders
from train.data.dataset import GOOD, FileSample, image_files, is_good, name_of
from train.data.masks import MaskFiles


def labelled_folders(
    root: Path, test_folder: Path, *, mask_folders: Sequence[Path], without: str | None = None
) -> tuple[list[FileSample], list[str]]:
    """The test images of a data set.

    Args:
        root: Names are paths below it.
        test_folder: The folder of the kinds; none if it is missing.
        mask_folders: Where masks may be, in a folder of their kind.
        without: A folder in `test_folder` that is no kind.

    Returns:
        The images, and notes on how folders were read and what was left out.

    Raises:
        DatasetError: A kind holds no image, or an image has several masks.
    """
    samples: list[FileSample] = []
    notes: list[str] = []
    if not test_folder.is_dir():
        return samples, notes
    masks = MaskFiles(mask_folders)
    for kind in list_folders(test_folder):
        if kind.name == without:
            continue
        files = image_files(kind)
        is_defective = not is_good(kind.name)
        for path in files.paths:
            place = path.parent.relative_to(test_folder)
            samples.append(
                FileSample(
                    name=name_of(path, root),
                    is_defective=is_defective,
                    image_path=path,
                    mask_path=masks.find(path, place) if is_defective else None,
                )
            )
        if files.note is not None:
            notes.append(files.note)
        if not is_defective and kind.name != GOOD:
            notes.append(f"{kind} is read as good images")
    return samples, [*notes, *filter(None, [masks.note()])]
