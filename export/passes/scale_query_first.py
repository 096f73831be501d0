"""The pass that scales the query before its product with the key.

(q k^T) / sqrt(d) overflows FP16 where a raw logit passes 65,504, although the scaled one would not.
With the scale on q alone the product is in range, and it is the form in which TensorRT looks for
attention that it can fuse.
"""

from typing import Any

from runtime.errors import ModelError
from runtime.extras import require


def scale_query_first(model: Any) -> int:
    """Move every attention's scale onto its query.

    Whatever scales q, k or their product by one number is taken out, and the product of those
    numbers is applied to q.

    Args:
        model: An `onnx_ir.Model`, changed in place.

    Returns:
        How many attentions there are.

    Raises:
        ModelError: A softmax is not fed by the product of a query and a key.
    """
    softmaxes = [node for node in model.graph if node.op_type == "Softmax"]
    for softmax in softmaxes:
        _scale_one(model.graph, softmax)
    require("onnx_ir.passes.common").RemoveUnusedNodesPass()(model)
    return len(softmaxes)


def _scale_one(graph: Any, softmax: Any) -> None:
    logits, scale = without_scale(softmax.inputs[0])
    product = logits.producer()
    if product is None or product.op_type != "MatMul":
        raise ModelError(
            f"softmax {softmax.name or softmax.outputs[0].name} is not fed by a product of query "
            "and key: this attention is of no kind that can be exported in FP16"
        )
    query, of_query = without_scale(product.inputs[0])
    key, of_key = without_scale(product.inputs[1])
    scale *= of_query * of_key
    ir = require("onnx_ir")
    name = f"{product.outputs[0].name}_scale"
    factor = ir.val(name, const_value=ir.tensor(scale, dtype=ir.DataType.FLOAT, name=name))
    graph.register_initializer(factor)
    scaled = ir.node("Mul", [query, factor])
    scaled.outputs[0].name = f"{product.outputs[0].name}_query"
    scaled.outputs[0].type = query.type
    scaled.outputs[0].shape = query.shape
    graph.insert_before(product, scaled)
    product.replace_input_with(0, scaled.outputs[0])
    product.replace_input_with(1, key)
    softmax.replace_input_with(0, logits)


def without_scale(value: Any) -> tuple[Any, float]:
    """The value before it was multiplied or divided by single numbers, and their product."""
    scale = 1.0
    while (node := value.producer()) is not None and node.op_type in ("Mul", "Div"):
        first, second = node.inputs
        if (number := _number(second)) is not None:
            value, scale = first, scale * (number if node.op_type == "Mul" else 1 / number)
        elif node.op_type == "Mul" and (number := _number(first)) is not None:
            value, scale = second, scale * number
        else:
            break
    return value, scale


def _number(value: Any) -> float | None:
    if value.const_value is None:
        return None
    array = value.const_value.numpy()
    return float(array.item()) if array.size == 1 else None
