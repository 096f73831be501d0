"""What a network has to compute is counted exactly; how fast it is, no test asserts."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from benchmarks.compute.operations import count_operations
from benchmarks.compute.roofline import measure_roofline
from benchmarks.compute.roofline_results import Roofline, RooflineResult, Unmeasured, to_markdown
from benchmarks.machine.machine import read_conditions
from benchmarks.machine.timing import Timing
from runtime.errors import ModelError
from runtime.models.exported_model import ExportedModel
from tests.parts.small import SHALLOW_LAYERS


def write(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: dict[str, list[int | str]],
    output: str,
    weights: dict[str, list[int]],
) -> Path:
    graph = helper.make_graph(
        nodes,
        "small",
        [
            helper.make_tensor_value_info(
                name, TensorProto.INT32 if name == "product" else TensorProto.FLOAT, shape
            )
            for name, shape in inputs.items()
        ],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [
            onnx.numpy_helper.from_array(np.zeros(shape, np.float32), name)
            for name, shape in weights.items()
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), path)
    return path


def test_one_matrix_product(tmp_path: Path) -> None:
    path = write(
        tmp_path / "matmul.onnx",
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        {"x": ["batch", 5, 7]},
        "y",
        {"w": [7, 11]},
    )
    found = count_operations(path, tiles=3)
    assert found.matrix_operations == 2 * 3 * 5 * 7 * 11
    assert found.parameter_bytes == 4 * 7 * 11
    assert (found.input_bytes, found.output_bytes) == (4 * 3 * 5 * 7, 4 * 3 * 5 * 11)
    assert found.activation_bytes == found.input_bytes + found.output_bytes
    assert found.least_bytes == found.parameter_bytes + found.activation_bytes
    halved = found.in_bytes_of(2)
    assert halved.parameter_bytes == 2 * 7 * 11
    assert halved.matrix_operations == found.matrix_operations


def test_one_convolution_in_groups_with_a_stride(tmp_path: Path) -> None:
    node = helper.make_node("Conv", ["x", "w", "b"], ["y"], group=2, strides=[2, 2])
    path = write(
        tmp_path / "conv.onnx",
        [node],
        {"x": ["batch", 6, 9, 9]},
        "y",
        {"w": [8, 3, 3, 3], "b": [8]},
    )
    # 4 x 4 places of 8 channels, each from 3 channels under a kernel of 3 x 3.
    assert count_operations(path).by_operator == {
        "Conv": 2 * (4 * 4 * 8) * (3 * 3 * 3),
        "Gemm": 0,
        "MatMul": 0,
    }


def test_a_transposed_gemm(tmp_path: Path) -> None:
    node = helper.make_node("Gemm", ["x", "w"], ["y"], transA=1, transB=1)
    path = write(tmp_path / "gemm.onnx", [node], {"x": [7, 5]}, "y", {"w": [11, 7]})
    assert count_operations(path).matrix_operations == 2 * 5 * 7 * 11


def test_of_a_bank_only_the_slots_that_are_asked_for_are_read(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Gather", ["bank", "product"], ["picked"], axis=0),
        helper.make_node("MatMul", ["x", "picked"], ["y"]),
    ]
    path = write(
        tmp_path / "bank.onnx",
        nodes,
        {"x": ["batch", 4, 6], "product": ["batch"]},
        "y",
        {"bank": [16, 6, 6]},
    )
    assert count_operations(path).parameter_bytes == 4 * 6 * 6
    assert count_operations(path, tiles=2).parameter_bytes == 2 * 4 * 6 * 6


def test_what_cannot_be_counted_is_refused(tmp_path: Path) -> None:
    node = helper.make_node("Einsum", ["x", "w"], ["y"], equation="ij,jk->ik")
    path = write(tmp_path / "einsum.onnx", [node], {"x": [2, 3]}, "y", {"w": [3, 4]})
    with pytest.raises(ModelError, match="Einsum"):
        count_operations(path)
    nodes = [
        helper.make_node("NonZero", ["x"], ["places"]),
        helper.make_node("Cast", ["places"], ["z"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["w", "z"], ["y"]),
    ]
    path = write(tmp_path / "unknown.onnx", nodes, {"x": [2, 3]}, "y", {"w": [3, 2]})
    with pytest.raises(ModelError, match="cannot be inferred"):
        count_operations(path)


def operations_of_vit(*, dimension: int, blocks: int, side: int, others: int) -> int:
    """A vision transformer of patches of 14 px: projections and perceptron, attention, patches."""
    patches = (side // 14) ** 2
    tokens = patches + others
    block = 24 * dimension**2 * tokens + 4 * tokens**2 * dimension
    return blocks * block + 2 * patches * (3 * 14 * 14) * dimension


def test_the_exported_network_has_the_operations_of_its_architecture(
    tiny_exported: ExportedModel,
) -> None:
    trunk = operations_of_vit(dimension=384, blocks=SHALLOW_LAYERS[-1], side=112, others=1)
    # Each direction has a student of three layers, a whitening, and an expectation of two layers.
    students = 2 * (2 * 8 * 8) * (4 * 384**2 + 16 * 384 + 16)
    assert count_operations(tiny_exported.onnx_path).matrix_operations == trunk + students
    # The same formula gives the paper's trunk what its authors' architecture is known to cost.
    papers = operations_of_vit(dimension=768, blocks=12, side=518, others=5)
    assert papers == pytest.approx(0.30e12, rel=0.02)


def test_a_measured_roofline_holds_together(tiny_exported: ExportedModel) -> None:
    found = measure_roofline(tiny_exported, 1, turns=1)
    assert found.threads == 1
    assert found.matrix_library in ("OpenVINO", "NumPy")
    assert found.bound_ms == max(found.compute_ms, found.memory_ms) > 0
    assert found.share == pytest.approx(found.bound_ms / found.network.p50_ms)
    operations = found.operations.matrix_operations
    assert found.compute_ms == pytest.approx(1e3 * operations / found.operations_per_s)
    result = RooflineResult(
        machine="a test",
        conditions=read_conditions(),
        versions={},
        network="tiny",
        rooflines=(found,),
        unmeasured=(
            Unmeasured(
                device="GPU, Jetson", precision="fp16", reason="none here", command="l2bt engine"
            ),
        ),
    )
    page = to_markdown(result)
    assert "| openvino cpu f32, 1 threads |" in page
    # A way that was not measured has a command and no numbers.
    assert "| GPU, Jetson, fp16: `l2bt engine` |  |  |  |  |  |  |  |" in page


def test_the_bound_is_the_longer_of_the_two(tiny_exported: ExportedModel) -> None:
    operations = count_operations(tiny_exported.onnx_path)
    fields = {
        "engine": "a test",
        "precision": "fp16",
        "threads": None,
        "operations": operations,
        "matrix_library": "none",
        "network": Timing.of([10.0]),
    }
    fast = Roofline.of(**fields, operations_per_s=1e15, bytes_per_s=1e9)  # type: ignore[arg-type]
    assert fast.bound_ms == fast.memory_ms == pytest.approx(operations.least_bytes / 1e6)
    slow = Roofline.of(**fields, operations_per_s=1e9, bytes_per_s=1e15)  # type: ignore[arg-type]
    assert slow.bound_ms == slow.compute_ms
