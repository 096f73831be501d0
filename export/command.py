"""The command of this room: export."""

from pathlib import Path


def export(
    bundle: Path,
    *,
    out: Path | None = None,
    teacher_weights: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Export a product bundle as one fused ONNX file with its manifest.

    Args:
        bundle: Folder that l2bt train left.
        out: Folder for the exported model; exported/PRODUCT by default.
        teacher_weights: The local file of the teacher's weights, if it was trained with one.
        overwrite: Replace an existing folder.
    """
    from export.fuse import export_product
    from train.bundle import open_bundle

    opened = open_bundle(bundle)
    exported = export_product(
        opened,
        out or Path("exported") / opened.card.product,
        teacher_weights=teacher_weights,
        overwrite=overwrite,
    )
    manifest = exported.manifest
    print(f"{manifest.precision}, opset {manifest.opset}, tiles of {manifest.image_size} px")
    print(exported.folder)
