"""The pass that makes FP16 visible on a CPU.

ONNX Runtime and OpenVINO compute FP16 graphs in FP32 on a CPU, so that an overflow which a GPU
would show stays hidden. Here every operation's FP16 result is rounded to FP16 at once: FP32
accumulation, one rounding an operation. Fused kernels round less often; whether a GPU's products
accumulate in FP32 too is TensorRT's choice, and for a run on one to show.
"""

from typing import Any

from runtime.extras import require

# These round nothing: their FP16 results are numbers that were rounded before.
_MOVES = frozenset(
    {
        "Reshape", "Transpose", "Slice", "Squeeze", "Unsqueeze", "Split", "Gather", "Identity",
        "Concat", "Expand", "Flatten", "Tile",
    }
)  # fmt: skip


def emulate_half(model: Any) -> int:
    """Turn an FP16 graph into an FP32 one that rounds as the FP16 one would.

    ONNX Runtime must run it: OpenVINO removes casts that come in pairs.

    Args:
        model: An `onnx_ir.Model` with types inferred, changed in place.

    Returns:
        How many operations round.
    """
    ir = require("onnx_ir")
    half, single = ir.DataType.FLOAT16, ir.DataType.FLOAT
    graph = model.graph
    for value in graph.initializers.values():
        if value.dtype == half:
            array = value.const_value.numpy().astype("float32")
            value.const_value = ir.tensor(array, name=value.name)
            value.type = ir.TensorType(single)
    rounded = 0
    for node in list(graph):
        for output in node.outputs:
            if output.dtype != half:
                continue
            output.type = ir.TensorType(single)
            if node.op_type == "Cast":
                node.attributes["to"] = ir.AttrInt64("to", int(single))
            if node.op_type in _MOVES:
                continue
            rounded += 1
            _round(ir, graph, node, output)
    return rounded


def _round(ir: Any, graph: Any, node: Any, output: Any) -> None:
    down = ir.node("Cast", [output], {"to": int(ir.DataType.FLOAT16)})
    up = ir.node("Cast", [down.outputs[0]], {"to": int(ir.DataType.FLOAT)})
    for cast, suffix, dtype in (
        (down, "fp16", ir.DataType.FLOAT16),
        (up, "rounded", ir.DataType.FLOAT),
    ):
        cast.outputs[0].name = f"{output.name}_{suffix}"
        cast.outputs[0].type = ir.TensorType(dtype)
        cast.outputs[0].shape = output.shape
    for user, index in list(output.uses()):
        user.replace_input_with(index, up.outputs[0])
    down.replace_input_with(0, output)
    graph.insert_after(node, [down, up])
