"""One version of a product: its students, those of its folds, and what they say of parts unseen."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from runtime.feedback.reviewed_part import ReviewedPart
from runtime.products.card import ProductCard
from train.fitting.good_features import cached_patch_maps
from train.fitting.patches import Tokens
from train.learning.comparison import Evidence
from train.learning.memory import HELD_OUT, Memory, RememberedImage
from train.students.students import Students

Scored: TypeAlias = tuple[RememberedImage, Evidence]
"""A good image, and what students say of it that have not seen it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LearnedPart:
    """An image with what the teacher says of it.

    Attributes:
        part: Of the inbox.
        digest: The part of its digest that cards keep.
        height: In px.
        width: In px.
        tokens: (tiles, T, 2, D) float16.
    """

    part: ReviewedPart
    digest: str
    height: int
    width: int
    tokens: Tokens


@dataclass(frozen=True, kw_only=True)
class GoodParts:
    """All good images of a product.

    Attributes:
        memory: Of the product.
        new: Those that it does not hold yet.
        images: As it will hold them; in the order of `new`.
    """

    memory: Memory
    new: Sequence[LearnedPart]
    images: Sequence[RememberedImage]

    def trained_on(self, fold: int) -> tuple[list[RememberedImage], list[Tokens]]:
        """What the students of a fold learn from: remembered images, and tokens of new ones.

        Args:
            fold: Whose images are left out; `HELD_OUT` for the product's own students.
        """
        return (
            [image for image in self.memory.images if image.fold != fold],
            [one.tokens for one, image in self._new() if image.fold != fold],
        )

    def of_fold(self, fold: int) -> list[tuple[RememberedImage, Tokens]]:
        """The images of a fold, remembered ones and new ones."""
        remembered = [image for image in self.memory.images if image.fold == fold]
        return [
            *((image, self.memory.tokens_of(image)) for image in remembered),
            *((image, one.tokens) for one, image in self._new() if image.fold == fold),
        ]

    def _new(self) -> list[tuple[LearnedPart, RememberedImage]]:
        return list(zip(self.new, self.images, strict=True))


@dataclass(frozen=True, kw_only=True)
class Version:
    """One version of a product.

    Attributes:
        card: Says how images are cut, and how maps become scores.
        students: The product's own.
        fold_students: By fold; empty where images are held out instead.
    """

    card: ProductCard
    students: Students
    fold_students: Mapping[int, Students]

    def changed(self, change: Callable[[Students, int], Students]) -> "Version":
        """The version with other students.

        Args:
            change: Makes them of students and their fold, which is `HELD_OUT` for the product's.
        """
        return replace(
            self,
            students=change(self.students, HELD_OUT),
            fold_students={
                fold: change(students, fold) for fold, students in self.fold_students.items()
            },
        )

    def score_good(self, good: GoodParts) -> list[Scored]:
        """What good images score by students that have not seen them, in the order of folds."""
        by_fold = self.fold_students or {HELD_OUT: self.students}
        return [
            (image, (image.name, *self._score(students, tokens, image.height, image.width)))
            for fold, students in by_fold.items()
            for image, tokens in good.of_fold(fold)
        ]

    def score(self, parts: Sequence[LearnedPart]) -> list[float]:
        """What parts score by the product's own students."""
        return [self._score(self.students, one.tokens, one.height, one.width)[0] for one in parts]

    def _score(
        self, students: Students, tokens: Tokens, height: int, width: int
    ) -> tuple[float, float, float]:
        patch_maps = cached_patch_maps(tokens, students, self.card.geometry.grid_wh)
        pixel_map = self.card.geometry_of(height, width).pixel_map(patch_maps)
        return pixel_map.score(), pixel_map.peak(), float(patch_maps.mean())
