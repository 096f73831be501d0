"""Teacher and students as one network: tiles in, patch maps out."""

from torch import Tensor, nn

from train.students.bank import StudentBank
from train.students.students import Students
from train.teacher.teacher import Teacher


class PatchMapNetwork(nn.Module):
    """The whole network of one product."""

    def __init__(self, teacher: Teacher, students: Students) -> None:
        super().__init__()
        self.teacher = teacher
        self.students = students

    def forward(self, tiles: Tensor) -> Tensor:
        """(N, height, width, 3) uint8 tiles to (N, rows, columns) float32 patch maps."""
        shallow, deep = self.teacher(tiles)
        columns, rows = self.teacher.grid_wh
        patch_map: Tensor = self.students(shallow, deep).reshape(-1, rows, columns)
        return patch_map


class BankNetwork(nn.Module):
    """The network of many products: each tile names its product's slot. What the export traces."""

    def __init__(self, teacher: Teacher, students: StudentBank) -> None:
        super().__init__()
        self.teacher = teacher
        self.students = students

    def forward(self, tiles: Tensor, product: Tensor) -> Tensor:
        """(N, height, width, 3) uint8 and (N,) int32 slots to (N, rows, columns) float32."""
        shallow, deep = self.teacher(tiles)
        columns, rows = self.teacher.grid_wh
        patch_map: Tensor = self.students(shallow, deep, product).reshape(-1, rows, columns)
        return patch_map
