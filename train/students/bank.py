"""A bank of students: many products' students as one module, chosen tile by tile by a number.

All products share the frozen teacher. The weights of layer l of all students are one tensor of
shape (P, D, D), of which each tile takes its product's matrix.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from train.students.students import Students, normalised_distance

LAYERS = ("input", "projection", "output")


class BankLayer(nn.Module):
    """One Linear layer of width D for each of P products."""

    def __init__(self, capacity: int, dimension: int) -> None:
        super().__init__()
        # Not a number until a product takes the slot: a mistaken slot cannot look like a map.
        empty = float("nan")
        self.weight = nn.Parameter(torch.full((capacity, dimension, dimension), empty))
        self.bias = nn.Parameter(torch.full((capacity, 1, dimension), empty))

    def forward(self, tokens: Tensor, slot: Tensor) -> Tensor:
        """(N, T, D) tokens and (N,) slots to (N, T, D)."""
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


class StudentBank(nn.Module):
    """The pairs of students of up to P products.

    Attributes:
        capacity: P.
    """

    def __init__(self, capacity: int, dimension: int) -> None:
        super().__init__()
        self.capacity = capacity
        self.forward_student = BankStudent(capacity, dimension)
        self.backward_student = BankStudent(capacity, dimension)

    @classmethod
    def of(cls, students: Sequence[Students], *, capacity: int | None = None) -> "StudentBank":
        """A bank whose first slots hold these products' students, the others nothing."""
        dimension = students[0].forward_student.input.in_features
        bank = cls(capacity or len(students), dimension)
        for slot, pair in enumerate(students):
            bank.fill(slot, pair)
        return bank

    def fill(self, slot: int, students: Students) -> None:
        """Put a product's students into a slot."""
        for direction in ("forward_student", "backward_student"):
            for name in LAYERS:
                layer = self.get_submodule(f"{direction}.{name}")
                assert isinstance(layer, BankLayer)
                linear = students.get_submodule(f"{direction}.{name}")
                assert isinstance(linear, nn.Linear)
                layer.fill(slot, linear)

    def forward(self, shallow: Tensor, deep: Tensor, slot: Tensor) -> Tensor:
        """The anomaly of each patch, as `Students` gives it.

        Args:
            shallow: (N, T, D) teacher tokens of the shallower block.
            deep: (N, T, D) teacher tokens of the deeper block.
            slot: (N,) int32, each tile's product.

        Returns:
            (N, T) float32 in 0 to 4; not a number where the slot is empty or there is none such.
        """
        exists = (slot >= 0) & (slot < self.capacity)
        inside = torch.where(exists, slot, torch.zeros_like(slot))
        ahead = normalised_distance(self.forward_student(shallow, inside), deep)
        back = normalised_distance(self.backward_student(deep, inside), shallow)
        return torch.where(exists[:, None], ahead * back, torch.full_like(ahead, float("nan")))
