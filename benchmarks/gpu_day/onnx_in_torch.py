"""An exported network executed by PyTorch, operator by operator, in the types that the file names.

No library chooses another precision here: an FP16 product is an FP16 product of the GPU. It is for
holding numbers against each other, not for speed.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from runtime.engines.engine import Slots, slots_of
from runtime.engines.network import INPUT_NAME, OUTPUT_NAME, SLOT_NAME
from runtime.errors import ModelError
from runtime.extras import require

# TensorProto's numbers of types.
_TYPES = {1: torch.float32, 6: torch.int32, 7: torch.int64, 9: torch.bool, 10: torch.float16}
_Operator = Callable[[list[Any], dict[str, Any]], Tensor]


class OnnxInTorch:
    """Runs an exported ONNX file.

    Args:
        onnx_path: The file.
        device: "cpu" or "cuda".
        words: What to call it in tables.

    Raises:
        ModelError: It has an operator that is not known here.
    """

    def __init__(self, onnx_path: Path, *, device: str, words: str = "") -> None:
        onnx: Any = require("onnx")
        graph = onnx.load(str(onnx_path)).graph
        self._device = torch.device(device)
        self._constants = {item.name: self._constant(onnx, item) for item in graph.initializer}
        self._nodes = []
        halves = 0
        for node in graph.node:
            if node.op_type not in _OPERATORS:
                raise ModelError(f"the operator {node.op_type!r} of {onnx_path} is not known here")
            attributes = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
            halves += node.op_type == "Cast" and attributes["to"] == onnx.TensorProto.FLOAT16
            self._nodes.append(
                (_OPERATORS[node.op_type], list(node.input), node.output[0], attributes)
            )
        precision = "fp16" if halves else "fp32"
        self.description = f"pytorch {device}, {precision} graph operator by operator{words}"

    @torch.inference_mode()
    def infer(
        self, tiles: npt.NDArray[np.uint8], slots: Slots | None = None
    ) -> npt.NDArray[np.float32]:
        """(N, height, width, 3) uint8 tiles to (N, rows, columns) float32 patch maps."""
        values: dict[str, Any] = dict(self._constants)
        values[""] = None
        values[INPUT_NAME] = torch.from_numpy(np.ascontiguousarray(tiles)).to(self._device)
        values[SLOT_NAME] = torch.from_numpy(slots_of(tiles, slots)).to(self._device)
        for operator, inputs, output, attributes in self._nodes:
            values[output] = operator([values[name] for name in inputs], attributes)
        maps: npt.NDArray[np.float32] = values[OUTPUT_NAME].cpu().numpy()
        return maps

    def close(self) -> None:
        """Drop the weights."""
        self._constants.clear()
        self._nodes.clear()

    def _constant(self, onnx: Any, item: Any) -> Tensor:
        tensor = torch.from_numpy(np.array(onnx.numpy_helper.to_array(item)))
        # Shapes and axes are read on the CPU, whatever the numbers are on.
        return tensor if tensor.dtype is torch.int64 else tensor.to(self._device)


def _together(operator: Callable[..., Tensor]) -> _Operator:
    """An operator on tensors of one device; a shape that is computed with is brought to it."""

    def run(inputs: list[Any], _: dict[str, Any]) -> Tensor:
        return operator(*_on_one_device(inputs))

    return run


def _on_one_device(inputs: list[Any]) -> list[Tensor]:
    device = max((one.device for one in inputs), key=lambda place: place.type != "cpu")
    return [one.to(device) for one in inputs]


def _concat(inputs: list[Any], attributes: dict[str, Any]) -> Tensor:
    return torch.cat(_on_one_device(inputs), attributes["axis"])


def _slice(inputs: list[Any], _: dict[str, Any]) -> Tensor:
    data, starts, ends = inputs[:3]
    axes = inputs[3].tolist() if len(inputs) > 3 else range(len(starts))
    steps = inputs[4].tolist() if len(inputs) > 4 else [1] * len(starts)
    index = [slice(None)] * data.dim()
    for start, end, axis, step in zip(starts.tolist(), ends.tolist(), axes, steps, strict=True):
        size = data.shape[axis]
        index[axis] = slice(max(start, -size), min(end, size), step)
    return data[tuple(index)]  # type: ignore[no-any-return]


def _reshape(inputs: list[Any], attributes: dict[str, Any]) -> Tensor:
    data, shape = inputs
    sizes = shape.tolist()
    if not attributes.get("allowzero"):
        sizes = [data.shape[at] if size == 0 else size for at, size in enumerate(sizes)]
    return data.reshape(sizes)  # type: ignore[no-any-return]


def _expand(inputs: list[Any], _: dict[str, Any]) -> Tensor:
    data, shape = inputs
    sizes = torch.broadcast_shapes(data.shape, shape.tolist())  # type: ignore[no-untyped-call]
    return data.expand(sizes)  # type: ignore[no-any-return]


def _squeeze(inputs: list[Any], _: dict[str, Any]) -> Tensor:
    return inputs[0].squeeze(inputs[1].tolist())  # type: ignore[no-any-return]


def _unsqueeze(inputs: list[Any], _: dict[str, Any]) -> Tensor:
    data = inputs[0]
    for axis in sorted(inputs[1].reshape(-1).tolist()):
        data = data.unsqueeze(axis)
    return data  # type: ignore[no-any-return]


def _gather(inputs: list[Any], attributes: dict[str, Any]) -> Tensor:
    data, index = _on_one_device(inputs)
    axis = attributes.get("axis", 0)
    found = data.index_select(axis, index.reshape(-1))
    return found.reshape(*data.shape[:axis], *index.shape, *data.shape[axis + 1 :])


def _layer_norm(inputs: list[Any], attributes: dict[str, Any]) -> Tensor:
    data, weight, bias = inputs
    return functional.layer_norm(data, weight.shape, weight, bias, attributes["epsilon"])


def _conv(inputs: list[Any], attributes: dict[str, Any]) -> Tensor:
    if any(attributes["pads"]) or attributes["group"] != 1:
        raise ModelError("a convolution with padding or groups is not known here")
    data, weight, bias = inputs
    return functional.conv2d(data, weight, bias, stride=tuple(attributes["strides"]))


def _norm(inputs: list[Any], attributes: dict[str, Any]) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(
        inputs[0], dim=tuple(inputs[1].tolist()), keepdim=bool(attributes["keepdims"])
    )
    return norm


def _clip(inputs: list[Any], _: dict[str, Any]) -> Tensor:
    return inputs[0].clamp(*inputs[1:])  # type: ignore[no-any-return]


_OPERATORS: dict[str, _Operator] = {
    "Add": _together(torch.add),
    "And": _together(torch.logical_and),
    "Cast": lambda inputs, attributes: inputs[0].to(_TYPES[attributes["to"]]),
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _conv,
    "Div": _together(torch.div),
    "Erf": _together(torch.erf),
    "Exp": _together(torch.exp),
    "Expand": _expand,
    "Gather": _gather,
    "GreaterOrEqual": _together(torch.ge),
    "LayerNormalization": _layer_norm,
    "Less": _together(torch.lt),
    "MatMul": _together(torch.matmul),
    "Mul": _together(torch.mul),
    "Neg": _together(torch.neg),
    "Pow": _together(torch.pow),
    "ReduceL2": _norm,
    "Reshape": _reshape,
    "Shape": lambda inputs, attributes: torch.tensor(
        list(inputs[0].shape)[attributes.get("start", 0) : attributes.get("end")]
    ),
    "Slice": _slice,
    "Softmax": lambda inputs, attributes: inputs[0].softmax(attributes["axis"]),
    "Squeeze": _squeeze,
    "Sub": _together(torch.sub),
    "Transpose": lambda inputs, attributes: inputs[0].permute(attributes["perm"]),
    "Unsqueeze": _unsqueeze,
    "Where": _together(torch.where),
}
