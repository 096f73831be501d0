"""Exported models that benchmarks need: a product's at other geometries, and one of no weight."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from export.fuse import export_network, export_product
from runtime.geometry.geometry import GeometrySettings
from runtime.models.exported_model import ExportedModel
from runtime.products.card import ProductCard, TeacherCard, Threshold
from train.students.bundle import ProductBundle, write_bundle

SQUARE = GeometrySettings(image_size=518)
FITTED = GeometrySettings(image_size=518, kind="fitted", image_wh=(1500, 1000))
PAPERS_SQUARE = GeometrySettings(image_size=1036)
TILES = GeometrySettings(image_size=518, kind="tiles", overlap_wh=(14, 14))
_LIGHT_DIMENSION = 16
OUT_OF_REACH = Threshold(image_score=1e9, pixel_value=1e9, method="none", good_images=0)


class _PassingBlock(nn.Module):
    """In the place of a transformer's block."""

    def __init__(self, dim: int, *_: Any, **__: Any) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor, **_: Any) -> Tensor:
        """(N, T, D) to (N, T, D)."""
        changed: Tensor = self.linear(tokens)
        return changed


def at_geometry(bundle: ProductBundle, geometry: GeometrySettings, folder: Path) -> ExportedModel:
    """Export a product so that it looks at images in another way; for speed alone.

    Args:
        bundle: The product, whose students were trained for its own geometry.
        geometry: Another one.
        folder: For the bundle and the export; made.
    """
    card = replace(bundle.card, geometry=geometry, area=None)
    other = write_bundle(folder / "bundle", card, bundle.students)
    return export_product(other, folder / "exported", precision="fp32", capacity=1)


def untrained_bundle(folder: Path, *, image_size: int) -> ProductBundle:
    """The demo teacher with students that have learned nothing; for speed alone.

    Args:
        folder: The bundle's; made.
        image_size: Side of the network's square in px.
    """
    import torch

    from train.settings import DEMO_TEACHER, TeacherSettings
    from train.students.students import Students
    from train.teacher.teacher import load_teacher

    torch.manual_seed(0)
    teacher = load_teacher(TeacherSettings(teacher=DEMO_TEACHER), image_size=image_size)
    card = ProductCard(
        product="untrained",
        teacher=teacher.card,
        geometry=GeometrySettings(image_size=image_size),
        threshold=OUT_OF_REACH,
        students_sha256="0" * 64,
    )
    return write_bundle(folder, card, Students(teacher.card.dimension))


def light_model(geometry: GeometrySettings, folder: Path) -> ExportedModel:
    """Export a network of full size outside and next to nothing inside, without any training.

    What surrounds the network takes milliseconds, and the network of a real product ten thousand,
    a percent more or less. With this one the surroundings can be measured.

    Args:
        geometry: How images are cut.
        folder: For the bundle and the export; made.
    """
    import torch
    from timm.models.vision_transformer import VisionTransformer

    from train.students.network import PatchMapNetwork
    from train.students.students import Students
    from train.teacher.teacher import Teacher

    torch.manual_seed(0)
    trunk: Any = VisionTransformer(
        img_size=geometry.tile_wh[::-1],
        patch_size=geometry.patch_size,
        embed_dim=_LIGHT_DIMENSION,
        depth=2,
        num_heads=1,
        num_classes=0,
        # Attention over all patches of a tile would be nine tenths of the time.
        block_fn=_PassingBlock,
    )
    trunk.pretrained_cfg = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    teacher_card = TeacherCard(
        name="light, of no use but for measuring",
        weights_source="random",
        weights_sha256="0" * 64,
        layers=(1, 2),
        dimension=_LIGHT_DIMENSION,
    )
    teacher = Teacher(
        trunk, card=teacher_card, tile_wh=geometry.tile_wh, precision="fp32", device="cpu"
    )
    card = ProductCard(
        product="light",
        teacher=teacher_card,
        geometry=geometry,
        threshold=OUT_OF_REACH,
        students_sha256="0" * 64,
    )
    students = Students(_LIGHT_DIMENSION)
    bundle = write_bundle(folder / "bundle", card, students)
    network = PatchMapNetwork(teacher, students).eval()
    return export_network(network, bundle, folder / "exported", precision="fp32", capacity=1)
