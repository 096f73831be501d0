"""What a network has to compute and to move for one tile, counted from its ONNX graph.

Matrix products and convolutions are counted, a multiplication and an addition as two operations.
The rest (normalisation, softmax, GELU) is a hundredth of them, and runs at no matrix rate.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

from runtime.errors import ModelError
from runtime.extras import require

_COUNTED = ("Conv", "Gemm", "MatMul")
# What multiplies matrices too, or hides what does, and is in none of this project's networks.
_REFUSED = (
    *("Attention", "MultiHeadAttention", "FusedMatMul", "Einsum", "ConvTranspose", "ConvInteger"),
    *("MatMulInteger", "MatMulNBits", "QLinearConv", "QLinearMatMul", "LSTM", "GRU", "RNN"),
    *("If", "Loop", "Scan"),
)


@dataclass(frozen=True, kw_only=True)
class Operations:
    """For one batch of tiles.

    Attributes:
        tiles: In the batch.
        matrix_operations: Multiplications and additions of matrix products and convolutions.
        by_operator: The same by ONNX operator.
        parameter_bytes: Weights that are read; of a bank of students the slots that are asked for.
        input_bytes: Of the network's inputs.
        output_bytes: Of its outputs.
        activation_bytes: What matrix products and convolutions read and write beside the weights,
            where nothing stays in a cache between two of them.
    """

    tiles: int
    matrix_operations: int
    by_operator: dict[str, int]
    parameter_bytes: int
    input_bytes: int
    output_bytes: int
    activation_bytes: int

    @property
    def least_bytes(self) -> int:
        """What has to move in any case: weights and inputs in, outputs out, each once."""
        return self.parameter_bytes + self.input_bytes + self.output_bytes

    def in_bytes_of(self, itemsize: int) -> "Operations":
        """The same, counted from an FP32 file, where a number takes `itemsize` bytes."""
        return replace(
            self,
            parameter_bytes=self.parameter_bytes * itemsize // 4,
            activation_bytes=self.activation_bytes * itemsize // 4,
        )


def count_operations(onnx_path: Path, *, tiles: int = 1) -> Operations:
    """Count a network's operations and bytes.

    Args:
        onnx_path: The network.
        tiles: Batch size, which every open dimension of the inputs is taken for.

    Raises:
        ModelError: It has an operator that is not counted, or a shape that is not known.
        MissingExtraError: onnx is not installed.
    """
    onnx: Any = require("onnx")
    try:
        model = onnx.load(str(onnx_path))
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(f"{onnx_path} cannot be read: {error}") from error
    return _count(_Shapes(onnx, _with_batch(onnx, model, tiles), onnx_path), tiles)


class _Shapes:
    """A graph whose tensors' shapes are known."""

    def __init__(self, onnx: Any, model: Any, path: Path) -> None:
        self._path = path
        self.graph = model.graph
        self.parameters = {one.name: one for one in self.graph.initializer}
        # Where the exporter wrote shapes down, they may name an open batch.
        del self.graph.value_info[:]
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
        types = onnx.helper.tensor_dtype_to_np_dtype
        self._known: dict[str, tuple[tuple[int, ...], int]] = {
            name: (tuple(one.dims), types(one.data_type).itemsize)
            for name, one in self.parameters.items()
        }
        for value in (*inferred.input, *inferred.value_info, *inferred.output):
            tensor = value.type.tensor_type
            sizes = [dimension.dim_value for dimension in tensor.shape.dim]
            if tensor.HasField("shape") and all(sizes):
                self._known[value.name] = (tuple(sizes), types(tensor.elem_type).itemsize)

    def of(self, name: str) -> tuple[int, ...]:
        """A tensor's shape."""
        return self._find(name)[0]

    def bytes_of(self, name: str) -> int:
        """A tensor's size in bytes."""
        shape, itemsize = self._find(name)
        return prod(shape) * itemsize

    def _find(self, name: str) -> tuple[tuple[int, ...], int]:
        if name not in self._known:
            raise ModelError(
                f"the shape of {name!r} in {self._path} cannot be inferred, so its operations "
                "cannot be counted; export the product again with l2bt export"
            )
        return self._known[name]


def _count(shapes: _Shapes, tiles: int) -> Operations:
    by_operator = dict.fromkeys(_COUNTED, 0)
    activations = 0
    for node in shapes.graph.node:
        if node.op_type in _REFUSED or (node.domain not in ("", "ai.onnx")):
            raise ModelError(
                f"the network has the operator {node.op_type!r}, which is not counted; expected "
                f"{', '.join(_COUNTED)} and operators that multiply no matrices"
            )
        if node.op_type in _COUNTED:
            by_operator[node.op_type] += _operations_of(node, shapes)
            moved = (*node.input, *node.output)
            activations += sum(
                shapes.bytes_of(name) for name in moved if name and name not in shapes.parameters
            )
    inputs = [one.name for one in shapes.graph.input if one.name not in shapes.parameters]
    return Operations(
        tiles=tiles,
        matrix_operations=sum(by_operator.values()),
        by_operator=by_operator,
        parameter_bytes=sum(_parameters_read(shapes)),
        input_bytes=sum(shapes.bytes_of(name) for name in inputs),
        output_bytes=sum(shapes.bytes_of(one.name) for one in shapes.graph.output),
        activation_bytes=activations,
    )


def _operations_of(node: Any, shapes: _Shapes) -> int:
    given, weights = shapes.of(node.input[0]), shapes.of(node.input[1])
    results = prod(shapes.of(node.output[0]))
    if node.op_type == "MatMul":
        return 2 * results * given[-1]
    if node.op_type == "Gemm":
        is_transposed = any(one.name == "transA" and one.i for one in node.attribute)
        return 2 * results * given[0 if is_transposed else 1]
    # A convolution's weights are (outputs, inputs of a group, *kernel).
    return 2 * results * prod(weights[1:])


def _parameters_read(shapes: _Shapes) -> Iterator[int]:
    """Bytes of each tensor of weights, or of what is picked from it where that is all it is for."""
    users: dict[str, list[Any]] = {name: [] for name in shapes.parameters}
    for node in shapes.graph.node:
        for name in set(node.input) & set(users):
            users[name].append(node)
    for name, nodes in users.items():
        picked = [
            node for node in nodes if node.op_type in ("Gather", "Slice") and node.input[0] == name
        ]
        if nodes and len(picked) == len(nodes):
            yield min(
                shapes.bytes_of(name), sum(shapes.bytes_of(node.output[0]) for node in picked)
            )
        elif nodes:
            yield shapes.bytes_of(name)


def _with_batch(onnx: Any, model: Any, tiles: int) -> Any:
    """The model with a batch of a fixed size."""
    for value in model.graph.input:
        for dimension in value.type.tensor_type.shape.dim:
            if not dimension.dim_value:
                dimension.dim_value = tiles
    for value in model.graph.output:
        # Inferred from the inputs, and not from what the exporter wrote down.
        value.type.tensor_type.ClearField("shape")
    return model
