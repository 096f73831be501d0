"""Inspecting files and folders: a JSON line and, if wanted, a picture for each."""

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from runtime.errors import BadImageError
from runtime.images.decode import IMAGE_SUFFIXES, read_image
from runtime.images.listing import list_images
from runtime.inspections.inspection import Inspection, Inspector
from runtime.inspections.overlay import draw_inspection
from runtime.inspections.pictures import PictureFolder, picture_stems

logger = logging.getLogger("l2bt")


@dataclass(frozen=True, kw_only=True)
class FileInspection:
    """What became of one file.

    Attributes:
        path: The file.
        inspection: Its inspection; None if the file could not be used.
        error: Why it could not be used, or no picture of it drawn.
        picture: Where the picture was written, if one was.
    """

    path: Path
    inspection: Inspection | None
    error: str | None
    picture: Path | None

    def to_json(self) -> str:
        """One line."""
        line: dict[str, Any] = {"image": str(self.path)}
        if self.inspection is not None:
            line.update(self.inspection.to_dict())
        if self.error is not None:
            line["error"] = self.error
        if self.picture is not None:
            line["picture"] = str(self.picture)
        return json.dumps(line)


def find_images(paths: Sequence[Path]) -> list[Path]:
    """The files themselves, and the images of folders and the folders in them.

    What is left out of folders (see `runtime.images.listing`) is said on the error stream.

    Raises:
        BadImageError: A path is missing, or a folder holds no image.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            listing = list_images(path)
            if not listing.images:
                raise BadImageError(
                    f"folder {path} holds no image ({', '.join(IMAGE_SUFFIXES)}; "
                    f"{listing.describe()})"
                )
            if listing.left_out:
                logger.warning("%s: %s", path, listing.describe())
            found += listing.images
        elif path.exists():
            found.append(path)
        else:
            raise BadImageError(f"{path} is missing; expected an image or a folder of images")
    return found


def inspect_files(
    inspector: Inspector,
    paths: Sequence[Path],
    *,
    product: str | None = None,
    pictures: Path | None = None,
) -> Iterator[FileInspection]:
    """Inspect files in order; one that cannot be used does not stop the others.

    Args:
        inspector: A detector or a client.
        paths: The files.
        product: Name of the product, where the inspector holds several.
        pictures: Folder for overlays; none are drawn if left out.

    Raises:
        OptionError: `pictures` holds what no picture may replace.
    """
    folder = PictureFolder(pictures) if pictures is not None else None
    stems = picture_stems(paths) if pictures is not None else [""] * len(paths)
    answers = inspector.inspect_many(paths, product=product, want_map=folder is not None)
    bar = tqdm(answers, desc="inspecting", unit="image", total=len(paths), disable=len(paths) < 2)
    for path, stem, inspection in zip(paths, stems, bar, strict=True):
        if isinstance(inspection, BadImageError):
            yield FileInspection(path=path, inspection=None, error=str(inspection), picture=None)
            continue
        picture, error = None, None
        if folder is not None:
            # The verdict stands where its picture cannot be drawn: a line may have moved the file.
            try:
                picture = folder.write(
                    stem, draw_inspection(read_image(path), inspection, title=path.name)
                )
            except (BadImageError, OSError) as reason:
                error = f"no picture: {reason}"
        yield FileInspection(path=path, inspection=inspection, error=error, picture=picture)
