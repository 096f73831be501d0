"""The feature cache: the frozen teacher sees each image once, and the students train from disk."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from runtime.errors import OptionError
from runtime.geometry import GeometrySettings
from runtime.json_files import read_json, write_json
from train.data.dataset import Sample
from train.teacher import Teacher

_TOKENS_NAME = "tokens.f16"
_INDEX_NAME = "index.json"
_SAVE_EVERY_IMAGES = 25


@dataclass(frozen=True, kw_only=True)
class _Index:
    """How far the cache is filled, and from what."""

    fingerprint: str
    images: int
    heights: list[int]
    widths: list[int]


@dataclass(frozen=True, kw_only=True)
class FeatureCache:
    """Teacher tokens of all good images, memory-mapped.

    Attributes:
        tokens: (images, T, 2, D) float16 on disk; index 0 of the third axis is the shallower block.
        image_sizes: Height and width in px of each original image.
        teacher_images: Images that went through the teacher to fill it.
    """

    tokens: npt.NDArray[np.float16]
    image_sizes: tuple[tuple[int, int], ...]
    teacher_images: int


def cache_features(
    teacher: Teacher,
    samples: Sequence[Sample],
    geometry: GeometrySettings,
    *,
    folder: Path,
    fingerprint: str,
) -> FeatureCache:
    """Fill the cache, or go on with one that was interrupted, or take it as it is if it is whole.

    Args:
        teacher: The frozen network.
        samples: The good images.
        geometry: How images are brought to the network's size.
        folder: Where the cache stands; made if it is missing.
        fingerprint: Of data, teacher and geometry: a cache of something else is not taken.

    Raises:
        OptionError: The disk has too little room, or `folder` holds the cache of something
            else or a damaged one.
        BadImageError: An image cannot be read.
    """
    tokens_path, index_path = folder / _TOKENS_NAME, folder / _INDEX_NAME
    shape = (len(samples), geometry.grid_side**2, 2, teacher.card.dimension)
    if index_path.is_file():
        index = read_json(index_path, _Index)
        if index.fingerprint != fingerprint:
            raise OptionError(
                f"{folder} holds features of other data, another teacher or another size; "
                "delete it, or name another folder"
            )
        size = int(np.prod(shape)) * 2
        if not tokens_path.is_file() or tokens_path.stat().st_size != size:
            raise OptionError(f"{tokens_path} is not the {size} bytes that it was; delete {folder}")
        tokens = np.memmap(tokens_path, np.float16, mode="r+", shape=shape)
        heights, widths = index.heights, index.widths
    else:
        _check_room(folder, int(np.prod(shape)) * 2)
        tokens = np.memmap(tokens_path, np.float16, mode="w+", shape=shape)
        heights, widths = [], []
    seen_before = len(heights)
    remaining = range(seen_before, len(samples))
    with torch.inference_mode():
        for number in tqdm(remaining, desc="teacher features", unit="image", disable=not remaining):
            pixels = samples[number].pixels()
            height, width = pixels.shape[:2]
            tiles = geometry.for_image(height, width).cut(pixels)
            shallow, deep = teacher(torch.tensor(tiles, device=teacher.device))
            tokens[number] = torch.stack([shallow[0], deep[0]], dim=1).half().cpu().numpy()
            heights.append(height)
            widths.append(width)
            if len(heights) % _SAVE_EVERY_IMAGES == 0 or len(heights) == len(samples):
                tokens.flush()
                write_json(
                    index_path,
                    _Index(
                        fingerprint=fingerprint,
                        images=len(samples),
                        heights=heights,
                        widths=widths,
                    ),
                )
    return FeatureCache(
        tokens=tokens,
        image_sizes=tuple(zip(heights, widths, strict=True)),
        teacher_images=len(samples) - seen_before,
    )


def _check_room(folder: Path, size: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    print(f"feature cache: {size / 1e9:.2f} GB in {folder} ({free / 1e9:.1f} GB free)")
    # A full disk would hurt more than this training.
    if size * 1.05 > free:
        raise OptionError(
            f"the feature cache needs {size / 1e9:.2f} GB, {folder} has {free / 1e9:.2f} GB free; "
            "name a folder on another disk with --work-folder, or a smaller --image-size"
        )
