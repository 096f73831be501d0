"""What the oldest TensorRT that is served can read: 10.3, as JetPack 6 brings it.

From the operator table of onnx-tensorrt 10.1 (docs/operators.md), which goes up to opset 20; listed
are the operators that this project's networks are made of.
"""

from pathlib import Path

from runtime.errors import ModelError
from runtime.extras import require

NEWEST_OPSET = 20
OPERATORS = frozenset(
    {
        "Add", "And", "Cast", "Clip", "Concat", "Conv", "Div", "Erf", "Exp", "Expand", "Gather",
        "Gemm", "GreaterOrEqual", "Identity", "LayerNormalization", "Less", "MatMul", "Mul", "Neg",
        "Pow", "ReduceL2", "ReduceMean", "Reshape", "Shape", "Slice", "Softmax", "Split", "Sqrt",
        "Squeeze", "Sub", "Transpose", "Unsqueeze", "Where",
    }
)  # fmt: skip


def check_operators(onnx_path: Path) -> None:
    """Refuse a network that TensorRT 10.3 would not read.

    Raises:
        ModelError: It has an operator or an operator set that is not supported; all are named.
    """
    model = require("onnx").load(str(onnx_path), load_external_data=False)
    domains = {entry.domain or "ai.onnx": entry.version for entry in model.opset_import}
    problems = [f"operator domain {name}" for name in domains if name != "ai.onnx"]
    if domains.get("ai.onnx", 0) > NEWEST_OPSET:
        problems.append(f"opset {domains['ai.onnx']}, above {NEWEST_OPSET}")
    unknown = {node.op_type for node in model.graph.node} - OPERATORS
    problems += [f"operator {name}" for name in sorted(unknown)]
    if problems:
        raise ModelError(f"TensorRT 10.3 does not read {onnx_path}: {', '.join(problems)}")
