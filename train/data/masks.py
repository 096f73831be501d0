"""Masks of defects: how they are named, and what their pixels mean.

A mask's meaning is in its colours. Black is the background and every other colour a defect,
whatever the palette's indices are and whatever a transparency says. What has no black at all marks
everything, so it is refused: it may be inverted, or drawn in the transparency alone.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from runtime.errors import DatasetError
from runtime.images.listing import list_images

Mask = npt.NDArray[np.bool_]

_LOSSY = (".jpg", ".jpeg")
_ENDINGS = ("", "_mask", "-mask")
# Of one or more values a pixel that are no colours: label numbers, or measured values.
_NUMBERS = ("I", "F", "I;16", "I;16L", "I;16B", "L", "1")


class MaskFiles:
    """The masks of a data set, found by the names of their images.

    Args:
        folders: Where they may be, below these in the same folder as their image below its own.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._by_place: dict[Path, dict[str, list[Path]]] = {}
        for folder in filter(Path.is_dir, folders):
            # Masks of other files than images are no masks.
            for path in list_images(folder).images:
                stems = self._by_place.setdefault(path.parent.relative_to(folder), {})
                stems.setdefault(path.stem.casefold(), []).append(path)
        self._used: set[Path] = set()

    def find(self, image: Path, place: Path) -> Path | None:
        """The mask of an image: named like it, or with `_mask` behind its name.

        Args:
            image: The image.
            place: Its folder below the folder of all test images, such as "scratch".

        Raises:
            DatasetError: There are several, or it is a JPEG file, whose edges are not exact.
        """
        stems = self._by_place.get(place, {})
        found = [
            path for ending in _ENDINGS for path in stems.get((image.stem + ending).casefold(), [])
        ]
        if len(found) > 1:
            names = ", ".join(str(path) for path in found)
            raise DatasetError(f"{image} has {len(found)} masks: {names}; leave the right one")
        if found and found[0].suffix.lower() in _LOSSY:
            raise DatasetError(
                f"mask {found[0]} is a JPEG file, which blurs edges and makes black not quite "
                "black; save masks as PNG"
            )
        self._used.update(found)
        return found[0] if found else None

    def note(self) -> str | None:
        """A sentence on masks that no image asked for, if there are any."""
        all_paths = [
            path for stems in self._by_place.values() for paths in stems.values() for path in paths
        ]
        left = sorted(set(all_paths) - self._used)
        if not left:
            return None
        return f"{len(left)} masks belong to no test image (such as {left[0]})"


def read_mask(path: Path) -> Mask:
    """Read a mask.

    Returns:
        (H, W) bool, True on defects.

    Raises:
        DatasetError: It cannot be read, or it is not clear what it marks.
    """
    try:
        with Image.open(path) as picture:
            if getattr(picture, "n_frames", 1) > 1:
                raise DatasetError(f"mask {path} has several pages; save the right one alone")
            has_alpha = "A" in picture.getbands() or "transparency" in picture.info
            values = np.asarray(
                picture if picture.mode in _NUMBERS else _without_alpha(picture).convert("RGB")
            )
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DatasetError(f"mask {path} cannot be read: {error}") from error
    marked: Mask = values != 0 if values.ndim == 2 else (values != 0).any(axis=2)
    if marked.all():
        where = " (its transparency does not count)" if has_alpha else ""
        raise DatasetError(
            f"mask {path} has no black pixel{where}, so it marks the whole image as a defect; "
            "expected black for what is good and another colour for defects: is it inverted?"
        )
    return marked


def _without_alpha(picture: Image.Image) -> Image.Image:
    """The colours alone: a palette's own, and what lies under a transparency."""
    if picture.mode == "P":
        picture.info.pop("transparency", None)
    return picture
