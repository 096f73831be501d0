"""A data set drawn by the project itself, with defects of known size and exact masks."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from runtime.errors import OptionError
from runtime.images.decode import ImageArray
from runtime.storage.atomic_write import atomic_folder
from train.data.dataset import GOOD, Dataset, Sample
from train.data.masks import Mask
from train.data.synthetic_defects import Defect
from train.data.synthetic_product import DrawnProduct, draw_product

# From specks that only native resolution shows to stains that nobody overlooks.
DEFECTS = (
    Defect("speck", 3),
    Defect("speck", 6),
    Defect("speck", 12),
    Defect("dent", 24),
    Defect("scratch", 60),
    Defect("dent", 60),
    Defect("stain", 90),
    Defect("scratch", 150),
    Defect("stain", 200),
)
_TEST_SEEDS = 1_000_000  # apart from every training image's seed


@dataclass(frozen=True, kw_only=True)
class SyntheticSettings:
    """How many images are drawn, how large, and from which seed.

    Attributes:
        product: The product's name.
        train_images: Good images to learn from.
        test_good: Good images to test with.
        test_defective: Defective images to test with, going round through `defects`.
        height: Image height in px.
        width: Image width in px.
        seed: Another seed gives other images.
        defects: What the defective images show, one each.
    """

    product: str = "plate"
    train_images: int = 48
    test_good: int = 12
    test_defective: int = 18
    height: int = 1000
    width: int = 1500
    seed: int = 0
    defects: tuple[Defect, ...] = DEFECTS

    def __post_init__(self) -> None:
        if self.train_images < 1 or min(self.test_good, self.test_defective) < 0:
            raise OptionError(
                f"{self.train_images} training images, {self.test_good} good and "
                f"{self.test_defective} defective test images: expected at least one to learn from"
            )
        if self.test_defective and not self.defects:
            raise OptionError("defective images are wished for, but no defect to draw")


@dataclass(frozen=True, kw_only=True)
class DrawnSample(Sample):
    """A sample that is drawn when it is asked for."""

    name: str
    is_defective: bool
    seed: int
    height: int
    width: int
    defects: tuple[Defect, ...]

    def source(self) -> ImageArray:
        """The pixels."""
        return self._drawn().image

    def size(self) -> tuple[int, int]:
        """Height and width in px, without drawing."""
        return self.height, self.width

    def content(self) -> bytes:
        """The pixels' bytes: drawing is part of the data, so a change of it must show."""
        return self.source().tobytes()

    def mask(self, height: int, width: int) -> Mask:
        """Exact: True where the defect changed a pixel."""
        return self._drawn().mask

    def _drawn(self) -> DrawnProduct:
        return _draw(self.seed, self.height, self.width, self.defects)


def open_synthetic(settings: SyntheticSettings) -> Dataset:
    """The data set that the settings describe; nothing is drawn before it is asked for."""
    base = settings.seed * 10_000_000
    defects = settings.defects
    train = [_sample(settings, f"good/{i:03d}", base + i, ()) for i in range(settings.train_images)]
    first = base + _TEST_SEEDS
    test = [
        _sample(settings, f"test/good/{i:03d}", first + i, ()) for i in range(settings.test_good)
    ]
    for i in range(settings.test_defective):
        defect = defects[i % len(defects)]
        name = f"test/{defect.kind}/{defect.size_px:03d}px_{i:03d}"
        test.append(_sample(settings, name, first + settings.test_good + i, (defect,)))
    return Dataset(
        product=settings.product, layout="synthetic", train=tuple(train), test=tuple(test)
    )


def write_synthetic(settings: SyntheticSettings, folder: Path, *, overwrite: bool = False) -> None:
    """Draw the data set into `folder` in the layout "folder", as PNG files with masks.

    Raises:
        OptionError: `folder` exists and `overwrite` is false.
    """
    dataset = open_synthetic(settings)
    with atomic_folder(folder, marker=GOOD, replace=overwrite) as temporary:
        for sample in tqdm((*dataset.train, *dataset.test), desc="drawing", unit="image"):
            image = sample.pixels()
            path = temporary / f"{sample.name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path, compress_level=1)
            mask = sample.mask(*image.shape[:2])
            if sample.is_defective and mask is not None:
                mask_path = temporary / "masks" / path.relative_to(temporary / "test")
                mask_path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(mask.astype("uint8") * 255).save(mask_path)


def _sample(
    settings: SyntheticSettings, name: str, seed: int, defects: tuple[Defect, ...]
) -> DrawnSample:
    return DrawnSample(
        name=name,
        is_defective=bool(defects),
        seed=seed,
        height=settings.height,
        width=settings.width,
        defects=defects,
    )


@lru_cache(maxsize=4)
def _draw(seed: int, height: int, width: int, defects: tuple[Defect, ...]) -> DrawnProduct:
    # The image and its mask are asked for one after the other.
    return draw_product(seed, height=height, width=width, defects=defects)
