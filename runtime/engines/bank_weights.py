"""The students' weights in a loaded network, which can be replaced while it stays loaded."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.errors import ModelError

# What the exported network calls its bank; behind it come the names of `students.safetensors`.
PREFIX = "students."
# What the FP16 network's constants are called behind that; see `export.passes.halve_matmuls`.
HALF_SUFFIX = "_half"
Tensors = Mapping[str, npt.NDArray[np.float32]]


class BankWeights:
    """One tensor a layer for all slots.

    Args:
        tensors: (P, D, D) weights, transposed, and (P, 1, D) biases, float32 or float16, by their
            names in the network. They are changed in place, so that whoever reads them sees what
            was filled in.

    Raises:
        ModelError: The network has no bank.
    """

    def __init__(self, tensors: Mapping[str, npt.NDArray[np.floating[Any]]]) -> None:
        self._tensors = {
            name.removeprefix(PREFIX).removesuffix(HALF_SUFFIX): tensor
            for name, tensor in tensors.items()
        }
        capacities = {tensor.shape[0] for tensor in self._tensors.values()}
        if len(capacities) != 1:
            raise ModelError(
                "the network holds no bank of students; export the product again with l2bt export"
            )
        (self.capacity,) = capacities

    def fill(self, slot: int, students: Tensors) -> None:
        """Put a product's students into a slot, whatever was in it.

        Args:
            slot: From 0.
            students: (D, D) weights and (D,) biases as in `students.safetensors`.

        Raises:
            ModelError: There is no such slot, or the students are of another kind or not finite;
                then the slot is as it was.
        """
        self._check_slot(slot)
        students = self._with_judge(students)
        if set(students) != set(self._tensors):
            if {name for name in students if not _is_of_judge(name)} == set(self._tensors):
                raise ModelError(
                    "these students have a judge of their own, for which this network was exported "
                    "too early; export it again with l2bt export"
                )
            raise ModelError(
                f"students have the tensors {', '.join(sorted(students))}; expected "
                f"{', '.join(sorted(self._tensors))}"
            )
        placed = {}
        for name, tensor in self._tensors.items():
            given = students[name].T if students[name].ndim == 2 else students[name][None]
            if given.shape != tensor.shape[1:]:
                raise ModelError(
                    f"students' {name} has shape {students[name].shape}, which the network's "
                    f"{tensor.shape[1:]} cannot hold: they belong to another teacher"
                )
            with np.errstate(over="ignore"):
                placed[name] = given.astype(tensor.dtype)
            if not np.isfinite(placed[name]).all():
                raise ModelError(
                    f"students' {name} holds NaN, infinity, or more than {tensor.dtype} can"
                )
        for name, tensor in self._tensors.items():
            tensor[slot] = placed[name]

    def clear(self, slot: int) -> None:
        """Empty a slot: from then on it gives no numbers.

        Raises:
            ModelError: There is no such slot.
        """
        self._check_slot(slot)
        for tensor in self._tensors.values():
            tensor[slot] = np.nan

    def _with_judge(self, students: Tensors) -> Tensors:
        """The students, with the paper's judge if they have none and the network asks for one.

        It leaves residuals as they are (W the identity), expects nothing (exp(0) = 1), and has the
        exponent 1; see `train.students.judge`.
        """
        if any(_is_of_judge(name) for name in students):
            return students
        judge = {}
        for name, tensor in self._tensors.items():
            if not _is_of_judge(name):
                continue
            _, rows, columns = tensor.shape
            if name.endswith("exponent"):
                judge[name] = np.ones(1, np.float32)
            elif name.endswith("bias"):
                judge[name] = np.zeros(columns, np.float32)
            elif "whitening" in name:
                judge[name] = np.eye(rows, dtype=np.float32)
            else:
                judge[name] = np.zeros((columns, rows), np.float32)
        return {**students, **judge}

    def _check_slot(self, slot: int) -> None:
        if not 0 <= slot < self.capacity:
            raise ModelError(f"there is no slot {slot}; the bank has 0 to {self.capacity - 1}")


def _is_of_judge(name: str) -> bool:
    return "_judge." in name
