"""Inspecting files and folders: a JSON line and, if wanted, a picture for each."""

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

from runtime.errors import BadImageError
from runtime.images.decode import IMAGE_SUFFIXES, ImageArray, read_image
from runtime.inspections.inspection import Inspection, Inspector
from runtime.inspections.overlay import draw_inspection
from runtime.storage.atomic_write import atomic_write


@dataclass(frozen=True, kw_only=True)
class FileInspection:
    """What became of one file.

    Attributes:
        path: The file.
        inspection: Its inspection; None if the file could not be used.
        error: Why it could not be used.
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
    """The files themselves, and the image files of folders and the folders in them.

    Raises:
        BadImageError: A path is missing, or a folder holds no image.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES)
            if not inside:
                raise BadImageError(f"folder {path} holds no image ({', '.join(IMAGE_SUFFIXES)})")
            found += inside
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
    """
    want_map = pictures is not None
    answers = inspector.inspect_many(paths, product=product, want_map=want_map)
    bar = tqdm(answers, desc="inspecting", unit="image", total=len(paths), disable=len(paths) < 2)
    for path, inspection in zip(paths, bar, strict=True):
        if isinstance(inspection, BadImageError):
            yield FileInspection(path=path, inspection=None, error=str(inspection), picture=None)
            continue
        picture = None
        if pictures is not None:
            picture = pictures / f"{picture_stem(path, paths)}.jpg"
            write_jpeg(picture, draw_inspection(read_image(path), inspection, title=path.name))
        yield FileInspection(path=path, inspection=inspection, error=None, picture=picture)


def picture_stem(path: Path, paths: Sequence[Path]) -> str:
    """A file's name, with its folder's before it where another file is named the same."""
    if sum(other.stem == path.stem for other in paths) == 1:
        return path.stem
    return "_".join((*path.absolute().parts[-3:-1], path.stem))


def write_jpeg(path: Path, image: ImageArray) -> None:
    """Write an (H, W, 3) uint8 RGB image as JPEG, whole or not at all."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=88)
    atomic_write(path, buffer.getvalue())
