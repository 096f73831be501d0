"""The networks that are timed: with matrix products in half precision, as the export has them."""

import os
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from runtime.extras import require
from train.settings import TeacherSettings
from train.students.network import PatchMapNetwork
from train.students.students import Students
from train.teacher.teacher import Teacher, load_teacher

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class HalfNetwork(nn.Module):
    """Products of matrices in half precision, and all else in FP32.

    Weights of Linear and Conv layers are kept in half precision, so that nothing casts them at each
    run as autocast does. The residual stream, LayerNorm, LayerScale and distances are FP32.

    Args:
        network: Changed in place.
        precision: "fp16", "bf16", or "fp32" to leave it as it is.
    """

    def __init__(self, network: PatchMapNetwork, precision: str) -> None:
        super().__init__()
        self.network = network
        self._dtype = DTYPES[precision]
        for module in network.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d)):
                module.to(self._dtype)
        if precision != "fp32":
            self._keep_judges_sums()

    def forward(self, tiles: Tensor) -> Tensor:
        """(N, height, width, 3) uint8 tiles to (N, rows, columns) float32 patch maps."""
        shallow, deep = self.network.teacher(tiles)
        students = self.network.students
        half = self._dtype is not torch.float32
        with torch.autocast(tiles.device.type, self._dtype, enabled=half):
            ahead, back = students.forward_student(shallow), students.backward_student(deep)
        columns, rows = self.network.teacher.grid_wh
        found = students.anomaly(ahead.float(), back.float(), shallow, deep)
        return found.reshape(-1, rows, columns)

    def _keep_judges_sums(self) -> None:
        """Have a judge's products in half precision, and what it sums of them in FP32."""
        for judge in (self.network.students.forward_judge, self.network.students.backward_judge):
            for module in judge.modules() if judge is not None else ():
                if isinstance(module, nn.Linear):
                    module.register_forward_pre_hook(lambda _, given: given[0].to(self._dtype))
                    module.register_forward_hook(lambda *given: given[-1].float())


def random_weights(name: str, path: Path) -> None:
    """Write random weights for a timm model, the same for the same versions of the libraries."""
    timm: Any = require("timm")
    torch.manual_seed(0)
    trunk = timm.create_model(name, pretrained=False, num_classes=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Two parts may run at once.
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    save_file({key: value.contiguous() for key, value in trunk.state_dict().items()}, temporary)
    temporary.replace(path)


def random_network(
    weights: Path, *, name: str, image_size: int, device: str, precision: str = "fp32"
) -> PatchMapNetwork:
    """A teacher of `random_weights` with students that have learned nothing; for speed alone.

    Args:
        weights: The file; written if it is not there.
        name: The model's name in timm.
        image_size: Side of the network's square in px.
        device: Where it runs.
        precision: Of the teacher's matrix products.
    """
    if not weights.is_file():
        random_weights(name, weights)
    teacher = load_teacher(
        TeacherSettings(
            teacher=name, teacher_weights=weights, teacher_precision=precision, device=device
        ),
        image_size=image_size,
    )
    torch.manual_seed(1)
    return PatchMapNetwork(teacher, Students(teacher.card.dimension).to(device)).eval()


def matrix_operations(teacher: Teacher) -> int:
    """Multiplications and additions of one tile's matrix products, students included.

    The same number as `benchmarks.compute.operations.count_operations` finds in the exported graph.
    """
    trunk = teacher.trunk
    columns, rows = teacher.grid_wh
    patches, width = columns * rows, teacher.card.dimension
    tokens = patches + int(trunk.num_prefix_tokens)
    hidden = int(trunk.blocks[0].mlp.fc1.out_features)
    linear = tokens * width * (4 * width + 2 * hidden)
    attention = 2 * tokens * tokens * width
    students = 2 * 3 * patches * width * width
    embedding = patches * width * 3 * teacher.patch_size**2
    return 2 * (len(trunk.blocks) * (linear + attention) + students + embedding)


def random_tiles(count: int, teacher: Teacher, *, seed: int = 0) -> Tensor:
    """(N, height, width, 3) uint8 noise on the teacher's device."""
    width, height = teacher.tile_wh
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randint(0, 256, (count, height, width, 3), dtype=torch.uint8, generator=generator)
    return noise.to(teacher.device)
