"""The compiled layers of an engine: the same type from a built engine and from a compile log.

A built engine is read by TensorRT's inspector, as JSON. TensorRT-RTX compiles without a GPU but
cannot load what it compiled there; its verbose log lists the same layers as text.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import Any

from runtime.errors import ModelError

UNKNOWN = "unknown"
_DATATYPES = {"half": "fp16", "fp16": "fp16", "float": "fp32", "fp32": "fp32"}
_OTHER_DATATYPES = ("uint8", "int8", "int32", "int64", "bool", "bfloat16", "bf16")
_ONNX_NODE = re.compile(r"\[ONNX Layer: ([^\]]+)\]")
_LINE = re.compile(r"^Name: (?P<name>.*?), LayerType: (?P<kind>[^,]*), Inputs: \[")
_TENSOR = re.compile(r"Dimensions: \[([^\]]*)\].*?Datatype: (\w+)")


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One compiled layer.

    Attributes:
        name: Its name.
        kind: What TensorRT calls its type, such as "gemm", "kgen" or "CaskConvolution".
        inputs: Precisions of its inputs, such as "fp16"; "unknown" where it does not tell.
        outputs: Precisions of its outputs.
        weights: Precisions of its constants of more than one number.
        nodes: The ONNX nodes that it computes.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    weights: tuple[str, ...]
    nodes: tuple[str, ...]


def layers_of_inspector(text: str) -> list[Layer]:
    """Read what `IEngineInspector.get_engine_information` gives as JSON.

    Raises:
        ModelError: It lists names alone, since the engine was not built with detailed verbosity.
    """
    layers: list[Any] = json.loads(text).get("Layers", [])
    if not layers or not all(isinstance(layer, dict) for layer in layers):
        raise ModelError(
            "the engine does not tell its layers' precisions; it was built without detailed "
            "profiling verbosity"
        )
    return [
        Layer(
            name=layer.get("Name", ""),
            kind=layer.get("LayerType", ""),
            inputs=_precisions(layer.get("Inputs", [])),
            outputs=_precisions(layer.get("Outputs", [])),
            weights=_weights(layer),
            nodes=tuple(_ONNX_NODE.findall(layer.get("Metadata", ""))),
        )
        for layer in layers
    ]


def layers_of_log(lines: Iterable[str]) -> list[Layer]:
    """Read the layers that TensorRT-RTX lists in its verbose log while it compiles."""
    found = []
    for line in lines:
        match = _LINE.match(line)
        if match is None:
            continue
        inputs, _, rest = line[match.end() :].partition("], Constants: [")
        constants, _, rest = rest.partition("], Outputs: [")
        outputs = rest.partition("], TacticName")[0]
        found.append(
            Layer(
                name=match["name"],
                kind=match["kind"],
                inputs=tuple(_precision(name) for _, name in _TENSOR.findall(inputs)),
                outputs=tuple(_precision(name) for _, name in _TENSOR.findall(outputs)),
                weights=tuple(
                    _precision(name)
                    for sizes, name in _TENSOR.findall(constants)
                    if prod(int(size) for size in sizes.split(",")) != 1
                ),
                nodes=tuple(_ONNX_NODE.findall(line)),
            )
        )
    return found


def _precisions(tensors: list[Any]) -> tuple[str, ...]:
    return tuple(
        _precision(str(tensor.get("Datatype") or tensor.get("Format/Datatype", "")))
        for tensor in tensors
    )


def _weights(layer: dict[str, Any]) -> tuple[str, ...]:
    """Some layers list constants like tensors, others have one entry for their weights."""
    constants = [one for one in layer.get("Constants", []) if prod(one.get("Dimensions", [0])) != 1]
    weights = layer.get("Weights")
    named = (str(weights["Type"]),) if isinstance(weights, dict) and weights.get("Type") else ()
    return _precisions(constants) + tuple(_precision(name) for name in named)


def _precision(text: str) -> str:
    """From "Half", "Row major linear FP16 format" and the like.

    A dynamic engine's layers may say "N/A due to dynamic shapes".
    """
    for word in re.split(r"[^A-Za-z0-9]+", text.lower()):
        if word in _DATATYPES:
            return _DATATYPES[word]
        if word in _OTHER_DATATYPES:
            return word
    return UNKNOWN
