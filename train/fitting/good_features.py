"""The features of a product's good images: some to train on, and the rest held out."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import torch

from runtime.errors import DatasetError
from runtime.geometry.area import InspectionArea
from runtime.geometry.geometry import GeometrySettings
from runtime.storage.atomic_write import locked
from train.data.dataset import Dataset, Sample
from train.fitting.features import FeatureCache, cache_features
from train.settings import FitSettings
from train.students.students import Students
from train.teacher.teacher import Teacher


@dataclass(frozen=True, kw_only=True)
class GoodFeatures:
    """The feature cache, and which of its images are held out.

    Attributes:
        cache: Teacher tokens of all good images.
        samples: The images, in the cache's order: those held out are the last.
        first_held_out: The first image that is not trained on; their number if all are.
    """

    cache: FeatureCache
    samples: list[Sample]
    first_held_out: int

    @property
    def train_tokens(self) -> npt.NDArray[np.float16]:
        """Tokens to train on."""
        return self.cache.tokens[: self.cache.first_tile[self.first_held_out]]

    def tiles_of(self, images: Sequence[int]) -> npt.NDArray[np.int64]:
        """Numbers of the tiles of these images."""
        bounds = self.cache.first_tile
        return np.concatenate([np.arange(bounds[one], bounds[one + 1]) for one in images])

    @property
    def held_out_tokens(self) -> npt.NDArray[np.float16]:
        """Tokens for the validation loss and the threshold."""
        return self.cache.tokens[self.cache.first_tile[self.first_held_out] :]


def order_held_out_last(dataset: Dataset, settings: FitSettings) -> tuple[list[Sample], int]:
    """The good images with those held out at the end, so that both are slices of one cache.

    Where the images are dealt into folds, none is held out, and each fold is a slice.

    Returns:
        The images, and how many of them are held out.

    Raises:
        DatasetError: There are fewer than two.
    """
    count = len(dataset.train)
    if count < 2:
        raise DatasetError(
            f"{dataset.product} has {count} good image(s) to learn from; expected at least 2: one "
            "to train on and one to find the threshold with"
        )
    held_out = settings.images_held_out(count)
    order = np.random.default_rng(settings.seed).permutation(count)
    return [dataset.train[number] for number in order], held_out


def good_features(
    teacher: Teacher,
    samples: list[Sample],
    geometry: GeometrySettings,
    *,
    held_out: int,
    teacher_precision: str,
    data_fingerprint: str,
    folder: Path,
    area: InspectionArea | None = None,
    shared: Path | None = None,
) -> GoodFeatures:
    """Let the teacher see each good image once, or take the cache that it filled before.

    Args:
        teacher: The frozen network.
        samples: The good images, those held out at the end.
        geometry: How images are brought to the network's size.
        held_out: How many are.
        teacher_precision: The teacher's.
        data_fingerprint: The data set's.
        folder: Where the cache stands, if it is not shared.
        area: Where images are looked at; everywhere if None.
        shared: Folder of caches that several trainings have in common. Whoever comes while another
            fills the same one waits for it.

    Raises:
        OptionError: The disk has too little room, or `folder` holds the cache of something else.
        BadImageError: An image cannot be read.
    """
    names = [sample.name for sample in samples]
    everything = [data_fingerprint, names, teacher.card, teacher_precision, geometry, area]
    fingerprint = hashlib.sha256(msgspec.json.encode(everything)).hexdigest()
    fill = partial(cache_features, teacher, samples, geometry, area=area, fingerprint=fingerprint)
    if shared is None:
        cache = fill(folder=folder)
    else:
        # By its content: it is found by whoever needs the same, and by nobody else.
        own = shared / fingerprint[:32]
        own.mkdir(parents=True, exist_ok=True)
        with locked(own):
            cache = fill(folder=own)
    return GoodFeatures(cache=cache, samples=samples, first_held_out=len(samples) - held_out)


@torch.inference_mode()
def cached_patch_maps(
    tokens: np.ndarray[Any, np.dtype[np.float16]], students: Students, grid_wh: tuple[int, int]
) -> npt.NDArray[np.float32]:
    """The (tiles, rows, columns) patch maps of an image's cached (tiles, T, 2, D) tokens."""
    both = torch.from_numpy(tokens.astype(np.float32))
    maps: npt.NDArray[np.float32] = students(both[:, :, 0], both[:, :, 1]).numpy()
    columns, rows = grid_wh
    return maps.reshape(-1, rows, columns)
