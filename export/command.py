"""The command of this room: export."""

from pathlib import Path

from runtime.geometry.tile_shape import describe_wh
from runtime.models.exported_model import DEFAULT_CAPACITY


def export(
    bundle: Path,
    *,
    out: Path | None = None,
    precision: str = "fp16",
    capacity: int = DEFAULT_CAPACITY,
    teacher_weights: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Export a product bundle as fused ONNX files with their manifest.

    Args:
        bundle: Folder that l2bt train left.
        out: Folder for the exported model; exported/PRODUCT by default.
        precision: fp16 writes the network in FP32, for CPUs, and in FP16, for TensorRT; fp32 the
            first alone.
        capacity: Slots of the bank of students: one a product, and one more for a version to take
            over in (l2bt product).
        teacher_weights: The local file of the teacher's weights, if it was trained with one.
        overwrite: Replace an existing folder.
    """
    from export.fuse import export_product
    from train.students.bundle import open_bundle

    opened = open_bundle(bundle)
    exported = export_product(
        opened,
        out or Path("exported") / opened.card.product,
        precision=precision,
        capacity=capacity,
        teacher_weights=teacher_weights,
        overwrite=overwrite,
    )
    manifest = exported.manifest
    names = " and ".join(manifest.onnx_sha256)
    print(f"{names}, opset {manifest.opset}, tiles of {describe_wh(manifest.tile_wh)}")
    print(f"judge: {opened.judge}")
    print(exported.folder)
