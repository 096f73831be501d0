"""The proof that an engine computes in the precision that its label says."""

from dataclasses import dataclass
from pathlib import Path

from runtime.engine_manifest import PrecisionProof
from runtime.errors import ModelError
from runtime.extras import require
from trt_engines.layers import Layer

_PRODUCTS = frozenset({"MatMul", "Gemm", "Conv"})


@dataclass(frozen=True, kw_only=True)
class NodeRoles:
    """The ONNX nodes that matter for precision, by name.

    Attributes:
        products: MatMul, Gemm and Conv.
        normalisations: LayerNormalization.
        softmaxes: Softmax.
    """

    products: frozenset[str]
    normalisations: frozenset[str]
    softmaxes: frozenset[str]

    @classmethod
    def of(cls, onnx_path: Path) -> "NodeRoles":
        """Read them from an ONNX file."""
        graph = require("onnx").load(str(onnx_path), load_external_data=False).graph

        def named(*kinds: str) -> frozenset[str]:
            return frozenset(node.name for node in graph.node if node.op_type in kinds)

        return cls(
            products=named(*_PRODUCTS),
            normalisations=named("LayerNormalization"),
            softmaxes=named("Softmax"),
        )


def prove(layers: list[Layer], roles: NodeRoles) -> PrecisionProof:
    """Count precisions and fused attentions in an engine's layers.

    A layer that holds a softmax and the products before and behind it is a fused attention. The
    softmax in it has no tensor of its own; the graph gives it FP32, and a strongly typed network
    keeps to its graph. Elsewhere a softmax or LayerNorm is FP32 where an FP32 tensor goes in or
    out.

    Args:
        layers: The compiled layers.
        roles: Of the ONNX file that they were compiled from.

    Raises:
        ModelError: The layers name no ONNX nodes, so nothing can be proven.
    """
    if not any(layer.nodes for layer in layers):
        raise ModelError("the engine's layers do not say which ONNX nodes they compute")
    products = fp16_products = fused = softmaxes = fp32_softmaxes = norms = fp32_norms = 0
    for layer in layers:
        nodes = set(layer.nodes)
        here = len(nodes & roles.softmaxes)
        # Kernels that only bring bytes to a product name its node as well.
        is_product = bool(nodes & roles.products) and bool({"fp16", "fp32"} & set(layer.inputs))
        is_fused = bool(here and len(nodes & roles.products) >= 2)
        if is_product:
            products += 1
            # The residual stream may come in beside, in FP32, to be added in the same kernel.
            fp16_products += "fp16" in layer.inputs
        fused += here if is_fused else 0
        softmaxes += here
        fp32_softmaxes += here if is_fused or _computes_in_fp32(layer) else 0
        if nodes & roles.normalisations:
            norms += 1
            fp32_norms += _computes_in_fp32(layer)
    return PrecisionProof(
        products=products,
        fp16_products=fp16_products,
        normalisations=norms,
        fp32_normalisations=fp32_norms,
        softmaxes=softmaxes,
        fp32_softmaxes=fp32_softmaxes,
        fused_attentions=fused,
        attentions=len(roles.softmaxes),
    )


def check_is_fp16(proof: PrecisionProof) -> None:
    """Refuse an engine that is not what "fp16" says.

    Raises:
        ModelError: A matrix product is not FP16, or a normalisation or softmax not FP32.
    """
    wrong = []
    if not proof.products or proof.fp16_products < proof.products:
        wrong.append("matrix products are not FP16")
    if not proof.normalisations or proof.fp32_normalisations < proof.normalisations:
        wrong.append("normalisations are not FP32")
    if proof.fp32_softmaxes < proof.softmaxes:
        wrong.append("softmaxes are not FP32")
    if wrong:
        raise ModelError(f"the engine is not FP16 as it should be: {', '.join(wrong)} ({proof})")


def _computes_in_fp32(layer: Layer) -> bool:
    return "fp32" in (*layer.inputs, *layer.outputs)
