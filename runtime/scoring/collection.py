"""Where the images of a collection are: a folder, a list of files, or a bucket."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from runtime.errors import BadImageError, OptionError, SourceAwayError
from runtime.images.listing import Listing, walk_images
from runtime.scoring.listed_image import ListedImage
from runtime.storage.bucket import S3_SCHEME, S3Options

# What a file system that is away answers; anything else is the file's own fault.
_AWAY = (5, 107, 110, 116)  # EIO, ENOTCONN, ETIMEDOUT, ESTALE


class Collection(Protocol):
    """Images that can be listed and read; safe from several threads."""

    def list(self) -> Iterator[ListedImage]:
        """All images, always in the same order where nothing has changed."""

    def read(self, name: str) -> bytes:
        """The bytes of an image's file.

        Raises:
            BadImageError: There is no such file, or it may not be read.
            SourceAwayError: Where it stands cannot be reached now.
        """

    @property
    def left_out(self) -> str:
        """What the last listing left out, as a sentence's end; empty where that is nothing."""


def open_collection(source: str, s3: S3Options) -> Collection:
    """A collection by its name.

    Args:
        source: A folder, a text file with a path a line, or s3://BUCKET/PREFIX.
        s3: How a bucket is reached.

    Raises:
        OptionError: It is none of them.
    """
    if source.startswith(S3_SCHEME):
        from runtime.scoring.s3 import S3Collection

        return S3Collection(source, s3)
    if s3 != S3Options():
        raise OptionError(f"--s3-... belong to a source that begins with {S3_SCHEME}")
    path = Path(source)
    if path.is_dir():
        return FolderCollection(path)
    if path.is_file():
        return ListCollection(path)
    raise OptionError(
        f"{source} is missing; expected a folder of images, a text file with a path a line, or "
        f"{S3_SCHEME}BUCKET/PREFIX"
    )


class FolderCollection:
    """The images in a folder and in the folders in it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.left_out = ""

    def list(self) -> Iterator[ListedImage]:
        """All images, a folder after the other."""
        listing = Listing()
        for path in walk_images(self._folder, listing):
            yield _listed(path, path.relative_to(self._folder).as_posix())
        if listing.left_out:
            self.left_out = listing.describe_left_out()

    def read(self, name: str) -> bytes:
        """The bytes of an image's file."""
        return _read(self._folder / name)


class ListCollection:
    """Files that a text file names, a path a line; relative ones begin at its own folder."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.left_out = ""

    def list(self) -> Iterator[ListedImage]:
        """All files in the text file's order."""
        with self._file.open(encoding="utf-8") as lines:
            try:
                for line in lines:
                    name = line.rstrip("\r\n")
                    if name:
                        yield _listed(self._file.parent / name, name)
            except UnicodeDecodeError as error:
                raise OptionError(
                    f"{self._file} is no list ({error}); expected UTF-8 text with a path a line"
                ) from error

    def read(self, name: str) -> bytes:
        """The bytes of a file."""
        return _read(self._file.parent / name)


def _listed(path: Path, name: str) -> ListedImage:
    try:
        found = path.stat()
    except (OSError, ValueError):
        # Told in its row, once it is to be read.
        return ListedImage(name=name, size_bytes=None, modified_s=None)
    return ListedImage(name=name, size_bytes=found.st_size, modified_s=found.st_mtime)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        if error.errno in _AWAY:
            raise SourceAwayError(f"{path}: {error.strerror}") from error
        raise BadImageError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise BadImageError(f"{str(path)!r} cannot be read: {error}") from error
