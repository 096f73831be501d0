"""What runs the network: one small interface, whatever library is behind it."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from runtime.engines.bank_weights import Tensors
from runtime.errors import ModelError

Slots = npt.NDArray[np.int32]


def spelled(precision: str, known: Sequence[str]) -> str:
    """A precision as it is called where it is used: "f32" and "fp32" are one.

    Args:
        precision: As somebody wrote it.
        known: The names there.
    """
    for one in ("f32", "fp32"):
        if precision in ("f32", "fp32") and one in known:
            return one
    return precision


def slots_of(tiles: npt.NDArray[np.uint8], slots: Slots | None) -> Slots:
    """(N,) int32 for N tiles: as given, or 0 for all.

    Raises:
        ModelError: There are not as many slots as tiles.
    """
    if slots is None:
        return np.zeros(len(tiles), np.int32)
    if slots.shape != (len(tiles),):
        raise ModelError(f"there are {len(tiles)} tiles and slots of shape {slots.shape}")
    return slots.astype(np.int32, copy=False)


class Engine(Protocol):
    """A loaded network that holds resources until it is closed."""

    @property
    def description(self) -> str:
        """Library, device and precision, as the answers name them."""

    def infer(
        self, tiles: npt.NDArray[np.uint8], slots: Slots | None = None
    ) -> npt.NDArray[np.float32]:
        """Run tiles.

        Args:
            tiles: (N, height, width, 3) uint8.
            slots: (N,) int32, each tile's product in the bank of students; 0 if left out.

        Returns:
            (N, rows, columns) float32 patch maps; not a number for an empty slot.
        """

    def close(self) -> None:
        """Give the resources back; the engine cannot be used afterwards."""


class FillableEngine(Engine, Protocol):
    """A loaded network whose students can be replaced."""

    @property
    def capacity(self) -> int:
        """Slots of its bank; 0 where its students cannot be replaced."""

    def fill(self, slot: int, students: Tensors) -> None:
        """Put a product's students into a slot, between two tiles.

        Args:
            slot: From 0.
            students: (D, D) weights and (D,) biases as in `students.safetensors`.

        Raises:
            ModelError: There is no such slot, or the students do not fit; nothing changed then.
        """

    def clear(self, slot: int) -> None:
        """Empty a slot, between two tiles.

        Raises:
            ModelError: There is no such slot.
        """
