"""The bank of students in an ONNX file, as TensorRT shall see it.

Either as constants: then the engine holds the students that were active when it was built. Or as
inputs of the network: then they are memory of the GPU that can be written between two tiles. The
weights are gathered by the tile's product in both, so the matrix products are the same.
"""

from pathlib import Path
from typing import Any

import numpy as np

from runtime.engines.bank_weights import PREFIX, BankWeights
from runtime.extras import require
from runtime.models.exported_model import ExportedModel


def write_network(
    model: ExportedModel, precision: str, path: Path, *, live: bool
) -> dict[int, str]:
    """Write the ONNX file to build an engine from.

    Args:
        model: The exported model.
        precision: "fp16" or "fp32".
        path: The file to write.
        live: Whether the bank becomes inputs.

    Returns:
        SHA-256 of the students in the file, by slot.

    Raises:
        OptionError: The model was not exported in that precision.
        ModelError: The students in its store are damaged.
    """
    source = model.path_of(precision)
    if live:
        bank_as_inputs(source, path)
        return {}
    return _bank_as_constants(model, source, path)


def bank_as_inputs(source: Path, target: Path) -> None:
    """Write an ONNX file again with its bank of students as inputs, of fixed shapes."""
    onnx: Any = require("onnx", extra="tensorrt")
    network = onnx.load(str(source))
    graph = network.graph
    for constant in _bank(graph):
        given = onnx.helper.make_tensor_value_info(constant.name, constant.data_type, constant.dims)
        graph.input.append(given)
        graph.initializer.remove(constant)
    onnx.save(network, str(target))


def _bank_as_constants(model: ExportedModel, source: Path, target: Path) -> dict[int, str]:
    onnx: Any = require("onnx", extra="tensorrt")
    network = onnx.load(str(source))
    bank = _bank(network.graph)
    tensors = {item.name: np.array(onnx.numpy_helper.to_array(item)) for item in bank}
    written = _fill(model, BankWeights(tensors))
    for constant in bank:
        constant.CopyFrom(onnx.numpy_helper.from_array(tensors[constant.name], constant.name))
    onnx.save(network, str(target))
    return written


def _bank(graph: Any) -> list[Any]:
    return [constant for constant in graph.initializer if constant.name.startswith(PREFIX)]


def _fill(model: ExportedModel, weights: BankWeights) -> dict[int, str]:
    """Put what is in the store's slots into the bank."""
    table = model.store.table()
    written = {}
    for slot in range(table.capacity):
        held = table.held(slot)
        if held is None:
            weights.clear(slot)
            continue
        weights.fill(slot, model.store.students(held.product, held.version))
        written[slot] = held.students_sha256
    return written
