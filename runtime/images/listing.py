"""Which files of a folder are images, and which are left out: one rule for all commands.

Folders are looked through with the folders in them, links included. Hidden files and folders are
left out, since tools put copies and previews there (`.ipynb_checkpoints`, `.thumbnails`, macOS'
`._part.png`), and so are the folders in `TOOL_FOLDERS` and the pictures that this project drew.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from runtime.images.decode import IMAGE_SUFFIXES

TOOL_FOLDERS = frozenset(
    {"__macosx", "__pycache__", "@eadir", "lost+found", "$recycle.bin", "system volume information"}
)
DRAWN_MARKER = ".l2bt-pictures"
"""A file in folders of pictures that this project drew, which are no images to look at."""


@dataclass
class Listing:
    """What was found below a folder.

    Attributes:
        images: The images, sorted by path.
        left_out: What was not taken, by reason.
    """

    images: list[Path] = field(default_factory=list)
    left_out: dict[str, list[Path]] = field(default_factory=dict)

    def describe(self) -> str:
        """What was taken and left, as a sentence's end."""
        taken = f"{len(self.images)} image{'s' if len(self.images) != 1 else ''}"
        return taken if not self.left_out else f"{taken}; {self.describe_left_out()}"

    def describe_left_out(self) -> str:
        """What was left, as a sentence's end."""
        parts = [
            f"{len(paths)} {reason} (such as {paths[0].name})"
            for reason, paths in self.left_out.items()
        ]
        return f"left out: {', '.join(parts)}"


def list_images(folder: Path, *, without: Sequence[str] = ()) -> Listing:
    """List the images in a folder and in the folders in it.

    Args:
        folder: The folder.
        without: Names of folders directly in it to leave alone, in any case.
    """
    listing = Listing()
    listing.images = sorted(walk_images(folder, listing, without=without))
    return listing


def walk_images(folder: Path, listing: Listing, *, without: Sequence[str] = ()) -> Iterator[Path]:
    """Give the images in a folder and in the folders in it, a folder after the other.

    Args:
        folder: The folder.
        listing: Told what is left out; its images are left alone, so that millions need not be held
            at once.
        without: Names of folders directly in it to leave alone, in any case.
    """
    alone = {name.casefold() for name in without}
    seen: set[str] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        here = Path(place)
        # Links may lead in a circle.
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        if here == folder:
            folders[:] = [name for name in folders if name.casefold() not in alone]
        folders[:] = [name for name in sorted(folders) if _is_taken(here / name, listing)]
        for name in sorted(files):
            path = here / name
            if name == DRAWN_MARKER:
                continue
            if name.startswith("."):
                _leave(listing, "hidden", path)
            elif path.suffix.lower() not in IMAGE_SUFFIXES:
                _leave(listing, "of other kinds", path)
            elif path.exists() and not path.is_file():
                _leave(listing, "no files", path)
            else:
                yield path


def is_image_name(name: str, *, is_folder: bool) -> bool:
    """Whether the same rule takes a file, or looks into a folder, of a place without a file system.

    Args:
        name: Without the folders that it is in.
        is_folder: Whether it is a folder's.
    """
    if name.startswith("."):
        return False
    if is_folder:
        return name.casefold() not in TOOL_FOLDERS
    return Path(name).suffix.lower() in IMAGE_SUFFIXES


def list_folders(folder: Path) -> list[Path]:
    """The folders directly in a folder that are not hidden and no tool's, sorted."""
    listing = Listing()
    return [path for path in sorted(folder.iterdir()) if path.is_dir() and _is_taken(path, listing)]


def _is_taken(folder: Path, listing: Listing) -> bool:
    if not is_image_name(folder.name, is_folder=True):
        _leave(listing, "hidden or tools' folders", folder)
    elif (folder / DRAWN_MARKER).exists():
        _leave(listing, "folders of pictures that l2bt drew", folder)
    else:
        return True
    return False


def _leave(listing: Listing, reason: str, path: Path) -> None:
    listing.left_out.setdefault(reason, []).append(path)
