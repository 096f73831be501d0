"""The feature cache: the frozen teacher sees each image once, and the students train from disk."""

import logging
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from runtime.errors import OptionError
from runtime.geometry.area import InspectionArea
from runtime.geometry.geometry import GeometrySettings
from runtime.storage.json_files import read_json, write_json
from train.data.dataset import Sample
from train.teacher.teacher import Teacher

logger = logging.getLogger("l2bt.train")

_TOKENS_NAME = "tokens.f16"
_INDEX_NAME = "index.json"
_SAVE_EVERY_IMAGES = 25
# More would need more memory, and is no faster.
TILES_AT_ONCE = 4


@dataclass(frozen=True, kw_only=True)
class _Index:
    """How far the cache is filled, and from what."""

    fingerprint: str
    images_done: int


@dataclass(frozen=True, kw_only=True)
class FeatureCache:
    """Teacher tokens of all good images, memory-mapped.

    Attributes:
        tokens: (tiles, T, 2, D) float16 on disk, image after image; index 0 of the third axis is
            the shallower block.
        image_sizes: Height and width in px of each original image.
        first_tile: Where each image's tiles begin, and where the last one's end.
        teacher_images: Images that went through the teacher to fill it.
        path: The file of tokens.
    """

    tokens: npt.NDArray[np.float16]
    image_sizes: tuple[tuple[int, int], ...]
    first_tile: tuple[int, ...]
    teacher_images: int
    path: Path

    def tokens_of(self, image: int) -> npt.NDArray[np.float16]:
        """(tiles, T, 2, D) of one image."""
        return self.tokens[self.first_tile[image] : self.first_tile[image + 1]]


def cache_features(
    teacher: Teacher,
    samples: Sequence[Sample],
    geometry: GeometrySettings,
    *,
    area: InspectionArea | None,
    folder: Path,
    fingerprint: str,
) -> FeatureCache:
    """Fill the cache, or go on with one that was interrupted, or take it as it is if it is whole.

    Args:
        teacher: The frozen network.
        samples: The good images.
        geometry: How images are brought to the network's size.
        area: Where they are looked at; everywhere if None.
        folder: Where the cache stands; made if it is missing.
        fingerprint: Of data, teacher and geometry: a cache of something else is not taken.

    Raises:
        OptionError: The disk has too little room, or `folder` holds the cache of something
            else or a damaged one.
        BadImageError: An image cannot be read.
    """
    tokens_path, index_path = folder / _TOKENS_NAME, folder / _INDEX_NAME
    sizes = [sample.size() for sample in samples]
    tiles_of = [geometry.for_image(*size, area=area).tiles for size in sizes]
    first_tile = tuple(int(number) for number in np.cumsum([0, *tiles_of]))
    shape = (first_tile[-1], math.prod(geometry.grid_wh), 2, teacher.card.dimension)
    if index_path.is_file():
        index = read_json(index_path, _Index)
        if index.fingerprint != fingerprint:
            raise OptionError(
                f"{folder} holds features of other data, another teacher, or another size, scale, "
                "overlap or area; delete it, or name another folder"
            )
        size = int(np.prod(shape)) * 2
        if not tokens_path.is_file() or tokens_path.stat().st_size != size:
            raise OptionError(f"{tokens_path} is not the {size} bytes that it was; delete {folder}")
        tokens = np.memmap(tokens_path, np.float16, mode="r+", shape=shape)
        seen_before = index.images_done
    else:
        _check_room(folder, int(np.prod(shape)) * 2)
        tokens = np.memmap(tokens_path, np.float16, mode="w+", shape=shape)
        seen_before = 0
    remaining = range(seen_before, len(samples))
    for number in tqdm(remaining, desc="teacher features", unit="image", disable=not remaining):
        tiles = geometry.for_image(*sizes[number], area=area).cut(samples[number].pixels())
        # On its way to the disk it becomes float16, whatever the teacher computes in.
        first = first_tile[number]
        for start in range(0, len(tiles), TILES_AT_ONCE):
            batch = tiles[start : start + TILES_AT_ONCE]
            found = teacher_tokens(teacher, batch).half().cpu().numpy()
            tokens[first + start : first + start + len(batch)] = found
        done = number + 1
        if done % _SAVE_EVERY_IMAGES == 0 or done == len(samples):
            tokens.flush()
            write_json(index_path, _Index(fingerprint=fingerprint, images_done=done))
    return FeatureCache(
        tokens=tokens,
        image_sizes=tuple(sizes),
        first_tile=first_tile,
        teacher_images=len(samples) - seen_before,
        path=tokens_path,
    )


@torch.no_grad()
def teacher_tokens(teacher: Teacher, tiles: npt.NDArray[np.uint8]) -> Tensor:
    """Ask the teacher once.

    Args:
        teacher: The frozen network.
        tiles: (N, height, width, 3) uint8.

    Returns:
        (N, T, 2, D) float32 tokens on the teacher's device, the shallower block's first.
    """
    shallow, deep = teacher(torch.tensor(tiles, device=teacher.device))
    return torch.stack([shallow, deep], dim=2)


def _check_room(folder: Path, size: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    logger.info("feature cache: %.2f GB in %s (%.1f GB free)", size / 1e9, folder, free / 1e9)
    # A full disk would hurt more than this training.
    if size * 1.05 > free:
        raise OptionError(
            f"the feature cache needs {size / 1e9:.2f} GB, {folder} has {free / 1e9:.2f} GB free; "
            "name a folder on another disk with --work-folder, or a smaller --image-size"
        )
