"""Large activations, as big transformers have them: what FP16 must be able to bear."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runtime.errors import OptionError

if TYPE_CHECKING:
    from train.students.network import PatchMapNetwork


@dataclass(frozen=True, kw_only=True)
class Stress:
    """A factor on everything that is added to a transformer's residual stream.

    Each block normalises the stream before it reads it, so the network computes the same function
    as before, and whatever FP16 adds to the error was caused by the stream's range.

    Attributes:
        residual: The factor.
    """

    residual: float

    def __post_init__(self) -> None:
        if not self.residual > 0:
            raise OptionError(f"residual is {self.residual}; expected a number above 0")

    def apply(self, network: "PatchMapNetwork") -> None:
        """Change a network's weights.

        Args:
            network: With a teacher that has LayerScale, which every DINOv2 has.

        Raises:
            OptionError: The teacher has no LayerScale.
        """
        import torch

        trunk = network.teacher.trunk
        parameters = dict(trunk.named_parameters())
        scales = [name for name in parameters if name.endswith((".ls1.gamma", ".ls2.gamma"))]
        if not scales:
            raise OptionError("the stress needs a teacher with LayerScale, such as any DINOv2")
        stream = ("patch_embed.proj.weight", "patch_embed.proj.bias", "pos_embed")
        tokens = ("cls_token", "reg_token")
        with torch.no_grad():
            for name in (*scales, *stream, *tokens):
                if name in parameters:
                    parameters[name].mul_(self.residual)
