"""The check that an FP16 graph is FP16 where it shall be, and nowhere else."""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

from runtime.errors import ModelError
from runtime.extras import require

_PRODUCTS = ("MatMul", "Gemm", "Conv")
_FP32_ONLY = ("Softmax", "LayerNormalization", "ReduceL2", "ReduceMean", "Concat", "Sub", "Where")


@dataclass(frozen=True, kw_only=True)
class PrecisionCounts:
    """How many operations compute in which precision.

    Attributes:
        fp16_products: MatMul, Gemm and Conv in FP16: all of them.
        fp32_normalisations: LayerNorm and L2 normalisations in FP32.
        fp32_softmaxes: Softmaxes in FP32.
        casts: Changes of precision.
    """

    fp16_products: int
    fp32_normalisations: int
    fp32_softmaxes: int
    casts: int

    def __str__(self) -> str:
        return (
            f"{self.fp16_products} matrix products in FP16; {self.fp32_normalisations} "
            f"normalisations and {self.fp32_softmaxes} softmaxes in FP32"
        )


def check_precision(model: Any) -> PrecisionCounts:
    """Infer all types anew and compare them with what `halve_matmuls` promises.

    Args:
        model: An `onnx.ModelProto`.

    Raises:
        ModelError: An operation has another precision than it should; the message names it.
    """
    onnx = require("onnx")
    del model.graph.value_info[:]
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    half, single = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    types = {
        value.name: value.type.tensor_type.elem_type
        for value in (*inferred.input, *inferred.output, *inferred.value_info)
    }
    types |= {tensor.name: tensor.data_type for tensor in inferred.initializer}
    wrong = []
    found: Counter[str] = Counter()
    for node in inferred.node:
        found[node.op_type] += 1
        type_ = types.get(node.output[0])
        if type_ not in (half, single):
            continue
        name = node.name or node.output[0]
        if node.op_type in _PRODUCTS and type_ != half:
            wrong.append(f"{node.op_type} {name} is not FP16")
        if node.op_type in _FP32_ONLY and type_ != single:
            wrong.append(f"{node.op_type} {name} is not FP32")
    wrong += [f"{name} in FP16" for name in _halved_sums(inferred, types, half)]
    wrong += [f"softmax {name} is fed by a scaled product" for name in _scaled_last(inferred)]
    for value in (*inferred.input, *inferred.output):
        if types[value.name] == half:
            wrong.append(f"{value.name} is FP16 at the boundary")
    if wrong:
        raise ModelError("the FP16 graph is not what it should be: " + "; ".join(wrong[:5]))
    return PrecisionCounts(
        fp16_products=sum(found[name] for name in _PRODUCTS),
        fp32_normalisations=found["LayerNormalization"] + found["ReduceL2"],
        fp32_softmaxes=found["Softmax"],
        casts=found["Cast"],
    )


def _halved_sums(graph: Any, types: dict[str, int], half: int) -> list[str]:
    """LayerScale and sums of the residual stream that are FP16; biases and GELU may be."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    producers = {name: node for node in graph.node for name in node.output}
    found = []
    for node in graph.node:
        if types.get(node.output[0]) != half:
            continue
        given = [name for name in node.input if name in constants]
        computed = [name for name in node.input if name not in constants]
        if node.op_type == "Mul" and any(_numbers(constants[name]) > 1 for name in given):
            found.append(f"LayerScale {node.name}")
        before = {producers[name].op_type for name in computed if name in producers}
        if node.op_type == "Add" and len(computed) == 2 and not before & {*_PRODUCTS, "Gather"}:
            found.append(f"residual sum {node.name}")
    return found


def _numbers(tensor: Any) -> int:
    return math.prod(tensor.dims)


def _scaled_last(graph: Any) -> list[str]:
    """Softmaxes before which the product of query and key, and not the query, is scaled."""
    producers = {name: node for node in graph.node for name in node.output}
    found = []
    for node in graph.node:
        before = producers.get(node.input[0]) if node.op_type == "Softmax" else None
        if before is not None and before.op_type == "Cast":
            before = producers.get(before.input[0])
        if before is not None and before.op_type in ("Mul", "Div"):
            found.append(node.name)
    return found
