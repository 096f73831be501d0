"""Thresholds from all good images: each is scored by students that were not trained on it.

The images are dealt into folds. For each fold students are trained on all the other images, as the
product's own are, and score the fold's. The product's students, trained on all images, score a new
part as those would, so that the rank of a new part's score among these scores is as likely as any
other, if one image more or less makes no difference to training. That is cross-conformal
calibration with one model (Vovk, "Cross-conformal predictors", Annals of Mathematics and Artificial
Intelligence 74, 2015; Hennhöfer and Preisach, "Uncertainty quantification in anomaly detection with
cross-conformal p-values", 2024, arXiv 2402.16388). Unlike that of held-out images, its false-alarm
rate is not guaranteed: it was measured, and train/README.md has the figures.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from runtime.errors import OptionError
from runtime.geometry.area import InspectionArea
from runtime.geometry.geometry import GeometrySettings
from runtime.geometry.pixel_map import PixelMap
from runtime.images.decode import ImageArray
from runtime.storage.atomic_write import atomic_write
from runtime.storage.json_files import read_json, write_json
from train.calibration.unlike_images import draw_unlike
from train.fitting.fit import fit
from train.fitting.good_features import GoodFeatures, cached_patch_maps
from train.fitting.learn_judge import learn_judge
from train.fitting.patches import Patches
from train.settings import FitSettings
from train.students.bundle import encode_students
from train.students.students import Students


@dataclass(frozen=True, kw_only=True)
class ScoredImage:
    """What students say of a good image.

    Attributes:
        number: Its place in the cache.
        name: Its name.
        score: Its score.
        peak: The highest value of its map.
        residual: The mean of its patch maps.
        loss: The students' on it.
    """

    number: int
    name: str
    score: float
    peak: float
    residual: float
    loss: float

    @property
    def evidence(self) -> tuple[str, float, float, float]:
        """What a calibration is made of."""
        return self.name, self.score, self.peak, self.residual


@dataclass(frozen=True, kw_only=True)
class _Part:
    """What some images scored; kept until the bundle is written, for a run that is resumed.

    Attributes:
        settings: Of the training.
        images: What each scored.
    """

    settings: dict[str, str | int | float | bool | None]
    images: tuple[ScoredImage, ...]


@dataclass(frozen=True, kw_only=True)
class CrossCalibration:
    """How good images are scored by students that were not trained on them.

    Attributes:
        features: Of all good images.
        settings: How the product's own students are trained.
        geometry: How images are brought to the network's size.
        area: Where they are looked at; everywhere if None.
        folder: Where what was done stays until all is done.
        device: Where students train.
    """

    features: GoodFeatures
    settings: FitSettings
    geometry: GeometrySettings
    area: InspectionArea | None
    folder: Path
    device: str = "cpu"

    def run(self, images: Sequence[int], *, folds: int) -> list[ScoredImage]:
        """Train students for each fold on the others' images, and score its own.

        Args:
            images: Numbers of those that take part.
            folds: How many; as many as there are images leave one out at a time.

        Returns:
            What the images scored, in order.

        Raises:
            OptionError: The folder holds the folds of a run with other settings.
            TrainingError: A loss is no finite number.
        """
        scored: list[ScoredImage] = []
        for number, (first, end) in enumerate(fold_bounds(len(images), folds), start=1):
            others = [*images[:first], *images[end:]]
            scored += self.without(
                others,
                images[first:end],
                name=f"fold {number} of {folds}",
                maps=self.folder,
                students_path=self.students_path(number),
            )
        return scored

    def students_path(self, fold: int) -> Path:
        """Where the students of a fold stand, counted from 1."""
        return self.folder / f"fold-{fold}.safetensors"

    def without(
        self,
        trained: Sequence[int],
        scored: Sequence[int],
        *,
        name: str,
        maps: Path | None = None,
        students_path: Path | None = None,
    ) -> list[ScoredImage]:
        """Train students on some images, and score others; or take what was done before.

        Args:
            trained: Numbers of the images to train on.
            scored: Numbers of the images to score.
            name: For the progress bar.
            maps: Folder that takes the patch maps of those that are scored.
            students_path: Where the students are kept.

        Raises:
            OptionError: The folder holds the scores of a run with other settings.
            TrainingError: A loss is no finite number.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{name.replace(' ', '-')}-{len(trained)}-{len(scored)}.json"
        wanted = asdict(self.settings)
        if path.is_file():
            part = read_json(path, _Part)
            if part.settings != wanted:
                raise OptionError(
                    f"{path} is of a run with other settings; resume with the same, or delete "
                    f"{self.folder.parent}"
                )
        else:
            students = self._train(trained, name)
            found = tuple(self.score(students, scored, maps=maps))
            if students_path is not None:
                atomic_write(students_path, encode_students(students))
            part = _Part(settings=wanted, images=found)
            write_json(path, part)
        return list(part.images)

    def score(
        self, students: Students, images: Sequence[int], *, maps: Path | None = None
    ) -> Iterator[ScoredImage]:
        """Score images with trained students.

        Args:
            students: With their judge.
            images: Numbers of the images.
            maps: Folder that takes their patch maps, for a picture.
        """
        cache = self.features.cache
        for number in images:
            patch_maps = cached_patch_maps(cache.tokens_of(number), students, self.geometry.grid_wh)
            pixel_map = self.pixel_map(number, patch_maps)
            if maps is not None:
                np.save(maps / f"{number}.npy", patch_maps)
            yield ScoredImage(
                number=number,
                name=self.features.samples[number].name,
                score=pixel_map.score(),
                peak=pixel_map.peak(),
                residual=float(patch_maps.mean()),
                loss=self._loss(students, number),
            )

    def pixel_map(self, number: int, patch_maps: npt.NDArray[np.float32]) -> PixelMap:
        """The map of an image, from those of its tiles."""
        size = self.features.cache.image_sizes[number]
        return self.geometry.for_image(*size, area=self.area).pixel_map(patch_maps)

    def picture(self, scored: Sequence[ScoredImage], *, pixel_threshold: float) -> ImageArray:
        """Images beside the heat maps that `run` or `score` kept."""
        shown = []
        for one in scored:
            patch_maps = np.load(self.folder / f"{one.number}.npy")
            pixels = self.features.samples[one.number].pixels()
            anomaly_map = self.pixel_map(one.number, patch_maps).pixels()
            shown.append((one.name, pixels, anomaly_map, one.score))
        return draw_unlike(shown, pixel_threshold=pixel_threshold)

    @torch.inference_mode()
    def _loss(self, students: Students, number: int) -> float:
        tokens = torch.from_numpy(self.features.cache.tokens_of(number).astype(np.float32))
        loss = students.loss(tokens[:, :, 0], tokens[:, :, 1], hardest=self.settings.hardest)
        return float(loss)

    def _train(self, images: Sequence[int], desc: str) -> Students:
        patches = Patches.of(self.features.cache.tokens, self.features.tiles_of(images))
        state_path = self.folder / "state.pt"
        result = fit(
            patches, None, self.settings, state_path=state_path, device=self.device, desc=desc
        )
        state_path.unlink()
        if self.settings.recipe == "edge":
            learn_judge(result.students, patches, seed=self.settings.seed)
        return result.students


def fold_bounds(images: int, folds: int) -> list[tuple[int, int]]:
    """The first image of each fold, and the first after it; sizes differ by one at most."""
    bounds = [round(number * images / folds) for number in range(folds + 1)]
    return list(pairwise(bounds))
