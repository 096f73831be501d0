"""The product bundle: what training leaves, `students.safetensors` with the card beside it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from runtime.errors import ModelError
from runtime.images.decode import ImageArray
from runtime.inspections.pictures import write_jpeg
from runtime.products.card import CARD_NAME, ProductCard
from runtime.products.students_file import STUDENTS_NAME, check_students
from runtime.storage.atomic_write import atomic_folder, atomic_write, sha256_of_file
from train.students.students import Students

# Bundles whose students have no judge of their own are judged as in the paper.
_OF_JUDGE = "forward_judge."


@dataclass(frozen=True, kw_only=True)
class ProductBundle:
    """A checked bundle.

    Attributes:
        folder: Where it stands.
        card: Its product's card.
        students: The trained pair, on the CPU, in evaluation mode.
    """

    folder: Path
    card: ProductCard
    students: Students

    @property
    def judge(self) -> str:
        """What judges the students' residuals, in words."""
        if self.students.forward_judge is None:
            return (
                "the paper's, since these students have none of their own (l2bt train learns one)"
            )
        return str(self.card.training.get("judge", "their own"))


def write_bundle(
    folder: Path,
    card: ProductCard,
    students: Students,
    *,
    overwrite: bool = False,
    pictures: Mapping[str, ImageArray] | None = None,
) -> ProductBundle:
    """Write a bundle, whole or not at all; the card's students' checksum is filled in.

    Args:
        folder: The bundle's folder.
        card: Its card.
        students: The trained pair.
        overwrite: Replace an existing bundle.
        pictures: What people look at, by file name; nothing reads them.

    Raises:
        OptionError: `folder` exists and `overwrite` is false.
    """
    with atomic_folder(folder, marker=CARD_NAME, replace=overwrite) as temporary:
        weights = temporary / STUDENTS_NAME
        atomic_write(weights, encode_students(students))
        card = replace(card, students_sha256=sha256_of_file(weights))
        card.write(temporary / CARD_NAME)
        for name, picture in (pictures or {}).items():
            write_jpeg(temporary / name, picture)
    return ProductBundle(folder=folder, card=card, students=students.eval())


def encode_students(students: Students) -> bytes:
    """Students as the bytes of a safetensors file."""
    state = students.state_dict()
    content: bytes = save({name: value.contiguous() for name, value in state.items()})
    return content


def open_bundle(folder: Path) -> ProductBundle:
    """Read a bundle and check that its parts belong together.

    Raises:
        ModelError: A file is missing, cut or swapped, or the students do not fit the card.
    """
    weights = folder / STUDENTS_NAME
    card = ProductCard.read(folder / CARD_NAME)
    check_students(weights, sha256=card.students_sha256)
    try:
        state = {name: tensor.float() for name, tensor in load(weights.read_bytes()).items()}
        # The width on a card may be any number; there it takes no memory until it is seen to fit.
        with torch.device("meta"):
            judged = any(name.startswith(_OF_JUDGE) for name in state)
            students = Students(card.teacher.dimension, judged=judged)
        students.load_state_dict(state, assign=True)
    except (RuntimeError, TypeError, KeyError, SafetensorError) as error:
        raise ModelError(
            f"{weights} does not hold two students of width {card.teacher.dimension}: {error}"
        ) from error
    with torch.no_grad():
        if not all(bool(value.isfinite().all()) for value in students.parameters()):
            raise ModelError(f"{weights} holds NaN or infinity; train the product again")
    return ProductBundle(folder=folder, card=card, students=students.eval())
