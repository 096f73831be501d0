"""The product card: what is known about one product, as `product.json` in its bundle.

Training writes it; the exported model and the model repository carry a copy. Thresholds live here
and not in the network's graph, so that a plant can change them without a new export.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from runtime.errors import OptionError
from runtime.geometry.area import InspectionArea
from runtime.geometry.geometry import Geometry, GeometrySettings
from runtime.storage.json_files import decode_json, read_json, require_schema, write_json

SCHEMA = "l2bt.product/1"
CARD_NAME = "product.json"
# The folder of a store's trusted keys stands among its products' folders.
TRUSTED_KEYS = "trusted_keys"


@dataclass(frozen=True, kw_only=True)
class TeacherCard:
    """Which frozen network gave the features.

    Attributes:
        name: As given to `--teacher`: a timm model, or "dinov2-small-demo".
        weights_source: Where the weights came from, in words.
        weights_sha256: Digest of the weights themselves, whatever file held them.
        layers: The 1-based blocks whose outputs the students learn to map to each other.
        dimension: Width D of a patch token.
    """

    name: str
    weights_source: str
    weights_sha256: str
    layers: tuple[int, int]
    dimension: int

    def __post_init__(self) -> None:
        first, second = self.layers
        if not 1 <= first < second:
            raise ValueError(f"layers are {self.layers}; expected two blocks, the lower one first")


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """From which score an image is defective, and how that was found.

    Attributes:
        image_score: An image that scores higher is defective.
        pixel_value: Map values above it form the regions.
        method: How the two were found, in words.
        good_images: Number of good images that they rest on.
        false_alarm_rate: The highest share of good images that `image_score` lets be judged
            defective; None if none can be told. It is guaranteed by images that were held out, and
            expected, not guaranteed, with images in folds: `method` says which.
        region_false_alarm_rate: The same for good images with a region.
        review_score: An image that scores higher, and is not defective, is for a person to review;
            None where nothing is.
        review_rate: The highest share of good images that score higher than that, those that are
            judged defective among them; as false_alarm_rate.
    """

    image_score: float
    pixel_value: float
    method: str
    good_images: int
    false_alarm_rate: float | None = None
    region_false_alarm_rate: float | None = None
    review_score: float | None = None
    review_rate: float | None = None

    def __post_init__(self) -> None:
        if self.review_score is not None and self.review_score > self.image_score:
            raise ValueError(
                f"review_score is {self.review_score}, above image_score, {self.image_score}; "
                "expected at most that: what scores higher is defective"
            )

    @property
    def review_words(self) -> str:
        """What is for a person to review, to go behind `method`; empty where nothing is."""
        if self.review_score is None:
            return ""
        rate = "" if self.review_rate is None else f", {self.review_rate:.2%} of good parts with it"
        return f"; for review above {self.review_score:.6g}{rate}"

    def without_guarantee(self, reason: str) -> "Threshold":
        """The same values, which keep no false-alarm rate any more, for this reason."""
        return replace(
            self,
            method=f"{reason}, so no false-alarm rate is guaranteed; before: {self.method}",
            false_alarm_rate=None,
            region_false_alarm_rate=None,
            review_rate=None,
        )


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The evidence for a threshold: what good images scored.

    Attributes:
        images: Their names.
        scores: Their image scores.
        peaks: The highest value in each one's anomaly map.
        residuals: The mean of each one's patch maps, against which drift is watched; empty in cards
            that were written before it was kept.
        seen_in_training: Whether the students were trained on them; then nothing is guaranteed.
        folds: Into how many folds they were dealt, each scored by students that were trained on the
            others; None where the product's own students scored them.
    """

    images: tuple[str, ...]
    scores: tuple[float, ...]
    peaks: tuple[float, ...]
    residuals: tuple[float, ...] = ()
    seen_in_training: bool = False
    folds: int | None = None

    def __post_init__(self) -> None:
        counts = {len(self.images), len(self.scores), len(self.peaks)}
        if self.residuals:
            counts.add(len(self.residuals))
        if len(counts) > 1 or not self.images:
            raise ValueError(
                f"calibration has {len(self.images)} images, {len(self.scores)} scores and "
                f"{len(self.peaks)} peaks; expected as many of each, and at least one"
            )


@dataclass(frozen=True, kw_only=True)
class ProductCard:
    """Everything about one product but the students' weights.

    Attributes:
        schema: Version of this file's layout.
        product: The product's name.
        teacher: The frozen network.
        geometry: How images are brought to the network's size.
        threshold: From when on an image is defective.
        area: Where images are looked at; everywhere if None.
        calibration: What the threshold was chosen from; None if it was given by hand.
        trained_scale: The scale at which the students saw the images.
        scale_is_forced: Whether another one was insisted on.
        students_sha256: SHA-256 of `students.safetensors`.
        training: Evidence: data fingerprint, seed, steps, losses, and so on.
        versions: Versions of the libraries that trained it.
    """

    schema: str = SCHEMA
    product: str
    teacher: TeacherCard
    geometry: GeometrySettings
    threshold: Threshold
    area: InspectionArea | None = None
    calibration: Calibration | None = None
    trained_scale: float = 1.0
    scale_is_forced: bool = False
    students_sha256: str
    training: dict[str, str | int | float | None] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_schema(self.schema, SCHEMA)
        check_product_name(self.product)
        if self.geometry.scale != self.trained_scale and not self.scale_is_forced:
            raise ValueError(_other_scale(self, self.geometry.scale))

    @property
    def scale_note(self) -> str:
        """What answers have to say about a scale that was forced; empty otherwise."""
        if self.geometry.scale == self.trained_scale:
            return ""
        return f", scale {self.geometry.scale:g} forced (trained at {self.trained_scale:g})"

    def at_scale(self, scale: float, *, force: bool) -> "ProductCard":
        """The card of the same product, looked at in another scale.

        Raises:
            OptionError: The students were trained at another scale and it is not forced, or the
                scale cannot be.
        """
        if self.geometry.kind != "tiles":
            raise OptionError(
                f"{self.product} is looked at as {self.geometry.describe()}, which has no scale; "
                "train it with --geometry tiles"
            )
        if scale != self.trained_scale and not force:
            raise OptionError(_other_scale(self, scale))
        geometry = replace(self.geometry, scale=scale)
        if scale == self.geometry.scale:
            return self
        return replace(
            self,
            geometry=geometry,
            scale_is_forced=scale != self.trained_scale,
            threshold=self.threshold.without_guarantee("found at another scale"),
            calibration=None,
        )

    def geometry_of(self, height: int, width: int) -> Geometry:
        """How an image of this height and width in px is cut, and put together again.

        Raises:
            BadImageError: The product does not look at images of this size.
        """
        return self.geometry.for_image(height, width, area=self.area)

    def write(self, path: Path) -> None:
        """Write the card as JSON, whole or not at all."""
        write_json(path, self)

    def to_json(self) -> str:
        """The card as text, for the way from a server to its client."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_json(cls, text: str) -> "ProductCard":
        """The card that `to_json` wrote.

        Raises:
            ModelError: A field is missing or wrong.
        """
        return decode_json(text.encode(), cls, source="the server's card")

    @classmethod
    def read(cls, path: Path) -> "ProductCard":
        """Read a card and check every field.

        Raises:
            ModelError: The file is missing, is no JSON, or a field is missing or wrong.
        """
        return read_json(path, cls)


def _other_scale(card: ProductCard, scale: float) -> str:
    return (
        f"scale {scale:g}: the students of {card.product} were trained at {card.trained_scale:g}, "
        "and would take parts of another size for defects; train the product at that scale, or "
        "force it (--force-scale)"
    )


def is_product_name(name: str) -> bool:
    """Whether a product can have that name, which is a folder's on every system."""
    allowed = name.replace("-", "").replace("_", "").replace(".", "")
    is_folder = 0 < len(name) <= 64 and allowed.isascii() and allowed.isalnum() and name[0] != "."
    return is_folder and name.lower() != TRUSTED_KEYS


def check_product_name(name: str) -> str:
    """Refuse names that could not be a folder's name on every system.

    Raises:
        OptionError: The name is empty, too long, has characters beyond letters, digits, ._-, or is
            that of the folder of trusted keys.
    """
    if not is_product_name(name):
        raise OptionError(
            f"product name {name!r}: expected 1 to 64 letters, digits, '-', '_' or '.', not "
            f"beginning with '.', and not {TRUSTED_KEYS!r}; name the product with --product"
        )
    return name
