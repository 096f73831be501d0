"""One fused ONNX: its boundary, its numbers, and the files around it."""

import shutil
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
import torch

from runtime.engines.openvino_engine import OpenVINOEngine
from runtime.errors import ModelError, OptionError
from runtime.images.decode import ImageArray
from runtime.models.exported_model import MANIFEST_NAME, ExportedModel
from tests.parts.maps import is_same_map
from tests.parts.small import SHALLOW_LAYERS, SMALL_IMAGE_SIZE, make_card
from train.data.dataset import Dataset
from train.reference import load_network
from train.students.bundle import ProductBundle, write_bundle
from train.students.students import Students


@pytest.fixture
def copy(exported: ExportedModel, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported.folder, tmp_path / "copy"))


FIRST_CARD = Path("products", "plate", "1", "product.json")


def tiles_of(images: list[ImageArray], bundle: ProductBundle) -> np.ndarray:  # type: ignore[type-arg]
    geometry = bundle.card.geometry
    return np.concatenate([geometry.for_image(*image.shape[:2]).cut(image) for image in images])


def test_openvino_gives_the_map_of_pytorch(
    bundle: ProductBundle, exported: ExportedModel, small_dataset: Dataset
) -> None:
    tiles = tiles_of([sample.pixels() for sample in small_dataset.test], bundle)
    with torch.inference_mode():
        expected = load_network(bundle)(torch.tensor(tiles)).numpy()
    engine = OpenVINOEngine(exported.onnx_path, precision="f32")
    found = engine.infer(tiles)
    engine.close()
    assert (np.abs(found - expected) / expected).max() < 1e-4


def test_a_tiles_map_does_not_depend_on_its_batch(
    bundle: ProductBundle, exported: ExportedModel, small_dataset: Dataset
) -> None:
    tiles = tiles_of([sample.pixels() for sample in small_dataset.test], bundle)
    engine = OpenVINOEngine(exported.onnx_path)
    together = engine.infer(tiles)
    alone = np.concatenate([engine.infer(tile[None]) for tile in tiles])
    engine.close()
    assert is_same_map(together, alone)


def test_the_graph_ends_with_the_teachers_last_needed_block(exported: ExportedModel) -> None:
    model = onnx.load(str(exported.onnx_path))
    softmaxes = [node for node in model.graph.node if node.op_type == "Softmax"]
    assert len(softmaxes) == SHALLOW_LAYERS[-1]


def test_the_boundary_is_uint8_tiles_in_and_a_float_map_out(exported: ExportedModel) -> None:
    graph = onnx.load(str(exported.onnx_path)).graph
    tiles, product = graph.input
    (patch_map,) = graph.output
    assert (tiles.name, product.name, patch_map.name) == ("tiles", "product", "patch_map")
    assert product.type.tensor_type.elem_type == onnx.TensorProto.INT32
    assert tiles.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert patch_map.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    sizes = [dim.dim_value for dim in tiles.type.tensor_type.shape.dim]
    assert sizes == [0, SMALL_IMAGE_SIZE, SMALL_IMAGE_SIZE, 3]


def test_no_resize_is_left_in_the_graph(exported: ExportedModel) -> None:
    # TensorRT refuses an antialiased one; positions are resampled before the export.
    assert "Resize" not in {node.op_type for node in onnx.load(str(exported.onnx_path)).graph.node}


def test_the_manifest_reads_back(exported: ExportedModel) -> None:
    opened = ExportedModel.open(exported.folder)
    assert opened.manifest == exported.manifest
    assert opened.manifest.opset == 18
    assert opened.product == exported.product


def test_an_existing_folder_is_not_overwritten_unasked(
    bundle: ProductBundle, exported: ExportedModel
) -> None:
    from export.fuse import export_product

    with pytest.raises(OptionError, match="--overwrite"):
        export_product(bundle, exported.folder)


def test_a_cut_network_is_refused(copy: Path) -> None:
    data = (copy / "model.onnx").read_bytes()
    (copy / "model.onnx").write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelError, match="cut or swapped"):
        ExportedModel.open(copy)


@pytest.mark.parametrize(
    "name",
    [
        "model.onnx",
        "model.fp16.onnx",
        MANIFEST_NAME,
        "products/table.json",
        "products/plate/1/product.json",
        "products/plate/1/students.safetensors",
    ],
)
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(ModelError, match=name):
        ExportedModel.open(copy)


def test_the_card_of_another_product_is_refused(copy: Path) -> None:
    make_card(product="bolt").write(copy / FIRST_CARD)
    with pytest.raises(ModelError, match="is the card of 'bolt'; put back that of 'plate'"):
        ExportedModel.open(copy)


def test_the_card_of_other_students_is_refused(copy: Path) -> None:
    make_card().write(copy / FIRST_CARD)
    with pytest.raises(ModelError, match="other students than table.json names"):
        ExportedModel.open(copy)


def test_a_manifest_of_another_version_is_refused(copy: Path) -> None:
    manifest = msgspec.json.decode((copy / MANIFEST_NAME).read_bytes())
    manifest["schema"] = "l2bt.export/99"
    (copy / MANIFEST_NAME).write_bytes(msgspec.json.encode(manifest))
    with pytest.raises(ModelError, match=r"reads 'l2bt\.export/5'"):
        ExportedModel.open(copy)


def test_products_of_another_network_are_refused(copy: Path) -> None:
    table = msgspec.json.decode((copy / "products" / "table.json").read_bytes())
    table["capacity"] = 9
    (copy / "products" / "table.json").write_bytes(msgspec.json.encode(table))
    with pytest.raises(ModelError, match="put the products back"):
        ExportedModel.open(copy)


def test_a_bundle_with_another_teacher_is_not_exported(tmp_path: Path) -> None:
    from export.fuse import export_product

    bundle = write_bundle(tmp_path / "plate", make_card(), Students(384))
    with pytest.raises(ModelError, match="was trained with"):
        export_product(bundle, tmp_path / "exported")
    assert not (tmp_path / "exported").exists()
