"""A bank of students: many products' students as one module, chosen tile by tile by a number.

All products share the frozen teacher. The weights of layer l of all students are one tensor of
shape (P, D, D), of which each tile takes its product's matrix.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from runtime.products.students_file import EXPECTATION_WIDTH
from train.students.judge import (
    DirectionJudge,
    joined,
    residual,
    unit_variance,
)
from train.students.students import Student, Students

LAYERS = ("input", "projection", "output")
JUDGE_LAYERS = ("whitening", "expectation_input", "expectation_output")
# Not a number until a product takes the slot: a mistaken slot cannot look like a map.
_EMPTY = float("nan")


class BankLayer(nn.Module):
    """One Linear layer for each of P products, from width D to width E."""

    def __init__(self, capacity: int, dimension: int, out_dimension: int | None = None) -> None:
        super().__init__()
        out_dimension = out_dimension or dimension
        self.weight = nn.Parameter(torch.full((capacity, dimension, out_dimension), _EMPTY))
        self.bias = nn.Parameter(torch.full((capacity, 1, out_dimension), _EMPTY))

    def forward(self, tokens: Tensor, slot: Tensor) -> Tensor:
        """(N, T, D) tokens and (N,) slots to (N, T, E)."""
        weight = torch.index_select(self.weight, 0, slot)
        return torch.matmul(tokens, weight) + torch.index_select(self.bias, 0, slot)

    def fill(self, slot: int, layer: nn.Linear) -> None:
        """Take over a product's layer."""
        with torch.no_grad():
            # Transposed once here, so that no tile's matrix is transposed in the graph.
            self.weight[slot] = layer.weight.T
            self.bias[slot, 0] = layer.bias


class BankStudent(nn.Module):
    """One direction's student of each product."""

    def __init__(self, capacity: int, dimension: int) -> None:
        super().__init__()
        for name in LAYERS:
            self.add_module(name, BankLayer(capacity, dimension))

    def forward(self, tokens: Tensor, slot: Tensor) -> Tensor:
        """(N, T, D) tokens of one depth to predicted (N, T, D) tokens of the other."""
        tokens = functional.gelu(self.get_submodule("input")(tokens, slot))
        tokens = functional.gelu(self.get_submodule("projection")(tokens, slot))
        prediction: Tensor = self.get_submodule("output")(tokens, slot)
        return prediction


class BankJudge(nn.Module):
    """One direction's judge of each product."""

    def __init__(self, capacity: int, dimension: int) -> None:
        super().__init__()
        self.whitening = BankLayer(capacity, dimension)
        self.expectation_input = BankLayer(capacity, dimension, EXPECTATION_WIDTH)
        self.expectation_output = BankLayer(capacity, EXPECTATION_WIDTH, 1)
        self.exponent = nn.Parameter(torch.full((capacity, 1, 1), _EMPTY))

    def forward(self, prediction: Tensor, target: Tensor, source: Tensor, slot: Tensor) -> Tensor:
        """As `DirectionJudge.forward`, with (N, T, D) tokens and (N,) slots to (N, T)."""
        whitened = self.whitening(residual(prediction, target), slot)
        hidden = functional.gelu(self.expectation_input(unit_variance(source), slot))
        exponent = torch.index_select(self.exponent, 0, slot)[..., 0]
        return joined(whitened, self.expectation_output(hidden, slot), exponent)


class StudentBank(nn.Module):
    """The pairs of students of up to P products, with their judges.

    Attributes:
        capacity: P.
    """

    def __init__(self, capacity: int, dimension: int) -> None:
        super().__init__()
        self.capacity = capacity
        self.forward_student = BankStudent(capacity, dimension)
        self.backward_student = BankStudent(capacity, dimension)
        self.forward_judge = BankJudge(capacity, dimension)
        self.backward_judge = BankJudge(capacity, dimension)

    @classmethod
    def of(cls, students: Sequence[Students], *, capacity: int | None = None) -> "StudentBank":
        """A bank whose first slots hold these products' students, the others nothing."""
        dimension = students[0].forward_student.input.in_features
        bank = cls(capacity or len(students), dimension)
        for slot, pair in enumerate(students):
            bank.fill(slot, pair)
        return bank

    def fill(self, slot: int, students: Students) -> None:
        """Put a product's students into a slot; those without a judge get the paper's."""
        dimension = students.forward_student.input.in_features
        for direction in ("forward", "backward"):
            student = students.get_submodule(f"{direction}_student")
            judge = getattr(students, f"{direction}_judge") or DirectionJudge(dimension)
            assert isinstance(student, Student)
            for names, owner, part in (
                (LAYERS, student, "student"),
                (JUDGE_LAYERS, judge, "judge"),
            ):
                for name in names:
                    layer = self.get_submodule(f"{direction}_{part}.{name}")
                    linear = owner.get_submodule(name)
                    assert isinstance(layer, BankLayer) and isinstance(linear, nn.Linear)
                    layer.fill(slot, linear)
            with torch.no_grad():
                self.get_parameter(f"{direction}_judge.exponent")[slot] = judge.exponent

    def forward(self, shallow: Tensor, deep: Tensor, slot: Tensor) -> Tensor:
        """The anomaly of each patch, as `Students` gives it.

        Args:
            shallow: (N, T, D) teacher tokens of the shallower block.
            deep: (N, T, D) teacher tokens of the deeper block.
            slot: (N,) int32, each tile's product.

        Returns:
            (N, T) float32; not a number where the slot is empty or there is none such.
        """
        exists = (slot >= 0) & (slot < self.capacity)
        inside = torch.where(exists, slot, torch.zeros_like(slot))
        predicted_deep = self.forward_student(shallow, inside)
        predicted_shallow = self.backward_student(deep, inside)
        ahead = self.forward_judge(predicted_deep, deep, shallow, inside)
        back = self.backward_judge(predicted_shallow, shallow, deep, inside)
        return torch.where(exists[:, None], ahead * back, torch.full_like(ahead, _EMPTY))
