"""One image in a product's inbox, and what is known of it."""

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from runtime.errors import OptionError

Review: TypeAlias = Literal["good", "defect"]
"""What a person says of a part."""
REVIEWS = get_args(Review)
Kept: TypeAlias = Literal["rejected", "borderline", "drifted"]
"""Why a server kept an image by itself."""
KEPT = get_args(Kept)
Box: TypeAlias = tuple[int, int, int, int]
"""x, y, width, height in px."""


@dataclass(frozen=True, kw_only=True)
class ReviewedPart:
    """What the inbox holds of one image.

    Attributes:
        sha256: Of the file's content, by which the image is known.
        name: The file's name when it came.
        image_wh: Width and height in px.
        review: What a person said of it; None until somebody has.
        who: Who said it, or who kept the image.
        at: When, in UTC, as ISO 8601.
        score: What it scored; None where no model was asked.
        threshold: From when on it would have been a defect; None likewise.
        version: The product's version that was asked; None for a bundle, or where none was.
        kept: Why a server kept it; None for what a person added.
        boxes: Where the defect is, if that was said by boxes.
        mask_sha256: Of the mask's file, if it was said by a mask.
        by_chance: Whether a good part was taken by chance, whatever it scored: then a threshold may
            rest on it. What is here because of its score says nothing of how often parts score so.
    """

    sha256: str
    name: str
    image_wh: tuple[int, int]
    review: Review | None
    who: str
    at: str
    score: float | None = None
    threshold: float | None = None
    version: int | None = None
    kept: Kept | None = None
    boxes: tuple[Box, ...] = ()
    mask_sha256: str | None = None
    by_chance: bool = False

    def __post_init__(self) -> None:
        if self.review not in (None, *REVIEWS):
            raise OptionError(f"review {self.review!r}: expected {' or '.join(REVIEWS)}")
        if self.review == "good" and (self.boxes or self.mask_sha256):
            raise OptionError(f"{self.name} is said to be good, and boxes or masks mark defects")
        if self.by_chance and (self.review != "good" or self.kept is not None):
            why = "a defect" if self.review != "good" else f"kept by the server as {self.kept}"
            raise OptionError(f"{self.name} is {why}, so it was not a good part taken by chance")
        width, height = self.image_wh
        for x, y, box_width, box_height in self.boxes:
            inside = 0 <= x < x + box_width <= width and 0 <= y < y + box_height <= height
            if not inside:
                raise OptionError(
                    f"box {x} {y} {box_width} {box_height} does not lie in {self.name}, which has "
                    f"{width} x {height} px; expected x y width height in px"
                )

    @property
    def is_false_alarm(self) -> bool:
        """Whether the system rejected a good part."""
        return self.review == "good" and self._was_rejected is True

    @property
    def is_missed(self) -> bool:
        """Whether the system accepted a defect."""
        return self.review == "defect" and self._was_rejected is False

    @property
    def _was_rejected(self) -> bool | None:
        if self.score is None or self.threshold is None:
            return None
        return self.score > self.threshold
