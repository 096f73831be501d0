"""What every data set offers: good samples to learn from, and labelled samples to test on."""

import hashlib
import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from runtime.errors import DatasetError
from runtime.images.decode import IMAGE_SUFFIXES, ImageArray, image_size, load_image
from runtime.images.listing import list_folders, list_images
from train.data.masks import Mask, read_mask

GOOD = "good"
"""The folder of good images, in every layout but VisA's original one."""
_GOOD_NAMES = frozenset({GOOD, "ok", "normal"})


class Sample(ABC):
    """One image with its label and, if there is one, its mask.

    Attributes:
        name: Unique within the data set; for files the path below its root.
        is_defective: The label.
    """

    name: str
    is_defective: bool

    @abstractmethod
    def source(self) -> Path | ImageArray:
        """The image as a detector or client takes it: a file's path, or the pixels."""

    @abstractmethod
    def mask(self, height: int, width: int) -> Mask | None:
        """(H, W) bool, True on defects; None if a defective image came without a mask.

        Raises:
            DatasetError: The mask cannot be read, or is not as large as the image.
        """

    @abstractmethod
    def content(self) -> bytes:
        """Bytes that change whenever the image does, for the data's fingerprint."""

    def size(self) -> tuple[int, int]:
        """Height and width in px.

        Raises:
            BadImageError: The image cannot be read.
        """
        source = self.source()
        if isinstance(source, Path):
            return image_size(source)
        return source.shape[0], source.shape[1]

    def pixels(self) -> ImageArray:
        """(H, W, 3) uint8 RGB.

        Raises:
            BadImageError: The image cannot be read.
        """
        return load_image(self.source(), name=self.name)


@dataclass(frozen=True, kw_only=True)
class FileSample(Sample):
    """A sample whose image, and mask if it has one, are files."""

    name: str
    is_defective: bool
    image_path: Path
    mask_path: Path | None = None

    def source(self) -> Path:
        """The image's path."""
        return self.image_path

    def content(self) -> bytes:
        """The file as it is."""
        return self.image_path.read_bytes()

    def mask(self, height: int, width: int) -> Mask | None:
        """All False for a good image; otherwise what the file marks; see `train.data.masks`."""
        if not self.is_defective:
            return np.zeros((height, width), bool)
        if self.mask_path is None:
            return None
        defective = read_mask(self.mask_path)
        if defective.shape != (height, width):
            raise DatasetError(
                f"mask {self.mask_path} is {defective.shape[1]} x {defective.shape[0]} px, its "
                f"image {self.image_path} is {width} x {height} px; both must be the same"
            )
        return defective


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """The samples of one product.

    Attributes:
        product: The product's name.
        layout: How it lies on disk: "visa", "visa-prepared", "mvtec", "folder" or "synthetic".
        train: Good samples only.
        test: Good and defective samples; may be empty in the layout "folder".
        notes: What was left out of its folders, and how names were read.
    """

    product: str
    layout: str
    train: tuple[Sample, ...]
    test: tuple[Sample, ...]
    notes: tuple[str, ...] = ()

    def usual_image_wh(self) -> tuple[int, int]:
        """Width and height in px that most of the training images have.

        Raises:
            BadImageError: An image cannot be read.
        """
        ((height, width), _), *_ = Counter(sample.size() for sample in self.train).most_common(1)
        return width, height

    def fingerprint(self) -> str:
        """SHA-256 over the names and contents of the training images."""
        digest = hashlib.sha256()
        for sample in self.train:
            digest.update(sample.name.encode() + b"\0")
            digest.update(hashlib.sha256(sample.content()).digest())
        return digest.hexdigest()


@dataclass(frozen=True)
class FileFolder:
    """A folder's images as samples' files, and what was left out of it.

    Attributes:
        paths: The images.
        note: Where anything was left out: what, in words.
    """

    paths: tuple[Path, ...]
    note: str | None


def image_files(folder: Path, *, without: Sequence[str] = ()) -> FileFolder:
    """The images in a folder and the folders in it; see `runtime.images.listing`.

    Args:
        folder: The folder.
        without: Names of folders directly in it to leave alone.

    Raises:
        DatasetError: The folder is missing or holds no image.
    """
    if not folder.is_dir():
        raise DatasetError(f"folder {folder} is missing; expected images in it")
    listing = list_images(folder, without=without)
    if not listing.images:
        raise DatasetError(
            f"folder {folder} holds no image; expected files ending in {', '.join(IMAGE_SUFFIXES)}"
        )
    note = f"{folder}: {listing.describe()}" if listing.left_out else None
    return FileFolder(tuple(listing.images), note)


def good_folder(parent: Path) -> Path:
    """Its folder of good images, in whatever case its name is written.

    Raises:
        DatasetError: There are several.
    """
    if not parent.is_dir():
        return parent / GOOD
    found = [path for path in list_folders(parent) if path.name.casefold() == GOOD]
    if len(found) > 1:
        raise DatasetError(f"{parent} has {found[0].name} and {found[1].name}; join them")
    return found[0] if found else parent / GOOD


def is_good(kind: str) -> bool:
    """Whether a folder of test images, by its name, holds good ones."""
    return kind.casefold() in _GOOD_NAMES


def name_of(path: Path, root: Path) -> str:
    """A file's path below a folder, with bytes that are no text written as such."""
    return os.fsencode(path.relative_to(root)).decode(errors="backslashreplace")
