"""How good a bundle is, by held-out good images and known defects; never by a test set."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from runtime.errors import BadImageError, DatasetError
from runtime.feedback.inbox import Inbox
from runtime.images.listing import list_images
from train.data.dataset import Dataset
from train.reference import ReferenceDetector
from train.students.bundle import open_bundle


@dataclass(frozen=True, kw_only=True)
class KnownDefect:
    """An image of a part that somebody knows to be defective.

    Attributes:
        name: Its name.
        path: Its file.
    """

    name: str
    path: Path


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What a bundle makes of what is known.

    Attributes:
        good_images: Good images that its students have not seen, and its threshold rests on.
        defects: Known defects.
        found: How many of them score above the threshold.
        auroc: How often a known defect scores higher than a good image; None without defects.
        network_megapixels: How much of the network an image of the usual size takes.
    """

    good_images: int
    defects: int
    found: int
    auroc: float | None
    network_megapixels: float


def find_known_defects(
    product: str, *, inboxes: Path | None, folder: Path | None, dataset: Dataset
) -> list[KnownDefect]:
    """The known defects of a product.

    Args:
        product: Its name.
        inboxes: Folder of inboxes; those that a person called defects count.
        folder: Folder with a folder of images for each product.
        dataset: The data set, whose test images may not be among them.

    Raises:
        DatasetError: One of them is a test image of the data set: what is chosen by it says nothing
            any more where it is tested.
    """
    found: list[KnownDefect] = []
    if inboxes is not None and (inboxes / product).is_dir():
        with Inbox(inboxes, product) as inbox:
            found += [
                KnownDefect(name=part.name, path=inbox.path(part))
                for part in inbox.parts(review="defect")
            ]
    if folder is not None and (folder / product).is_dir():
        images = list_images(folder / product).images
        found += [KnownDefect(name=path.name, path=path) for path in images]
    tested = {hashlib.sha256(sample.content()).digest(): sample.name for sample in dataset.test}
    for one in found:
        if name := tested.get(hashlib.sha256(one.path.read_bytes()).digest()):
            raise DatasetError(
                f"{one.path} is the test image {name} of {product}: a recipe that is chosen by it "
                "has seen the test; take defects that are not in the test set"
            )
    return found


def judge_bundle(
    folder: Path,
    defects: list[KnownDefect],
    *,
    image_wh: tuple[int, int],
    teacher_weights: Path | None,
    device: str,
) -> Judgement:
    """Hold a bundle against known defects.

    Args:
        folder: The bundle.
        defects: The known defects.
        image_wh: Width and height of the usual image in px.
        teacher_weights: The local file that it was trained with, if one was.
        device: Where it runs.

    Raises:
        BadImageError: An image of a known defect cannot be used.
    """
    card = open_bundle(folder).card
    good = np.array(card.calibration.scores if card.calibration is not None else ())
    scores: list[float] = []
    if defects:
        with ReferenceDetector(folder, teacher_weights=teacher_weights, device=device) as detector:
            paths = [one.path for one in defects]
            for answer in detector.inspect_many(paths, want_map=False):
                if isinstance(answer, BadImageError):
                    # Left out without a word it would make a variant look better than it is.
                    raise answer
                scores.append(answer.score)
    found = np.array(scores)
    higher = (found[:, None] > good[None]) + (found[:, None] == good[None]) / 2
    tiles = card.geometry_of(image_wh[1], image_wh[0]).tiles
    tile_wh = card.geometry.tile_wh
    return Judgement(
        good_images=len(good),
        defects=len(scores),
        found=int((found > card.threshold.image_score).sum()),
        auroc=float(higher.mean()) if higher.size else None,
        network_megapixels=tiles * tile_wh[0] * tile_wh[1] / 1e6,
    )
