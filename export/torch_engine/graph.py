"""An exported ONNX file as steps of PyTorch, in the types that the file names."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from export.torch_engine.fusions import FUSED, Node, fuse
from export.torch_engine.operators import OPERATORS, Operator
from runtime.engines.bank_weights import PREFIX
from runtime.engines.network import INPUT_NAME, OUTPUT_NAME, SLOT_NAME
from runtime.errors import ModelError
from runtime.extras import require

# These give what their first input is, whatever tells them how.
_BY_FIRST_INPUT = frozenset(
    {"Cast", "Expand", "ReduceL2", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"}
)
_COPY = " on the device"


class _Step(NamedTuple):
    operator: Operator
    inputs: tuple[str, ...]
    output: str
    attributes: dict[str, Any]
    last_used: tuple[str, ...]


class OnnxGraph:
    """A graph that runs without waiting for the device, so that it can be recorded.

    Args:
        onnx_path: The file.
        device: Where its numbers are.
        fused: Whether `export.torch_engine.fusions` are made; without them each operator of the
            file runs by itself and rounds as the file says.

    Attributes:
        precision: "fp16" if products are in FP16, else "fp32".
        bank: The constants that hold the students, by name; what is copied into them is what the
            next run computes with.

    Raises:
        ModelError: It cannot be read, has an operator that is not known here, or computes numbers
            from shapes on the host, which no recording can hold.
    """

    def __init__(self, onnx_path: Path, *, device: torch.device, fused: bool = True) -> None:
        onnx: Any = require("onnx")
        try:
            graph = onnx.load(str(onnx_path)).graph
        except Exception as error:
            # protobuf has errors of its own, for which there is no common name.
            raise ModelError(f"{onnx_path} cannot be read as ONNX: {error}") from error
        nodes = list(_nodes(onnx, graph, onnx_path))
        self._constants = {
            item.name: torch.from_numpy(np.array(onnx.numpy_helper.to_array(item)))
            for item in graph.initializer
        }
        halves = any(value.dtype is torch.float16 for value in self._constants.values())
        self.precision = "fp16" if halves else "fp32"
        if fused:
            nodes = fuse(nodes, self._constants)
        nodes = self._placed(nodes, device, onnx_path)
        self._steps = _with_last_uses(nodes, kept={*self._constants, OUTPUT_NAME})
        self.bank = {
            name: value for name, value in self._constants.items() if name.startswith(PREFIX)
        }

    @torch.inference_mode()
    def run(self, tiles: Tensor, slots: Tensor) -> Tensor:
        """(N, height, width, 3) uint8 tiles and (N,) int32 slots to (N, rows, columns) float32."""
        values: dict[str, Any] = {**self._constants, "": None, INPUT_NAME: tiles, SLOT_NAME: slots}
        for step in self._steps:
            inputs = [values[name] for name in step.inputs]
            values[step.output] = step.operator(inputs, step.attributes)
            del inputs
            for name in step.last_used:
                del values[name]
        maps: Tensor = values[OUTPUT_NAME]
        return maps

    def close(self) -> None:
        """Drop the weights."""
        self._constants.clear()
        self._steps = []
        self.bank = {}

    def _placed(self, nodes: list[Node], device: torch.device, path: Path) -> list[Node]:
        """Put constants where they are needed: sizes on the host, all other numbers on the device.

        A whole number may be needed on both sides, and then there are two of it.
        """
        on_host = {name for name, value in self._constants.items() if value.dtype is torch.int64}
        for name in self._constants.keys() - on_host:
            self._constants[name] = self._constants[name].to(device)
        placed = []
        for node in nodes:
            told = node.inputs[:1] if node.kind in _BY_FIRST_INPUT else node.inputs
            if node.kind == "Shape" or all(name in on_host for name in told):
                on_host.add(node.output)
                placed.append(node)
                continue
            inputs = list(node.inputs)
            for at, name in enumerate(inputs[: len(told)]):
                if name not in on_host:
                    continue
                if name not in self._constants:
                    raise ModelError(
                        f"{path} computes {name!r} from a shape, and {node.kind} {node.output!r} "
                        "takes it for numbers: such a network cannot be recorded"
                    )
                self._constants[name + _COPY] = self._constants[name].to(device)
                inputs[at] = name + _COPY
            placed.append(node._replace(inputs=tuple(inputs)))
        return placed


def _nodes(onnx: Any, graph: Any, path: Path) -> Iterable[Node]:
    for node in graph.node:
        if node.op_type not in OPERATORS:
            raise ModelError(f"the operator {node.op_type!r} of {path} is not known here")
        attributes = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
        yield Node(node.op_type, tuple(node.input), node.output[0], attributes)


def _with_last_uses(nodes: list[Node], *, kept: set[str]) -> list[_Step]:
    """Say after which step a value is needed no more, so that its memory is free for the next."""
    left = Counter(name for node in nodes for name in set(node.inputs))
    steps = []
    for node in nodes:
        left.subtract(set(node.inputs))
        done = {name for name in {*node.inputs, node.output} if not left[name]} - kept - {""}
        steps.append(
            _Step(FUSED[node.kind], node.inputs, node.output, node.attributes, tuple(done))
        )
    return steps
