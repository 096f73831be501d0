"""What a product remembers of its good images, so that it can learn from more of them in seconds.

| in the folder | what it is |
| --- | --- |
| `index.json` | the images in order, and where each one's tokens are |
| `0000.f16`, `0001.f16`, ... | the teacher's tokens, one file for each time that it learned |
| `0000-fold-1.safetensors`, ... | the students that were trained without that fold's images |

Files are only added, and the index is replaced last: a run that is cut off leaves the memory as it
was.
"""

import math
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.torch import load

from runtime.errors import ModelError
from runtime.products.card import ProductCard
from runtime.storage.atomic_write import atomic_write
from runtime.storage.json_files import check_schema, read_json, require_schema, write_json
from train.fitting.patches import Tokens
from train.students.bundle import encode_students
from train.students.students import Students

SCHEMA = "l2bt.memory/1"
_INDEX_NAME = "index.json"
HELD_OUT = -1
"""In place of a fold: an image that no students were trained on."""
STUDENTS_BEFORE = "students_before"
"""In a card's training: the checksum of the students that these learned from."""
TRAINED = 0
"""In place of a fold: an image that was trained on, and calibrates nothing."""


@dataclass(frozen=True, kw_only=True)
class RememberedImage:
    """One good image.

    Attributes:
        name: Its name.
        sha256: Of its content.
        height: In px.
        width: In px.
        file: The file that holds its tokens.
        first_tile: Where they begin in it.
        tiles: How many tiles it has.
        fold: Which fold it is in, counted from 1; or `HELD_OUT`, or `TRAINED`.
        by_chance: Whether it was taken by chance, so that a threshold may rest on it; a false alarm
            was not.
    """

    name: str
    sha256: str
    height: int
    width: int
    file: str
    first_tile: int
    tiles: int
    fold: int
    by_chance: bool = True


@dataclass(frozen=True, kw_only=True)
class _Index:
    """The content of `index.json`.

    Attributes:
        schema: Version of its layout.
        students_sha256: Of the bundle's students that it belongs to.
        folds: How many; 0 where images are held out instead.
        patches: Patches of a tile.
        dimension: Width of a token.
        images: All of them.
        times: How often it has learned again.
    """

    schema: str = SCHEMA
    students_sha256: str
    folds: int
    patches: int
    dimension: int
    images: tuple[RememberedImage, ...]
    times: int = 0

    def __post_init__(self) -> None:
        require_schema(self.schema, SCHEMA)


class Memory:
    """A product's memory on disk.

    Args:
        folder: Where it stands.

    Raises:
        ModelError: There is none, or it is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not (folder / _INDEX_NAME).is_file():
            raise ModelError(
                f"{folder} is missing, which l2bt train --keep-features leaves: without it nothing "
                "is known of the good images; train the product again with that option"
            )
        check_schema(folder / _INDEX_NAME, SCHEMA, advice="train the product again")
        self._index = read_json(folder / _INDEX_NAME, _Index)

    @classmethod
    def write(
        cls,
        folder: Path,
        tokens_path: Path,
        images: Sequence[RememberedImage],
        *,
        fold_students: Sequence[Path],
        students_sha256: str,
        tile_patches: int,
        dimension: int,
    ) -> None:
        """Make the memory of a product that was just trained; an older one is replaced.

        Args:
            folder: Where it shall stand.
            tokens_path: The feature cache's tokens, which are shared rather than copied.
            images: All images; their file's name is "0000.f16".
            fold_students: Files of the students of each fold, which are moved.
            students_sha256: Of the bundle's students.
            tile_patches: Patches of a tile.
            dimension: Width of a token.
        """
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        target = folder / file_name(0)
        try:
            os.link(tokens_path, target)
        except OSError:
            # Another file system, or one that knows no links.
            shutil.copyfile(tokens_path, target)
        for number, path in enumerate(fold_students, start=1):
            path.replace(folder / _students_name(number, 0))
        index = _Index(
            students_sha256=students_sha256,
            folds=len(fold_students),
            patches=tile_patches,
            dimension=dimension,
            images=tuple(images),
        )
        write_json(folder / _INDEX_NAME, index)

    @property
    def images(self) -> tuple[RememberedImage, ...]:
        """All images, in the order in which they were learned."""
        return self._index.images

    @property
    def folds(self) -> int:
        """How many folds there are; 0 where images are held out instead."""
        return self._index.folds

    def check(self, card: ProductCard) -> None:
        """Make sure that it belongs to a bundle.

        A run that was cut off after it had replaced the bundle has left the memory of the students
        before: it learns from the same images again.

        Args:
            card: The bundle's.

        Raises:
            ModelError: It is another's.
        """
        known = (card.students_sha256, card.training.get(STUDENTS_BEFORE))
        if self._index.students_sha256 not in known:
            raise ModelError(
                f"{self.folder} belongs to other students than the bundle's: one of the two was "
                "put back or replaced; train the product again with --keep-features"
            )

    def tokens_of(self, image: RememberedImage) -> Tokens:
        """(tiles, T, 2, D) float16 of one image.

        Raises:
            ModelError: The file is missing or cut.
        """
        path = self.folder / image.file
        shape = (image.tiles, self._index.patches, 2, self._index.dimension)
        offset = 2 * image.first_tile * math.prod(shape[1:])
        try:
            found: Tokens = np.memmap(path, np.float16, mode="r", offset=offset, shape=shape)
        except (OSError, ValueError) as error:
            raise ModelError(
                f"{path} is missing or cut ({error}); train the product again"
            ) from error
        return found

    def some_patches(
        self, images: Sequence[RememberedImage], *, most: int, rng: np.random.Generator
    ) -> Tokens:
        """(N, 2, D) float16 of patches drawn evenly from images.

        Args:
            images: At least one.
            most: About how many patches at most.
            rng: Draws them.
        """
        each = max(1, most // len(images))
        parts = []
        for image in images:
            tokens = self.tokens_of(image)
            rows = tokens.reshape(-1, *tokens.shape[2:])
            chosen = rng.permutation(len(rows))[:each]
            parts.append(np.asarray(rows[np.sort(chosen)]))
        return np.concatenate(parts)

    def students_of(self, fold: int, like: Students) -> Students:
        """The students that were trained without a fold's images.

        Args:
            fold: Its number, from 1.
            like: Students of the same width and judge.

        Raises:
            ModelError: Their file is missing or damaged.
        """
        path = self.folder / _students_name(fold, self._index.times)
        try:
            state = load(path.read_bytes())
            judged = any(name.startswith("forward_judge.") for name in state)
            students = Students(like.forward_student.input.in_features, judged=judged)
            students.load_state_dict(state)
        except (OSError, RuntimeError, SafetensorError) as error:
            raise ModelError(f"{path} cannot be read ({error}); train the product again") from error
        return students

    def add(
        self,
        images: Sequence[RememberedImage],
        tokens: npt.NDArray[np.float16] | None,
        *,
        fold_students: Mapping[int, Students],
        students_sha256: str,
    ) -> None:
        """Remember further images, and the students that have learned from them.

        Args:
            images: With the name of the file that `next_file` gave.
            tokens: (tiles, T, 2, D) of all of them, one after the other; None of none.
            fold_students: Those of each fold.
            students_sha256: Of the bundle's new students.
        """
        times = self._index.times + 1
        if tokens is not None:
            atomic_write(self.folder / images[0].file, tokens.tobytes(), lasting=True)
        for fold, students in fold_students.items():
            atomic_write(self.folder / _students_name(fold, times), encode_students(students))
        index = replace(
            self._index,
            students_sha256=students_sha256,
            images=(*self._index.images, *images),
            times=times,
        )
        write_json(self.folder / _INDEX_NAME, index)
        for fold in fold_students:
            (self.folder / _students_name(fold, times - 1)).unlink(missing_ok=True)
        self._index = index

    def next_file(self) -> str:
        """Name of the file for the tokens of what is learned next."""
        return file_name(len({image.file for image in self.images}))


def file_name(number: int) -> str:
    """Name of a file of tokens."""
    return f"{number:04d}.f16"


def _students_name(fold: int, times: int) -> str:
    return f"{times:04d}-fold-{fold}.safetensors"
