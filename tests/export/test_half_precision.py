"""The FP16 export: what is in FP16, what is not, and that it can be seen to overflow."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import onnx_ir
import onnxruntime
import pytest

from export.emulated_engine import EmulatedHalfEngine
from export.passes.check_precision import check_precision
from export.passes.emulate_half import emulate_half
from export.passes.halve_matmuls import halve_matmuls, plan_half
from export.passes.scale_query_first import scale_query_first
from export.trace import write_half, write_naive_half
from runtime.engines.openvino_engine import OpenVINOEngine
from runtime.errors import ModelError
from runtime.models.exported_model import ExportedModel
from tests.parts.small import SHALLOW_LAYERS, SMALL_IMAGE_SIZE

BLOCKS = SHALLOW_LAYERS[-1]
ATTENTION = """
<ir_version: 9, opset_import: ["" : 18]>
attention (float[2,6,8] q, float[2,8,6] k, float[2,6,4] v) => (float[2,6,4] y)
<float root = {0.5}, float square = {0.25}, float inverse = {4.0}>
{ %s }
"""
SCALINGS = {
    "split": "a = Mul(q, root) b = Mul(root, k) l = MatMul(a, b) w = Softmax(l) y = MatMul(w, v)",
    "last": "l = MatMul(q, k) s = Mul(l, square) w = Softmax(s) y = MatMul(w, v)",
    "divided": "l = MatMul(q, k) s = Div(l, inverse) w = Softmax(s) y = MatMul(w, v)",
    "first": "a = Mul(q, square) l = MatMul(a, k) w = Softmax(l) y = MatMul(w, v)",
}
BLOCK = """
<ir_version: 9, opset_import: ["" : 18]>
block (float[N,4,8] x, float[8,16] w1, float[16] b1, float[16,8] w2, float[8] b2, float[8] gamma,
       float[8] beta, float[8] layer_scale) => (float[N,4,8] y)
<float half = {0.5}, float one = {1.0}, float root = {1.4142135}>
{
  n = LayerNormalization <axis = -1> (x, gamma, beta)
  h = MatMul(n, w1)
  hb = Add(h, b1)
  d = Div(hb, root)
  e = Erf(d)
  a = Add(e, one)
  m = Mul(half, a)
  g = Mul(hb, m)
  o = MatMul(g, w2)
  ob = Add(o, b2)
  s = Mul(ob, layer_scale)
  y = Add(x, s)
}
"""


def parse(text: str) -> Any:
    """A graph, with random weights for all inputs but x, q, k and v."""
    model = onnx.parser.parse_model(text)
    random = np.random.default_rng(0)
    for value in list(model.graph.input):
        if value.name not in ("x", "q", "k", "v"):
            shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
            weights = random.normal(0, 0.3, shape).astype(np.float32)
            model.graph.initializer.append(onnx.numpy_helper.from_array(weights, value.name))
            model.graph.input.remove(value)
    onnx.checker.check_model(model, full_check=True)
    return onnx_ir.from_proto(onnx.shape_inference.infer_shapes(model))


def run(model: Any, **inputs: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    session = onnxruntime.InferenceSession(onnx_ir.to_proto(model).SerializeToString())
    return np.asarray(session.run(None, inputs)[0])


def qkv(largest: float = 1.0) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    random = np.random.default_rng(1)
    shapes = {"q": (2, 6, 8), "k": (2, 8, 6), "v": (2, 6, 4)}
    values = {name: random.normal(0, 1, shape) for name, shape in shapes.items()}
    return {
        name: (value * (largest if name != "v" else 1)).astype(np.float32)
        for name, value in values.items()
    }


@pytest.mark.parametrize("scaling", SCALINGS)
def test_the_scale_is_moved_onto_the_query_and_changes_nothing(scaling: str) -> None:
    model = parse(ATTENTION % SCALINGS[scaling])
    expected = run(model, **qkv())
    assert scale_query_first(model) == 1
    assert np.allclose(run(model, **qkv()), expected, atol=1e-6)
    operations = [node.op_type for node in model.graph]
    assert operations == ["Mul", "MatMul", "Softmax", "MatMul"]
    assert model.graph[1].inputs[1].name == "k"


def test_logits_that_overflow_before_they_are_scaled_do_not_once_the_query_is() -> None:
    # The raw logits reach 130,000, the scaled ones 32,000.
    inputs = qkv(largest=200)
    unchanged, moved = parse(ATTENTION % SCALINGS["last"]), parse(ATTENTION % SCALINGS["last"])
    scale_query_first(moved)
    for model in (unchanged, moved):
        halve_matmuls(model)
        emulate_half(model)
    assert np.isnan(run(unchanged, **inputs)).any()
    assert np.isfinite(run(moved, **inputs)).all()


def test_a_softmax_of_anything_but_a_product_is_refused() -> None:
    model = parse(ATTENTION % "l = MatMul(q, k) c = Cos(l) w = Softmax(c) y = MatMul(w, v)")
    with pytest.raises(ModelError, match="of no kind that can be exported in FP16"):
        scale_query_first(model)


def test_linears_their_biases_and_gelu_are_fp16_and_the_residual_stream_is_not() -> None:
    model = parse(BLOCK)
    half = {node.outputs[0].name for node in plan_half(model.graph)}
    assert half == {"h", "hb", "d", "e", "a", "m", "g", "o", "ob"}


def test_a_halved_block_computes_what_it_did() -> None:
    model = parse(BLOCK)
    x = np.random.default_rng(2).normal(0, 3, (2, 4, 8)).astype(np.float32)
    expected = run(model, x=x)
    halve_matmuls(model)
    emulate_half(model)
    assert np.abs(run(model, x=x) - expected).max() < 2e-3


def test_a_residual_stream_beyond_fp16_is_kept() -> None:
    model = parse(BLOCK)
    x = np.full((1, 4, 8), 1e6, np.float32)
    expected = run(model, x=x)
    halve_matmuls(model)
    emulate_half(model)
    assert np.allclose(run(model, x=x), expected, rtol=1e-5)


def test_a_weight_beyond_fp16_is_refused_by_name() -> None:
    model = parse(BLOCK)
    weights = model.graph.initializers["w1"]
    weights.const_value = onnx_ir.tensor(np.full((8, 16), 1e5, np.float32), name="w1")
    with pytest.raises(ModelError, match=r"w1 holds 1e\+05"):
        halve_matmuls(model)


def test_the_exported_network_is_fp16_where_it_should_be(exported: ExportedModel) -> None:
    counts = check_precision(onnx.load(str(exported.path_of("fp16"))))
    # Of each block: qkv, q k, w v, projection, two of the MLP; the patches; three of each student,
    # three of each judge.
    assert counts.fp16_products == BLOCKS * 6 + 1 + 6 + 6
    # Two of each block and the final one at both depths; three lengths of each direction.
    assert counts.fp32_normalisations == BLOCKS * 2 + 2 + 6
    assert counts.fp32_softmaxes == BLOCKS


def test_weights_take_half_the_space(exported: ExportedModel) -> None:
    sizes = {name: exported.path_of(name).stat().st_size for name in ("fp32", "fp16")}
    assert sizes["fp16"] < 0.55 * sizes["fp32"]


def test_tokens_and_positions_are_kept_in_fp32(exported: ExportedModel) -> None:
    tensors = onnx.load(str(exported.path_of("fp16"))).graph.initializer
    types = {tensor.name.rpartition(".")[2]: tensor.data_type for tensor in tensors}
    for name in ("cls_token", "pos_embed", "gamma"):
        assert types[name] == onnx.TensorProto.FLOAT


def test_the_boundary_of_both_files_is_the_same(exported: ExportedModel) -> None:
    graphs = [onnx.load(str(exported.path_of(name))).graph for name in ("fp32", "fp16")]
    assert list(graphs[0].input) == list(graphs[1].input)
    assert graphs[0].output[0].type == graphs[1].output[0].type


def test_a_graph_that_is_all_fp16_fails_the_check(exported: ExportedModel, tmp_path: Path) -> None:
    write_naive_half(exported.path_of("fp32"), tmp_path / "naive.onnx")
    with pytest.raises(ModelError, match="LayerNormalization .* is not FP32"):
        check_precision(onnx.load(str(tmp_path / "naive.onnx")))


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ("sum = Add(x, x)", "residual sum .* in FP16"),
        ("sum = Mul(x, layer_scale)", "LayerScale .* in FP16"),
        ("l = MatMul(x, w) s = Mul(l, one) f = Cast<to=1>(s) sum = Softmax(f)", "scaled product"),
    ],
)
def test_what_must_not_be_fp16_is_refused(node: str, message: str) -> None:
    """Each breaks one promise, in a graph that keeps the others."""
    model = onnx.parser.parse_model(f"""
        <ir_version: 9, opset_import: ["" : 18]>
        wrong (float[2,8] a) => (float[2,8] y)
        <float16[8] layer_scale = {{1, 1, 1, 1, 1, 1, 1, 1}}, float16 one = {{1}},
         float[8,8] w32 = {{{", ".join(["0"] * 64)}}}>
        {{ x = Cast<to=10>(a) w = Cast<to=10>(w32) {node} y = Cast<to=1>(sum) }}""")
    with pytest.raises(ModelError, match=message):
        check_precision(model)


def test_an_fp32_graph_fails_the_check(exported: ExportedModel) -> None:
    with pytest.raises(ModelError, match="is not FP16"):
        check_precision(onnx.load(str(exported.path_of("fp32"))))


def test_the_emulation_rounds_and_stays_close(exported: ExportedModel) -> None:
    tiles = np.random.default_rng(0).integers(
        0, 256, (2, SMALL_IMAGE_SIZE, SMALL_IMAGE_SIZE, 3), np.uint8
    )
    reference, emulated = (
        OpenVINOEngine(exported.onnx_path),
        EmulatedHalfEngine(exported.path_of("fp16")),
    )
    expected, found = reference.infer(tiles), emulated.infer(tiles)
    reference.close()
    emulated.close()
    difference = np.abs(found - expected).max() / expected.std()
    # Casts that a runtime removed would leave an error of 1e-5.
    assert 1e-4 < difference < 0.1


def test_an_fp32_file_cannot_be_emulated(exported: ExportedModel) -> None:
    with pytest.raises(ModelError, match="nothing in FP16"):
        EmulatedHalfEngine(exported.path_of("fp32"))


def test_halving_is_deterministic(exported: ExportedModel, tmp_path: Path) -> None:
    write_half(exported.path_of("fp32"), tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == exported.path_of("fp16").read_bytes()


def test_only_casts_are_added(exported: ExportedModel) -> None:
    operations = [
        Counter(node.op_type for node in onnx.load(str(exported.path_of(name))).graph.node)
        for name in ("fp32", "fp16")
    ]
    assert set(operations[1]) == set(operations[0])
