"""The teacher: a frozen vision transformer that gives patch tokens at two depths.

Any timm model that offers its intermediate tokens can be one. Both outputs go through the
transformer's final LayerNorm, and class and register tokens are dropped, as in the L2BT paper.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from runtime.errors import ModelError, OptionError
from runtime.geometry.tile_shape import tile_wh_of
from runtime.products.card import TeacherCard
from train.settings import TeacherSettings
from train.teacher.weights import Weights, digest, load_weights

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Teacher(nn.Module):
    """A frozen trunk of static input size, cut behind the last block that is needed.

    Attributes:
        card: What the product's card says about it.
        tile_wh: Width and height of its input in px.
        patch_size: Side of its patches in px.
    """

    def __init__(
        self,
        trunk: Any,
        *,
        card: TeacherCard,
        tile_wh: tuple[int, int],
        precision: str,
        device: str,
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.card = card
        self.tile_wh = tile_wh
        self.patch_size = int(trunk.patch_embed.patch_size[0])
        self._dtype = _DTYPES[precision]
        self._indices = [layer - 1 for layer in card.layers]
        for name in ("mean", "std"):
            values = torch.tensor(trunk.pretrained_cfg[name], dtype=torch.float32)
            self.register_buffer(name, values.view(1, 3, 1, 1) * 255, persistent=False)
        self.requires_grad_(False).eval().to(torch.device(device))

    @property
    def grid_wh(self) -> tuple[int, int]:
        """Width and height of its input in patches."""
        width, height = self.tile_wh
        return width // self.patch_size, height // self.patch_size

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self.get_buffer("mean").device

    def train(self, mode: bool = True) -> "Teacher":
        """Stay in evaluation mode: the teacher is frozen whatever its owner does."""
        return super().train(False)

    def forward(self, tiles: Tensor) -> tuple[Tensor, Tensor]:
        """Patch tokens at the two depths.

        Args:
            tiles: (N, height, width, 3) uint8 RGB.

        Returns:
            Two (N, T, D) float32 tensors, the shallower first; T patches, row by row.
        """
        # Cast first: TensorRT does nothing to bytes but cast them.
        pixels = tiles.to(torch.float32).permute(0, 3, 1, 2)
        pixels = (pixels - self.get_buffer("mean")) / self.get_buffer("std")
        autocast = self._dtype is not torch.float32
        plain = tiles.device.type == "cuda" and not autocast
        with (
            _convolutions_without_tf32() if plain else nullcontext(),
            torch.autocast(tiles.device.type, self._dtype, enabled=autocast),
        ):
            shallow, deep = self.trunk.forward_intermediates(
                pixels,
                indices=self._indices,
                norm=True,
                stop_early=True,
                output_fmt="NLC",
                intermediates_only=True,
            )
        return shallow.float(), deep.float()


@contextmanager
def _convolutions_without_tf32() -> Iterator[None]:
    """Keep convolutions in FP32 for as long as the block lasts.

    PyTorch allows TF32 in them on a GPU without being asked, and not in products of matrices. An
    H100 did not use it for a teacher's only convolution; nothing promises that for other cards.
    """
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def load_teacher(
    settings: TeacherSettings,
    *,
    image_size: int,
    image_wh: tuple[int, int] | None = None,
    expected: TeacherCard | None = None,
) -> Teacher:
    """Build a teacher for a static input size and load its weights.

    Args:
        settings: Which teacher.
        image_size: The input's side in px, or its longer one.
        image_wh: Width and height in px of the images whose shape the input shall have; it is a
            square if they are left out.
        expected: The card of a product that was trained on it; other weights are refused.

    Raises:
        OptionError: timm does not know the model, the layers do not exist, the size does not fit
            the patches, or the device cannot be had.
        ModelError: The weights cannot be had, do not fit, or are not those of `expected`.
    """
    _check_device(settings.device)
    weights = load_weights(settings.teacher, settings.teacher_weights)
    trunk = weights.trunk
    depth, dimension = len(trunk.blocks), int(trunk.embed_dim)
    layers = settings.layers or weights.default_layers or (round(depth * 2 / 3), depth)
    if not 1 <= layers[0] < layers[1] <= depth:
        raise OptionError(
            f"layers {layers[0]} and {layers[1]}: {settings.teacher} has blocks 1 to {depth}; "
            "name two, the lower one first"
        )
    card = TeacherCard(
        name=settings.teacher,
        weights_source=weights.source,
        weights_sha256=digest(trunk),
        layers=layers,
        dimension=dimension,
    )
    if expected is not None and card.weights_sha256 != expected.weights_sha256:
        raise ModelError(
            f"the teacher's weights ({card.weights_source}) have SHA-256 "
            f"{card.weights_sha256[:12]}..., the product was trained with "
            f"{expected.weights_sha256[:12]}... ({expected.weights_source}); name those with "
            "--teacher-weights"
        )
    tile_wh = _fix_input_size(trunk, image_size, image_wh, weights)
    trunk.prune_intermediate_layers([layer - 1 for layer in layers], prune_norm=False)
    return Teacher(
        trunk,
        card=card,
        tile_wh=tile_wh,
        precision=settings.teacher_precision,
        device=settings.device,
    )


def settings_of(
    card: TeacherCard, *, weights: Path | None = None, **options: Any
) -> TeacherSettings:
    """The settings that load the teacher of a product's card again."""
    return TeacherSettings(
        teacher=card.name, layers=card.layers, teacher_weights=weights, **options
    )


def _check_device(device: str) -> None:
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise OptionError(f"device {device!r}: expected 'cpu', 'cuda' or 'cuda:N'") from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise OptionError(f"device {device!r}: PyTorch sees no NVIDIA GPU here; use --device cpu")


def _fix_input_size(
    trunk: Any, image_size: int, image_wh: tuple[int, int] | None, weights: Weights
) -> tuple[int, int]:
    patch_size = int(trunk.patch_embed.patch_size[0])
    if image_size % patch_size:
        below = image_size // patch_size * patch_size
        raise OptionError(
            f"image size {image_size} px is no multiple of the teacher's patches of {patch_size} "
            f"px; the nearest are {below} and {below + patch_size}"
        )
    native = trunk.pos_embed
    native_grid = tuple(trunk.patch_embed.grid_size)
    tile_wh = tile_wh_of(image_size, patch_size=patch_size, image_wh=image_wh)
    tile_hw = tile_wh[1], tile_wh[0]
    grid_hw = tile_hw[0] // patch_size, tile_hw[1] // patch_size
    trunk.set_input_size(img_size=tile_hw)
    if weights.is_plain_dinov2 and native_grid != grid_hw:
        trunk.pos_embed = nn.Parameter(resample_like_dinov2(native, native_grid[0], grid_hw))
    return tile_wh


def resample_like_dinov2(position: Tensor, native_grid: int, grid_hw: tuple[int, int]) -> Tensor:
    """Resample plain DINOv2's position embedding as Meta's own code does.

    Bicubic without antialiasing, by the scales (grid + 0.1) / native_grid; models with registers,
    and other transformers, are resampled by timm (bicubic, antialiased, by size), which is what
    Meta does for them.

    Args:
        position: (1, 1 + native_grid^2, D), the class token's first.
        native_grid: Patches along a side at the weights' own size.
        grid_hw: Patches along height and width at the wished size.

    Returns:
        (1, 1 + patches, D).
    """
    of_class, of_patches = position[:, :1], position[:, 1:]
    dimension = position.shape[2]
    table = of_patches.reshape(1, native_grid, native_grid, dimension).permute(0, 3, 1, 2)
    scales = tuple((grid + 0.1) / native_grid for grid in grid_hw)
    table = functional.interpolate(table, scale_factor=scales, mode="bicubic")
    if table.shape[2:] != grid_hw:
        raise ModelError(f"position embedding came out as {tuple(table.shape[2:])}, not {grid_hw}")
    of_patches = table.permute(0, 2, 3, 1).reshape(1, -1, dimension)
    return torch.cat([of_class, of_patches], dim=1)
