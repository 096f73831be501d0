"""Export: teacher trunk and students of a product as one ONNX file with its manifest."""

import warnings
from pathlib import Path

import torch

from runtime.atomic_write import atomic_folder, sha256_of_file
from runtime.errors import ModelError
from runtime.exported_model import (
    INPUT_NAME,
    MANIFEST_NAME,
    ONNX_NAME,
    OUTPUT_NAME,
    ExportedModel,
    Manifest,
)
from runtime.extras import require
from train.bundle import ProductBundle
from train.network import PatchMapNetwork
from train.reference import load_network

OPSET = 18
# Two tiles, since torch.export takes a batch of one for a constant.
_EXAMPLE_TILES = 2


def export_product(
    bundle: ProductBundle,
    out: Path,
    *,
    teacher_weights: Path | None = None,
    overwrite: bool = False,
) -> ExportedModel:
    """Write the exported model of a bundle.

    Normalisation is inside the graph, only the batch is dynamic, arithmetic is fp32.

    Args:
        bundle: The trained product.
        out: The folder to write, whole or not at all.
        teacher_weights: The local file of the teacher's weights, if it was trained with one.
        overwrite: Replace an existing folder.

    Raises:
        OptionError: `out` exists and overwriting was not asked for.
        ModelError: The teacher's weights cannot be had, or the graph is not what it should be.
    """
    network = load_network(bundle, teacher_weights=teacher_weights)
    with atomic_folder(out, marker=MANIFEST_NAME, replace=overwrite) as temporary:
        onnx_path = temporary / ONNX_NAME
        _trace(network, bundle.card.geometry.image_size, onnx_path)
        _check_graph(onnx_path, bundle)
        manifest = Manifest(
            onnx_sha256=sha256_of_file(onnx_path),
            precision="fp32",
            opset=OPSET,
            image_size=bundle.card.geometry.image_size,
            grid_side=bundle.card.geometry.grid_side,
            teacher=bundle.card.teacher,
            products={bundle.card.product: bundle.card.students_sha256},
        )
        ExportedModel(folder=temporary, manifest=manifest, product=bundle.card).write_cards()
    return ExportedModel(folder=out, manifest=manifest, product=bundle.card)


def _trace(network: PatchMapNetwork, image_size: int, path: Path) -> None:
    require("onnxscript")
    example = torch.zeros((_EXAMPLE_TILES, image_size, image_size, 3), dtype=torch.uint8)
    with warnings.catch_warnings():
        # The exporter warns about its own internals, which a user can do nothing about.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (example,),
            str(path),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            dynamic_shapes={"tiles": {0: torch.export.Dim("batch", min=1, max=1024)}},
            external_data=False,
            verbose=False,
        )


def _check_graph(path: Path, bundle: ProductBundle) -> None:
    """Names, dtypes and shapes at the boundary, on which engine and server rely."""
    onnx = require("onnx")
    onnx.checker.check_model(str(path), full_check=True)
    model = onnx.load(str(path), load_external_data=False)
    size, grid = bundle.card.geometry.image_size, bundle.card.geometry.grid_side
    expected = [
        (INPUT_NAME, onnx.TensorProto.UINT8, [size, size, 3]),
        (OUTPUT_NAME, onnx.TensorProto.FLOAT, [grid, grid]),
    ]
    found = []
    for value in (*model.graph.input, *model.graph.output):
        batch, *rest = value.type.tensor_type.shape.dim
        if batch.HasField("dim_value"):
            raise ModelError(f"the exported graph's {value.name} has a fixed batch")
        sizes = [dim.dim_value for dim in rest]
        found.append((value.name, value.type.tensor_type.elem_type, sizes))
    opset = next(item.version for item in model.opset_import if item.domain in ("", "ai.onnx"))
    if found != expected or opset != OPSET:
        raise ModelError(
            f"the exported graph has {found} at opset {opset}; expected {expected} at {OPSET}"
        )
