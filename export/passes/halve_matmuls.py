"""The pass that computes the matrix products in FP16 and all else in FP32.

FP16 are Linear and Conv layers with their bias, the two products of attention, and GELU between two
Linears. FP32 stay what needs the range or the sum: LayerNorm, softmax, LayerScale, the residual
stream, class and register tokens, position embeddings, L2 normalisation and distances. Casts are in
the graph, so that a strongly typed TensorRT network computes exactly this.
"""

from typing import Any

from runtime.errors import ModelError
from runtime.extras import require

_LARGEST_HALF = 65504
_PRODUCTS = frozenset({"MatMul", "Gemm", "Conv"})
# Moving numbers needs no precision of its own: these follow what they move.
_MOVES = frozenset(
    {"Reshape", "Transpose", "Slice", "Squeeze", "Unsqueeze", "Split", "Gather", "Identity"}
)
_ELEMENTWISE = frozenset({"Add", "Sub", "Mul", "Div", "Erf"})
# Read sizes only, whatever the precision.
_SIZE_READERS = frozenset({"Shape", "Size"})


def halve_matmuls(model: Any) -> None:
    """Put the products of an FP32 graph into FP16, and casts where the precision changes.

    Args:
        model: An FP32 `onnx_ir.Model` with shapes and types inferred, changed in place. Its inputs
            and outputs keep their types.

    Raises:
        ModelError: A weight is too large for FP16.
    """
    half = plan_half(model.graph)
    float16 = require("onnx_ir").DataType.FLOAT16
    casts = _Casts(model.graph)
    for node in list(model.graph):
        if node.op_type in _SIZE_READERS:
            continue
        for index, value in enumerate(node.inputs):
            if value is None or not _is_float32(value):
                continue
            if node in half and value.producer() not in half:
                node.replace_input_with(index, casts.to_half(value))
            elif node not in half and value.producer() in half:
                node.replace_input_with(index, casts.to_float(value))
    for index, value in enumerate(model.graph.outputs):
        if value.producer() in half:
            model.graph.outputs[index] = casts.to_float(value, name=value.name)
    for node in half:
        for value in node.outputs:
            value.type = require("onnx_ir").TensorType(float16)
    require("onnx_ir.passes.common").RemoveUnusedNodesPass()(model)


def plan_half(graph: Any) -> set[Any]:
    """The nodes of an FP32 graph that compute in FP16."""
    half: set[Any] = set()
    constants = _constants(graph)
    for node in graph:
        if (
            node.op_type in _PRODUCTS
            or (node.op_type in _MOVES and node.inputs[0].producer() in half)
            or (node.op_type in _ELEMENTWISE and _continues(node, half, constants))
        ):
            half.add(node)
    for node in reversed(graph):
        # Weights that are chosen from a bank are chosen in FP16.
        if node.op_type in _MOVES and node.inputs[0] in constants:
            users = {user for value in node.outputs for user in value.consumers()}
            if users and users <= half:
                half.add(node)
    return half


def _constants(graph: Any) -> set[Any]:
    """Initialisers, and what is made of them by moving numbers."""
    found = set(graph.initializers.values())
    for node in graph:
        if node.op_type in _MOVES and node.inputs[0] in found:
            found.update(node.outputs)
    return found


def _continues(node: Any, half: set[Any], constant: set[Any]) -> bool:
    """Whether a node goes on with FP16 numbers: a bias, a single factor, or a part of GELU.

    A vector as a factor is LayerScale, and a sum with something that is not FP16 the residual
    stream: both are FP32.
    """
    computed = [value for value in node.inputs if value not in constant]
    constants = [value for value in node.inputs if value in constant]
    if not computed or any(value.producer() not in half for value in computed):
        return False
    is_bias = node.op_type == "Add" and computed[0].producer().op_type in _PRODUCTS
    return is_bias or all(
        value.const_value is not None and value.const_value.size == 1 for value in constants
    )


class _Casts:
    """The casts of a graph, one a value and direction, and FP16 copies of its constants."""

    def __init__(self, graph: Any) -> None:
        self._graph = graph
        self._ir = require("onnx_ir")
        self._made: dict[tuple[Any, Any], Any] = {}

    def to_half(self, value: Any) -> Any:
        key = (value, self._ir.DataType.FLOAT16)
        if key not in self._made:
            self._made[key] = (
                self._half_constant(value)
                if value.is_initializer()
                else self._cast(*key, name=f"{value.name}_half")
            )
        return self._made[key]

    def to_float(self, value: Any, *, name: str | None = None) -> Any:
        key = (value, self._ir.DataType.FLOAT)
        if key not in self._made:
            if name is not None:
                value.name = f"{name}_half"
            self._made[key] = self._cast(*key, name=name or f"{value.name}_float")
        return self._made[key]

    def _cast(self, value: Any, dtype: Any, *, name: str) -> Any:
        node = self._ir.node("Cast", [value], {"to": int(dtype)})
        (output,) = node.outputs
        output.name, output.shape = name, value.shape
        output.type = self._ir.TensorType(dtype)
        if value.producer() is None:
            self._graph.insert_before(self._graph[0], node)
        else:
            self._graph.insert_after(value.producer(), node)
        return output

    def _half_constant(self, value: Any) -> Any:
        array = value.const_value.numpy()
        if abs(array).max(initial=0) > _LARGEST_HALF:
            raise ModelError(
                f"{value.name} holds {abs(array).max():.3g}, more than FP16 can (65,504): this "
                "network cannot be exported in FP16"
            )
        array = array.astype("float16")
        constant = self._ir.val(
            f"{value.name}_half", const_value=self._ir.tensor(array, name=f"{value.name}_half")
        )
        self._graph.register_initializer(constant)
        return constant


def _is_float32(value: Any) -> bool:
    return bool(value.dtype == require("onnx_ir").DataType.FLOAT)
