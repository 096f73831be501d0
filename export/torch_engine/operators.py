"""What each ONNX operator of an exported network is in PyTorch.

Numbers stay in the types that the file names. Shapes, axes and indices are computed on the CPU, so
that nothing waits for the device; `OnnxGraph` keeps a copy of each constant where it is needed.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from runtime.errors import ModelError

# TensorProto's numbers of types.
_TYPES = {1: torch.float32, 6: torch.int32, 7: torch.int64, 9: torch.bool, 10: torch.float16}
Operator = Callable[[list[Any], dict[str, Any]], Tensor]
"""Takes the inputs, None for one that is left out, and the attributes."""


def _plain(operator: Callable[..., Tensor]) -> Operator:
    """An operator that takes its inputs as they are, and no attributes."""
    return lambda inputs, _: operator(*inputs)


def _concat(inputs: list[Any], attributes: dict[str, Any]) -> Tensor:
    return torch.cat(inputs, attributes["axis"])


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
    data, index = inputs
    axis = attributes.get("axis", 0)
    found: Tensor = data.index_select(axis, index.reshape(-1))
    return found.reshape(*data.shape[:axis], *index.shape, *data.shape[axis + 1 :])


def _layer_norm(inputs: list[Any], attributes: dict[str, Any]) -> Tensor:
    data, weight, bias = inputs
    return functional.layer_norm(data, weight.shape, weight, bias, attributes["epsilon"])


def _conv(inputs: list[Any], attributes: dict[str, Any]) -> Tensor:
    """A convolution whose windows lie side by side, as one product of matrices.

    A library for convolutions would choose its own way and precision for it.
    """
    data, weight, bias = inputs
    channels_out, channels, rows, columns = weight.shape
    stride = (rows, columns)
    height, width = data.shape[2:]
    if (
        any(attributes["pads"])
        or attributes["group"] != 1
        or tuple(attributes["strides"]) != stride
        or (height % rows, width % columns) != (0, 0)
    ):
        raise ModelError("a convolution whose windows do not lie side by side is not known here")
    down, across = height // rows, width // columns
    windows = data.reshape(-1, channels, down, rows, across, columns).permute(0, 2, 4, 1, 3, 5)
    flat = windows.reshape(-1, down * across, channels * rows * columns)
    found = functional.linear(flat, weight.reshape(channels_out, -1), bias)
    return found.transpose(1, 2).reshape(-1, channels_out, down, across)


def _norm(inputs: list[Any], attributes: dict[str, Any]) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(
        inputs[0], dim=tuple(inputs[1].tolist()), keepdim=bool(attributes["keepdims"])
    )
    return norm


def _clip(inputs: list[Any], _: dict[str, Any]) -> Tensor:
    return inputs[0].clamp(*inputs[1:])  # type: ignore[no-any-return]


OPERATORS: dict[str, Operator] = {
    "Add": _plain(torch.add),
    "And": _plain(torch.logical_and),
    "Cast": lambda inputs, attributes: inputs[0].to(_TYPES[attributes["to"]]),
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _conv,
    "Div": _plain(torch.div),
    "Erf": _plain(torch.erf),
    "Exp": _plain(torch.exp),
    "Expand": _expand,
    "Gather": _gather,
    "GreaterOrEqual": _plain(torch.ge),
    "LayerNormalization": _layer_norm,
    "Less": _plain(torch.lt),
    "MatMul": _plain(torch.matmul),
    "Mul": _plain(torch.mul),
    "Neg": _plain(torch.neg),
    "Pow": _plain(torch.pow),
    "ReduceL2": _norm,
    "Reshape": _reshape,
    "Shape": lambda inputs, attributes: torch.tensor(
        list(inputs[0].shape)[attributes.get("start", 0) : attributes.get("end")]
    ),
    "Slice": _slice,
    "Softmax": lambda inputs, attributes: inputs[0].softmax(attributes["axis"]),
    "Squeeze": _squeeze,
    "Sub": _plain(torch.sub),
    "Transpose": lambda inputs, attributes: inputs[0].permute(attributes["perm"]),
    "Unsqueeze": _unsqueeze,
    "Where": _plain(torch.where),
}
