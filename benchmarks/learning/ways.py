"""The two ways to learn, in turns: from cached features, and through the teacher each time."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.machine.timing import Ratio, Timing, take_turns
from runtime.geometry.geometry import GeometrySettings
from train.data.dataset import Sample
from train.fitting.features import TILES_AT_ONCE, teacher_tokens
from train.fitting.fit import Trainer, new_students, update_students
from train.fitting.good_features import GoodFeatures
from train.settings import FitSettings
from train.teacher.teacher import Teacher

_READING, _PASS, _DEFAULT = "reading", "pass", "default"


@dataclass(frozen=True, kw_only=True)
class UpdatePair:
    """One size of update, taken both ways.

    Attributes:
        images: Whole images whose patches an update takes.
        patches: Those patches; from the cache as many, drawn from all images.
        cached: Gathered from the cache.
        uncached: Images read, cut and sent through the teacher, as at every update.
        ratio: The second over the first, turn by turn.
        break_even_updates: From so many updates on the cache has paid for itself; None if it never
            does, since the teacher costs nothing beside the students.
    """

    images: int
    patches: int
    cached: Timing
    uncached: Timing
    ratio: Ratio
    break_even_updates: float | None


@dataclass(frozen=True, kw_only=True)
class TimeTo:
    """Time to a number of updates.

    Attributes:
        images: Whole images whose patches an update takes.
        updates: Their number.
        cached_s: From the cache, filling it included.
        uncached_s: With the teacher at every update.
        ratio: The second over the first, turn by turn.
    """

    images: int
    updates: int
    cached_s: float
    uncached_s: float
    ratio: Ratio


@dataclass(frozen=True, kw_only=True)
class UpdateTimes:
    """What the two ways cost.

    Attributes:
        reading: Reading an image and cutting it; a part of the two that follow.
        teacher_pass: Of an image into the cache, once.
        default: An update from the cache, of as many patches as the product takes by default.
        default_patches: Those.
        pairs: By size of update.
        time_to: By size of update and number of updates.
        good_images: Of the cache.
    """

    reading: Timing
    teacher_pass: Timing
    default: Timing
    default_patches: int
    pairs: tuple[UpdatePair, ...]
    time_to: tuple[TimeTo, ...]
    good_images: int


class UncachedTrainer:
    """Learning without a cache: whole images go through the teacher at every update.

    Args:
        teacher: The frozen network.
        samples: The images; each epoch sees them in an order of its own.
        geometry: How they are brought to the network's size.
        settings: How the students are trained; `batch_patches` does not count here.
        images: Of an update.

    Attributes:
        students: The pair, as the last update left it.
    """

    def __init__(
        self,
        teacher: Teacher,
        samples: Sequence[Sample],
        geometry: GeometrySettings,
        settings: FitSettings,
        *,
        images: int,
    ) -> None:
        self._teacher, self._geometry = teacher, geometry
        self._samples, self._images = list(samples), images
        self._random = random.Random(settings.seed)
        self._waiting: list[Sample] = []
        self.students = new_students(teacher.card.dimension, settings, str(teacher.device))
        self._optimiser = torch.optim.Adam(self.students.parameters(), lr=settings.lr)

    def update(self) -> float:
        """One update on the next images of the epoch; its loss."""
        while len(self._waiting) < self._images:
            self._waiting[:0] = self._random.sample(self._samples, len(self._samples))
        batch = [self._waiting.pop() for _ in range(self._images)]
        tiles = np.concatenate([read_tiles(sample, self._geometry) for sample in batch])
        tokens = torch.cat(
            [
                teacher_tokens(self._teacher, tiles[start : start + TILES_AT_ONCE])
                for start in range(0, len(tiles), TILES_AT_ONCE)
            ]
        )
        return update_students(self.students, self._optimiser, tokens[:, :, 0], tokens[:, :, 1])


def read_tiles(sample: Sample, geometry: GeometrySettings) -> npt.NDArray[np.uint8]:
    """(N, height, width, 3) uint8 tiles of one image, read from its file."""
    tiles: npt.NDArray[np.uint8] = geometry.for_image(*sample.size()).cut(sample.pixels())
    return tiles


def time_ways(
    teacher: Teacher,
    features: GoodFeatures,
    geometry: GeometrySettings,
    settings: FitSettings,
    *,
    images_per_update: Sequence[int],
    updates: Sequence[int],
    repetitions: int,
    budget_s: float,
) -> UpdateTimes:
    """Take updates of both ways in turns.

    Args:
        teacher: The frozen network, with which the cache was filled.
        features: The cache.
        geometry: How images are brought to the network's size.
        settings: How the students are trained.
        images_per_update: Sizes of update to compare.
        updates: Numbers of updates to tell the time to.
        repetitions: Turns.
        budget_s: Seconds after which no further turn is begun.
    """
    learned_from = features.samples[: features.first_held_out]
    patches = {images: images * len(features.cache.tokens_of(0)[0]) for images in images_per_update}
    next_sample = cycle(learned_from)
    steps: dict[str, Callable[[], Any]] = {
        _READING: lambda: read_tiles(next(next_sample), geometry),
        _PASS: lambda: _pass(teacher, next(next_sample), geometry),
        _DEFAULT: _trainer(features, settings, teacher).update,
    }
    for images in images_per_update:
        cached = replace(settings, batch_patches=patches[images])
        steps[f"cached {images}"] = _trainer(features, cached, teacher).update
        steps[f"uncached {images}"] = UncachedTrainer(
            teacher, learned_from, geometry, settings, images=images
        ).update
    times = take_turns(
        steps, repetitions=repetitions, warm_up=2, budget_s=budget_s, progress="both ways"
    )
    count = len(features.samples)
    pairs = tuple(_pair(images, patches[images], times, count) for images in images_per_update)
    return UpdateTimes(
        reading=Timing.of(times[_READING]),
        teacher_pass=Timing.of(times[_PASS]),
        default=Timing.of(times[_DEFAULT]),
        default_patches=settings.batch_patches,
        pairs=pairs,
        time_to=tuple(_time_to(pair, wanted, times, count) for pair in pairs for wanted in updates),
        good_images=count,
    )


def _trainer(features: GoodFeatures, settings: FitSettings, teacher: Teacher) -> Trainer:
    return Trainer(
        features.train_tokens, features.held_out_tokens, settings, device=str(teacher.device)
    )


def _pass(
    teacher: Teacher, sample: Sample, geometry: GeometrySettings
) -> list[npt.NDArray[np.float16]]:
    tiles = read_tiles(sample, geometry)
    return [
        teacher_tokens(teacher, tiles[start : start + TILES_AT_ONCE]).half().cpu().numpy()
        for start in range(0, len(tiles), TILES_AT_ONCE)
    ]


def _pair(
    images: int, patches: int, times_ms: dict[str, list[float]], good_images: int
) -> UpdatePair:
    cached = Timing.of(times_ms[f"cached {images}"])
    uncached = Timing.of(times_ms[f"uncached {images}"])
    saved_ms = uncached.p50_ms - cached.p50_ms
    ahead_ms = good_images * Timing.of(times_ms[_PASS]).p50_ms
    return UpdatePair(
        images=images,
        patches=patches,
        cached=cached,
        uncached=uncached,
        ratio=Ratio.of(times_ms[f"uncached {images}"], times_ms[f"cached {images}"]),
        break_even_updates=ahead_ms / saved_ms if saved_ms > 0 else None,
    )


def _time_to(
    pair: UpdatePair, updates: int, times_ms: dict[str, list[float]], good_images: int
) -> TimeTo:
    ahead_ms = np.array(times_ms[_PASS]) * good_images
    cached_s = (ahead_ms + updates * np.array(times_ms[f"cached {pair.images}"])) / 1e3
    uncached_s = updates * np.array(times_ms[f"uncached {pair.images}"]) / 1e3
    return TimeTo(
        images=pair.images,
        updates=updates,
        cached_s=float(np.median(cached_s)),
        uncached_s=float(np.median(uncached_s)),
        ratio=Ratio.of(list(uncached_s), list(cached_s)),
    )
