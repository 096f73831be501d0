"""The proof that an engine computes in the precision that its label says."""

from dataclasses import dataclass
from pathlib import Path

from runtime.engines.tensorrt.manifest import PrecisionProof
from runtime.errors import ModelError
from runtime.extras import require
from trt_engines.layers import UNKNOWN, Layer

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
        graph = (
            require("onnx", extra="tensorrt").load(str(onnx_path), load_external_data=False).graph
        )

        def named(*kinds: str) -> frozenset[str]:
            return frozenset(node.name for node in graph.node if node.op_type in kinds)

        return cls(
            products=named(*_PRODUCTS),
            normalisations=named("LayerNormalization"),
            softmaxes=named("Softmax"),
        )


def prove(layers: list[Layer], roles: NodeRoles) -> PrecisionProof:
    """Count precisions and fused attentions in an engine's layers.

    A layer that multiplies does so in FP16 if its weights are FP16 and FP16 goes in; beside it FP32
    may come in, such as the residual stream that is added in the same kernel. A layer that holds a
    LayerNorm or a softmax computes it in FP32 if FP32 goes in or out; in a strongly typed network
    nothing else can. A layer that holds a softmax and the products before and behind it is a fused
    attention.

    Args:
        layers: The compiled layers.
        roles: Of the ONNX file that they were compiled from.

    Raises:
        ModelError: A node that matters is in no layer, so nothing is proven of it.
    """
    seen = {node for layer in layers for node in layer.nodes}
    missing = sorted((roles.products | roles.normalisations | roles.softmaxes) - seen)
    if missing:
        raise ModelError(
            "the engine's layers do not say which of them compute the ONNX nodes "
            f"{', '.join(missing[:5])}{' and others' if len(missing) > 5 else ''}"
        )
    products = fp16_products = fused = lone = fp32_softmaxes = norms = fp32_norms = 0
    for layer in layers:
        nodes = set(layer.nodes)
        softmaxes = len(nodes & roles.softmaxes)
        if softmaxes and len(nodes & roles.products) >= 2:
            fused += softmaxes
        elif softmaxes:
            lone += softmaxes
            fp32_softmaxes += softmaxes if _takes_or_gives_fp32(layer) else 0
        # Kernels that only bring bytes to a product name its node as well.
        if nodes & roles.products and {"fp16", "fp32", UNKNOWN} & set(layer.inputs):
            products += 1
            fp16_products += _multiplies_in_fp16(layer)
        if nodes & roles.normalisations:
            norms += 1
            fp32_norms += _takes_or_gives_fp32(layer)
    return PrecisionProof(
        products=products,
        fp16_products=fp16_products,
        normalisations=norms,
        fp32_normalisations=fp32_norms,
        attentions=len(roles.softmaxes),
        fused_attentions=fused,
        lone_softmaxes=lone,
        fp32_softmaxes=fp32_softmaxes,
    )


def check_is_fp16(proof: PrecisionProof) -> None:
    """Refuse an engine that is not what "fp16" says.

    Raises:
        ModelError: A matrix product is not FP16, or a normalisation or softmax not FP32, or one of
            them does not tell.
    """
    wrong = []
    if not proof.products or proof.fp16_products < proof.products:
        wrong.append("matrix products are not FP16")
    if not proof.normalisations or proof.fp32_normalisations < proof.normalisations:
        wrong.append("normalisations are not FP32")
    if proof.fp32_softmaxes < proof.lone_softmaxes:
        wrong.append("softmaxes are not FP32")
    if wrong:
        raise ModelError(f"the engine is not FP16 as it should be: {', '.join(wrong)} ({proof})")


def _multiplies_in_fp16(layer: Layer) -> bool:
    weights = set(layer.weights)
    if UNKNOWN in layer.inputs:
        # A layer of a dynamic engine that tells of its weights alone.
        return weights == {"fp16"}
    return "fp16" in layer.inputs and (not weights or "fp16" in weights)


def _takes_or_gives_fp32(layer: Layer) -> bool:
    return "fp32" in (*layer.inputs, *layer.outputs)
