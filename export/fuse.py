"""Export: teacher trunk and students of a product as one ONNX file with its manifest."""

from pathlib import Path

from export.trace import OPSET, bank_network, trace, write_half
from runtime.engines.network import ONNX_NAMES
from runtime.errors import OptionError
from runtime.models.exported_model import DEFAULT_CAPACITY, MANIFEST_NAME, ExportedModel, Manifest
from runtime.products.store.changes import activate, add_version, create_store
from runtime.products.store.product_store import STORE, ProductStore
from runtime.storage.atomic_write import atomic_folder, sha256_of_file
from runtime.storage.json_files import write_json
from train.reference import load_network
from train.students.bundle import ProductBundle
from train.students.network import PatchMapNetwork

# FP32 is always written: a CPU runs it, and it is what FP16 is held against.
PRECISIONS = ("fp16", "fp32")


def export_product(
    bundle: ProductBundle,
    out: Path,
    *,
    precision: str = "fp16",
    capacity: int = DEFAULT_CAPACITY,
    teacher_weights: Path | None = None,
    overwrite: bool = False,
) -> ExportedModel:
    """Write the exported model of a bundle.

    Normalisation is inside the graph, and only the batch is dynamic.

    Args:
        bundle: The trained product.
        out: The folder to write, whole or not at all.
        precision: "fp16" writes the network in FP32 and in FP16, "fp32" in FP32 alone.
        capacity: Slots of the bank of students, of which the product takes the first; one more than
            products are served at once, so that a version can take over from another.
        teacher_weights: The local file of the teacher's weights, if it was trained with one.
        overwrite: Replace an existing folder.

    Raises:
        OptionError: `out` exists and overwriting was not asked for, or the precision is unknown.
        ModelError: The teacher's weights cannot be had, or the graph is not what it should be.
    """
    network = load_network(bundle, teacher_weights=teacher_weights)
    return export_network(
        network, bundle, out, precision=precision, capacity=capacity, overwrite=overwrite
    )


def export_network(
    network: PatchMapNetwork,
    bundle: ProductBundle,
    out: Path,
    *,
    precision: str = "fp16",
    capacity: int = DEFAULT_CAPACITY,
    overwrite: bool = False,
) -> ExportedModel:
    """The same for a network that is there already.

    Args:
        network: The bundle's teacher and students.
        bundle: The product.
        out: The folder to write, whole or not at all.
        precision: As for `export_product`.
        capacity: As for `export_product`.
        overwrite: Replace an existing folder.

    Raises:
        OptionError: `out` exists and overwriting was not asked for, or the precision is unknown.
        ModelError: The graph is not what it should be.
    """
    if capacity < 1:
        raise OptionError(f"capacity is {capacity}; expected at least 1")
    if precision not in PRECISIONS:
        raise OptionError(f"precision {precision!r}: expected {' or '.join(PRECISIONS)}")
    with atomic_folder(out, marker=MANIFEST_NAME, replace=overwrite) as temporary:
        paths = {"fp32": temporary / ONNX_NAMES["fp32"]}
        trace(bank_network(network, capacity=capacity), paths["fp32"])
        if precision == "fp16":
            paths["fp16"] = temporary / ONNX_NAMES["fp16"]
            write_half(paths["fp32"], paths["fp16"])
        manifest = Manifest(
            name=bundle.card.product,
            onnx_sha256={name: sha256_of_file(path) for name, path in paths.items()},
            opset=OPSET,
            tile_wh=bundle.card.geometry.tile_wh,
            grid_wh=bundle.card.geometry.grid_wh,
            teacher=bundle.card.teacher,
            capacity=capacity,
            written={0: bundle.card.students_sha256},
        )
        write_json(temporary / MANIFEST_NAME, manifest)
        store = create_store(
            temporary / STORE,
            teacher=manifest.teacher,
            tile_wh=manifest.tile_wh,
            capacity=capacity,
        )
        activate(store, *add_version(store, bundle.folder))
    return ExportedModel(folder=out, manifest=manifest, store=ProductStore(out / STORE))
