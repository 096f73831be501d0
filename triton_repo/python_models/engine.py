"""Step 2 without a GPU: the same tensors as the TensorRT engine, the same ONNX by OpenVINO."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from runtime.exported_model import INPUT_NAME, ONNX_NAME, OUTPUT_NAME, PRODUCT_NAME
from runtime.openvino_engine import OpenVINOEngine


class TritonPythonModel:
    """Runs the tiles of all requests of a dynamic batch together."""

    def initialize(self, args: dict[str, str]) -> None:
        """Compile the network for the precision and threads of the configuration."""
        parameters = json.loads(args["model_config"])["parameters"]
        threads = int(parameters["threads"]["string_value"])
        self._engine = OpenVINOEngine(
            Path(args["model_repository"]) / args["model_version"] / ONNX_NAME,
            precision=parameters["precision"]["string_value"],
            threads=threads or None,
        )
        pb_utils.Logger.log_info(f"engine: {self._engine.description}, {threads or 'all'} threads")

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response a request, in order."""
        batches = [_input(request, INPUT_NAME) for request in requests]
        tiles = batches[0] if len(batches) == 1 else np.concatenate(batches)
        slots = np.concatenate([_input(request, PRODUCT_NAME).reshape(-1) for request in requests])
        try:
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

    def finalize(self) -> None:
        """Release the network."""
        self._engine.close()


def _input(request: Any, name: str) -> Any:
    return pb_utils.get_input_tensor_by_name(request, name).as_numpy()
