"""What NVIDIA's own compiler says of the FP16 export, on a machine without a GPU.

TensorRT-RTX compiles for GPUs that are not there. It is not TensorRT 10.3 and no Orin: it shares
parser and compiler, and nothing more is claimed.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
import timm
import torch

from export.trace import bank_network, trace, write_half, write_naive_half
from runtime.engines.tensorrt.library import TensorRTLog
from runtime.engines.tensorrt.manifest import PrecisionProof
from runtime.errors import ModelError, OptionError
from runtime.models.exported_model import ExportedModel
from runtime.products.card import TeacherCard
from tests.parts.small import SHALLOW_LAYERS
from train.students.network import PatchMapNetwork
from train.students.students import Students
from train.teacher.teacher import Teacher
from trt_engines.bank_in_onnx import bank_as_inputs
from trt_engines.build_plan import build_plan
from trt_engines.compile_check import CompileResult, compile_without_gpu
from trt_engines.layers import layers_of_inspector
from trt_engines.options import EngineOptions
from trt_engines.proof import NodeRoles, check_is_fp16, prove
from trt_engines.supported_operators import check_operators

tensorrt_rtx = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")

pytestmark = pytest.mark.slow

# The paper's teacher, up to 4 tiles of 518 px. One set of attention scores, which only attention
# that is not fused writes, would take 4 x 12 x 1,374^2 FP16 numbers: 173 MiB.
SCRATCH_CEILING_BYTES = 160 << 20
FOUR_TILES = EngineOptions(best_batch=1, largest_batch=4)


@pytest.fixture(scope="module")
def papers_network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ViT-B/14 with registers, all 12 blocks, with weights of no use."""
    torch.manual_seed(0)
    trunk: Any = timm.create_model(
        "vit_base_patch14_reg4_dinov2", pretrained=False, num_classes=0, img_size=518
    )
    trunk.prune_intermediate_layers([7, 11], prune_norm=False)
    card = TeacherCard(
        name="vit_base_patch14_reg4_dinov2",
        weights_source="none",
        weights_sha256="0" * 64,
        layers=(8, 12),
        dimension=768,
    )
    teacher = Teacher(trunk, card=card, tile_wh=(518, 518), precision="fp32", device="cpu")
    path = tmp_path_factory.mktemp("papers") / "fp32.onnx"
    # A bank of four products.
    trace(bank_network(PatchMapNetwork(teacher, Students(768)), capacity=4), path)
    write_half(path, path.with_name("fp16.onnx"))
    return path.with_name("fp16.onnx")


@pytest.fixture(scope="module", params=["8.6", "8.9", "12.0"])
def compiled(papers_network: Path, request: pytest.FixtureRequest) -> CompileResult:
    return compile_without_gpu(papers_network, request.param, FOUR_TILES)


@pytest.fixture(scope="module")
def live_compiled(papers_network: Path) -> CompileResult:
    live = papers_network.with_name("live.onnx")
    bank_as_inputs(papers_network, live)
    return compile_without_gpu(live, "8.6", FOUR_TILES)


def test_students_that_can_be_replaced_cost_no_fused_layer_and_no_precision(
    compiled: CompileResult, live_compiled: CompileResult
) -> None:
    live, constant = live_compiled.proof, compiled.proof
    check_is_fp16(live)
    assert live.fused_attentions == constant.fused_attentions == live.attentions
    assert live.lone_softmaxes == 0
    # The two small products of the judge's expectation share a kernel if they are constants.
    assert live.products <= constant.products + 1
    assert live_compiled.scratch_bytes <= 1.05 * compiled.scratch_bytes


def test_all_twelve_attentions_are_fused(compiled: CompileResult) -> None:
    assert compiled.proof.attentions == 12
    assert compiled.proof.fused_attentions == 12


def test_matrix_products_are_fp16_and_normalisations_and_softmaxes_fp32(
    compiled: CompileResult,
) -> None:
    proof = compiled.proof
    check_is_fp16(proof)
    # A fused attention holds two of a block's six products; qkv, projection, MLP are four more.
    assert proof.fp16_products == proof.products >= 12 * 5 + 6
    assert proof.fp32_normalisations == proof.normalisations >= 24
    # Every softmax is in a fused attention.
    assert proof.lone_softmaxes == 0


def test_scratch_memory_stays_under_its_ceiling(compiled: CompileResult) -> None:
    assert 0 < compiled.scratch_bytes < SCRATCH_CEILING_BYTES


def test_the_plan_holds_fp16_weights(compiled: CompileResult, papers_network: Path) -> None:
    assert compiled.plan_bytes < 1.2 * papers_network.stat().st_size


def test_the_same_network_gives_the_same_plan(exported: ExportedModel) -> None:
    path = exported.path_of("fp16")
    plans = [
        build_plan(
            tensorrt_rtx,
            path,
            EngineOptions(),
            TensorRTLog(),
            compute_capabilities=("8.6",),
            shows_progress=False,
        )
        for _ in range(2)
    ]
    assert plans[0] == plans[1]


def test_the_papers_network_is_made_of_what_tensorrt_10_3_reads(papers_network: Path) -> None:
    check_operators(papers_network)


def test_an_fp32_file_does_not_pass_for_fp16(exported: ExportedModel) -> None:
    proof = compile_without_gpu(exported.path_of("fp32"), "8.6").proof
    assert proof.fp16_products == 0
    with pytest.raises(ModelError, match="matrix products are not FP16"):
        check_is_fp16(proof)


def test_a_network_all_in_fp16_does_not_pass(exported: ExportedModel, tmp_path: Path) -> None:
    write_naive_half(exported.path_of("fp32"), tmp_path / "naive.onnx")
    proof = compile_without_gpu(tmp_path / "naive.onnx", "8.6").proof
    with pytest.raises(ModelError, match="normalisations are not FP32"):
        check_is_fp16(proof)


def model_of(nodes: str, *, inputs: str, opset: int = 18, domains: str = "") -> bytes:
    text = f"""<ir_version: 9, opset_import: ["" : {opset}{domains}]>
    graph ({inputs}) => (float[N,4] y) {{ {nodes} }}"""
    return bytes(onnx.parser.parse_model(text).SerializeToString())


@pytest.mark.parametrize(
    ("nodes", "inputs", "message"),
    [
        ("y = Add(tiles, b)", "float16[N,4] tiles, float[N,4] b", "same input type"),
        (
            "y = LayerNormalization <axis = -1> (tiles, g)",
            "float[N,4] tiles, float16[4] g",
            "must have same|type",
        ),
        ("y = Unique(tiles)", "float[N,4] tiles", "Unique"),
    ],
)
def test_a_graph_that_must_fail_does(nodes: str, inputs: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.onnx"
    path.write_bytes(model_of(nodes, inputs=inputs))
    with pytest.raises(ModelError, match=message):
        compile_without_gpu(path, "8.6")


def test_bytes_that_are_no_network_are_refused(tmp_path: Path) -> None:
    (tmp_path / "none.onnx").write_bytes(b"no network")
    with pytest.raises(ModelError, match="cannot read"):
        compile_without_gpu(tmp_path / "none.onnx", "8.6")


def test_a_gpu_that_it_cannot_compile_for_is_refused(exported: ExportedModel) -> None:
    with pytest.raises(OptionError, match="compute capability 8.7: .*no ComputeCapability.SM87"):
        compile_without_gpu(exported.path_of("fp16"), "8.7")


@pytest.mark.parametrize(
    ("nodes", "opset", "domains", "message"),
    [
        ("y = Unique(tiles)", 18, "", "operator Unique"),
        ("y = Identity(tiles)", 23, "", "opset 23, above 20"),
        ('y = com.acme.Own(tiles)', 18, ', "com.acme" : 1', "operator domain com.acme"),
    ],
)  # fmt: skip
def test_what_tensorrt_10_3_does_not_read_is_named(
    nodes: str, opset: int, domains: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "wrong.onnx"
    path.write_bytes(model_of(nodes, inputs="float[N,4] tiles", opset=opset, domains=domains))
    with pytest.raises(ModelError, match=message):
        check_operators(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precision": "int8"}, "expected fp16 or fp32"),
        ({"builder_level": 6}, "expected 0 to 5"),
        ({"workspace_mib": -1}, "expected 0 or more"),
        ({"best_batch": 17}, "17 at best and 16 at most"),
    ],
)
def test_builder_options_are_checked(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        EngineOptions(**changes)


def inspected(product: str, norm: str, softmax: str) -> str:
    """The inspector's JSON for three layers, in the words of different versions."""
    layers = [
        f'{{"Name": "a", "LayerType": "gemm", "Inputs": [{{"Format/Datatype": "{product}"}}], '
        '"Outputs": [], "Metadata": "[ONNX Layer: multiply]"}',
        f'{{"Name": "b", "LayerType": "kgen", "Inputs": [{{"Datatype": "{norm}"}}], "Outputs": '
        '[{"Datatype": "Half"}], "Metadata": "[ONNX Layer: norm]\\u001e[ONNX Layer: cast]"}',
        f'{{"Name": "c", "LayerType": "kgen", "Inputs": [{{"Datatype": "{softmax}"}}], '
        '"Outputs": [], "Metadata": "[ONNX Layer: softmax]"}',
    ]
    return f'{{"Layers": [{", ".join(layers)}], "Bindings": []}}'


ROLES = NodeRoles(
    products=frozenset({"multiply"}),
    normalisations=frozenset({"norm"}),
    softmaxes=frozenset({"softmax"}),
)


@pytest.mark.parametrize("half", ["Half", "Row major linear FP16 format"])
def test_the_inspectors_layers_prove_the_same(half: str) -> None:
    proof = prove(layers_of_inspector(inspected(half, "Float", "Float")), ROLES)
    assert proof == PrecisionProof(
        products=1,
        fp16_products=1,
        normalisations=1,
        fp32_normalisations=1,
        attentions=1,
        fused_attentions=0,
        lone_softmaxes=1,
        fp32_softmaxes=1,
    )
    check_is_fp16(proof)


@pytest.mark.parametrize(
    ("precisions", "message"),
    [
        (("Float", "Float", "Float"), "products are not FP16"),
        (("Half", "Half", "Float"), "normalisations are not FP32"),
        (("Half", "Float", "Half"), "softmaxes are not FP32"),
    ],
)
def test_each_wrong_precision_is_found(precisions: tuple[str, str, str], message: str) -> None:
    proof = prove(layers_of_inspector(inspected(*precisions)), ROLES)
    with pytest.raises(ModelError, match=message):
        check_is_fp16(proof)


def test_a_node_in_no_layer_is_not_proven() -> None:
    text = inspected("Half", "Float", "Float").replace("[ONNX Layer: softmax]", "")
    with pytest.raises(ModelError, match="do not say which .*softmax"):
        prove(layers_of_inspector(text), ROLES)


def test_a_dynamic_layer_that_tells_of_its_weights_alone_is_proven_by_them() -> None:
    unknown = "N/A due to dynamic shapes"
    for weights, fp16_products in (("Half", 1), ("Float", 0), ("", 0)):
        text = inspected(unknown, "Float", "Float").replace(
            '"Outputs": [], "Metadata": "[ONNX Layer: multiply]"',
            f'"Outputs": [], "Weights": {{"Type": "{weights}"}}, '
            '"Metadata": "[ONNX Layer: multiply]"',
        )
        assert prove(layers_of_inspector(text), ROLES).fp16_products == fp16_products


def test_an_fp32_product_beside_which_fp16_comes_in_is_no_fp16_product() -> None:
    text = inspected("Half", "Float", "Float").replace(
        '"Outputs": [], "Metadata": "[ONNX Layer: multiply]"',
        '"Outputs": [], "Constants": [{"Dimensions": [4, 4], "Datatype": "Float"}], '
        '"Metadata": "[ONNX Layer: multiply]"',
    )
    assert prove(layers_of_inspector(text), ROLES).fp16_products == 0


def test_an_engine_that_tells_names_alone_proves_nothing() -> None:
    with pytest.raises(ModelError, match="without detailed profiling verbosity"):
        layers_of_inspector('{"Layers": ["a", "b"]}')


def test_layers_that_name_no_nodes_prove_nothing() -> None:
    text = inspected("Half", "Float", "Float").replace("ONNX Layer", "Other")
    with pytest.raises(ModelError, match="do not say which .* multiply, norm, softmax"):
        prove(layers_of_inspector(text), ROLES)


def test_bytes_of_weights_are_not_needed_to_read_roles(exported: ExportedModel) -> None:
    roles = NodeRoles.of(exported.path_of("fp16"))
    assert len(roles.softmaxes) == SHALLOW_LAYERS[-1]
    assert np.intersect1d(list(roles.products), list(roles.softmaxes)).size == 0
