"""The pass that a careless export would be: all arithmetic in FP16, attention scaled last."""

from typing import Any

import numpy as np

from export.passes.scale_query_first import without_scale
from runtime.extras import require


def halve_everything(model: Any) -> None:
    """Put a whole FP32 graph into FP16 as PyTorch's `half()` would, with FP32 at the boundary.

    Args:
        model: An FP32 `onnx_ir.Model` with types inferred, changed in place.
    """
    ir = require("onnx_ir")
    half, single = ir.DataType.FLOAT16, ir.DataType.FLOAT
    graph = model.graph
    for softmax in [node for node in graph if node.op_type == "Softmax"]:
        _scale_last(ir, graph, softmax)
    for value in graph.initializers.values():
        if value.dtype == single:
            with np.errstate(over="ignore"):
                array = value.const_value.numpy().astype("float16")
            value.const_value = ir.tensor(array, name=value.name)
            value.type = ir.TensorType(half)
    for node in graph:
        if node.op_type == "Cast" and node.attributes["to"].value == int(single):
            node.attributes["to"] = ir.AttrInt64("to", int(half))
        for output in node.outputs:
            if output.dtype == single:
                output.type = ir.TensorType(half)
    for index, value in enumerate(graph.outputs):
        if value.dtype == half:
            cast = ir.node("Cast", [value], {"to": int(single)})
            cast.outputs[0].name, value.name = value.name, f"{value.name}_half"
            cast.outputs[0].shape, cast.outputs[0].type = value.shape, ir.TensorType(single)
            graph.append(cast)
            graph.outputs[index] = cast.outputs[0]
    require("onnx_ir.passes.common").RemoveUnusedNodesPass()(model)


def _scale_last(ir: Any, graph: Any, softmax: Any) -> None:
    logits, scale = without_scale(softmax.inputs[0])
    product = logits.producer()
    for index in (0, 1):
        value, factor = without_scale(product.inputs[index])
        product.replace_input_with(index, value)
        scale *= factor
    name = f"{logits.name}_scale"
    number = ir.val(name, const_value=ir.tensor(float(scale), dtype=ir.DataType.FLOAT, name=name))
    graph.register_initializer(number)
    scaled = ir.node("Mul", [logits, number])
    scaled.outputs[0].name, scaled.outputs[0].type = f"{logits.name}_scaled", logits.type
    scaled.outputs[0].shape = logits.shape
    graph.insert_before(softmax, scaled)
    softmax.replace_input_with(0, scaled.outputs[0])
