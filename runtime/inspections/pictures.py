"""A folder of pictures that were drawn of images: named after them, and replacing nothing else."""

import hashlib
import io
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from runtime.errors import OptionError
from runtime.images.decode import ImageArray
from runtime.images.listing import DRAWN_MARKER
from runtime.storage.atomic_write import atomic_write

# Of 255 bytes, so that a suffix and a temporary name fit.
_LONGEST_STEM_BYTES = 180


class PictureFolder:
    """Where pictures go; the folder is made with the first one.

    A folder that holds anything else is refused, since a picture could replace an image.

    Args:
        path: The folder: new, empty, or one that was made by this class before.

    Raises:
        OptionError: It holds what this class did not write.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.is_file():
            raise OptionError(f"{path} is a file; expected a folder for pictures")
        if path.is_dir() and not (path / DRAWN_MARKER).exists() and any(path.iterdir()):
            raise OptionError(
                f"{path} holds files that are no pictures of l2bt, which could be replaced by "
                "them; name another folder, or an empty one"
            )

    def write(self, stem: str, image: ImageArray) -> Path:
        """Write an (H, W, 3) uint8 RGB picture as JPEG, whole or not at all."""
        self.path.mkdir(parents=True, exist_ok=True)
        (self.path / DRAWN_MARKER).touch()
        path = self.path / f"{stem}.jpg"
        write_jpeg(path, image)
        return path


def picture_stems(paths: Sequence[Path], *, with_folders: bool = False) -> list[str]:
    """A name for the picture of each image, all different.

    The image's own name without its ending; where images share it, the folders and the ending that
    tell them apart; where even that is the same, such as for `a_b/c.png` and `a/b_c.png`, or too
    long for a file's name, a part of a digest of the path behind it.

    Args:
        paths: The images, each once or more often.
        with_folders: Put the folders of a path before each name, as for the kinds of a test set.
    """
    shown = ["_".join(path.with_suffix("").parts) if with_folders else path.stem for path in paths]
    shared = Counter(stem.casefold() for stem in shown)
    long = [path.absolute() for path in paths]
    # Not `commonpath` of the files themselves, which of a single file is the file.
    root = os.path.commonpath([str(path.parent) for path in long]) if long else ""
    for number, path in enumerate(long):
        if shared[shown[number].casefold()] > 1:
            shown[number] = "_".join((*path.parent.relative_to(root).parts, path.name))
    shared = Counter(stem.casefold() for stem in shown)
    return [
        _digested(stem, path)
        if shared[stem.casefold()] > 1 or len(os.fsencode(stem)) > _LONGEST_STEM_BYTES
        else stem
        for stem, path in zip(shown, long, strict=True)
    ]


def _digested(stem: str, path: Path) -> str:
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:12]
    short = os.fsencode(stem)[:_LONGEST_STEM_BYTES].decode(errors="ignore")
    return f"{short}-{digest}"


def write_jpeg(path: Path, image: ImageArray) -> None:
    """Write an (H, W, 3) uint8 RGB image as JPEG, whole or not at all."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=88)
    atomic_write(path, buffer.getvalue())
