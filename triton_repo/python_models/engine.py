"""Step 2 where Triton's TensorRT backend does not take it.

Without a GPU: the same tensors as the TensorRT engine, the same ONNX by OpenVINO. With one: a
TensorRT engine in process, whose students can be replaced while it is loaded. On either, if it is
named: the exported ONNX by PyTorch.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from runtime.engines.engine import FillableEngine
from runtime.engines.network import INPUT_NAME, ONNX_NAME, ONNX_NAMES, OUTPUT_NAME, SLOT_NAME
from runtime.engines.openvino_engine import OpenVINOEngine
from runtime.extras import from_another_room
from runtime.models.bank_filler import BankFiller
from runtime.models.exported_model import MANIFEST_NAME, Manifest
from runtime.products.store.product_store import ProductStore
from runtime.storage.json_files import read_json


class TritonPythonModel:
    """Runs the tiles of all requests of a dynamic batch together."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the network, for the device that the configuration names, and fill its bank."""
        config = json.loads(args["model_config"])
        parameters = {name: value["string_value"] for name, value in config["parameters"].items()}
        model = Path(args["model_repository"])
        version = model / args["model_version"]
        self._engine: FillableEngine
        device, library = parameters["device"], parameters.get("library", "")
        if library == "torch":
            self._engine = _open_torch(version, parameters)
        elif device == "gpu":
            self._engine = _open_tensorrt(version)
        else:
            self._engine = OpenVINOEngine(
                version / ONNX_NAME,
                precision=parameters["precision"],
                threads=int(parameters["threads"]) or None,
            )
        in_plan = device == "gpu" and library != "torch"
        written = {} if in_plan else read_json(version / MANIFEST_NAME, Manifest).written
        self._filler = BankFiller(ProductStore.of(model.parent), self._engine, written=written)
        self._update_bank()
        pb_utils.Logger.log_info(f"engine: {self._engine.description}")

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response a request, in order."""
        batches = [_input(request, INPUT_NAME) for request in requests]
        tiles = batches[0] if len(batches) == 1 else np.concatenate(batches)
        slots = np.concatenate([_input(request, SLOT_NAME).reshape(-1) for request in requests])
        try:
            # After the requests arrived, so that the bank is at least as new as what they ask for.
            self._update_bank()
            patch_maps = self._engine.infer(tiles, slots)
        except Exception as error:
            pb_utils.Logger.log_error(f"engine: {error!r}")
            failure = pb_utils.TritonError(
                "the network failed; the server's log says why", pb_utils.TritonError.INTERNAL
            )
            return [pb_utils.InferenceResponse([], error=failure) for _ in requests]
        ends = np.cumsum([len(batch) for batch in batches])[:-1]
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor(OUTPUT_NAME, np.ascontiguousarray(part))])
            for part in np.split(patch_maps, ends)
        ]

    def _update_bank(self) -> None:
        for problem in self._filler.update():
            pb_utils.Logger.log_error(f"engine: {problem}")

    def finalize(self) -> None:
        """Release the network."""
        self._engine.close()


def _open_tensorrt(version: Path) -> FillableEngine:
    from runtime.engines.tensorrt.engine import TensorRTEngine
    from runtime.models.built_engines import open_here

    return TensorRTEngine(open_here(version))


def _open_torch(version: Path, parameters: dict[str, str]) -> FillableEngine:
    engine: FillableEngine = from_another_room("torch")(
        version / ONNX_NAMES[parameters["precision"]],
        device=parameters["device"],
        # The server's environment leaves one thread to the libraries of image processing.
        threads=int(parameters["threads"]) or os.cpu_count(),
    )
    return engine


def _input(request: Any, name: str) -> Any:
    return pb_utils.get_input_tensor_by_name(request, name).as_numpy()
