"""A Triton backend of the name `tensorrt` that needs no GPU: it runs the ONNX by OpenVINO.

With it the real server loads the production configuration as it is, and does everything with it
but run a plan.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from runtime.engines.network import INPUT_NAME, ONNX_NAME, OUTPUT_NAME, SLOT_NAME
from runtime.engines.openvino_engine import OpenVINOEngine


class TritonPythonModel:
    """Stands in for the TensorRT backend."""

    def initialize(self, args: dict[str, str]) -> None:
        """Refuse what the TensorRT backend would refuse, and load the ONNX beside the plan."""
        folder = Path(args["model_repository"]) / args["model_version"]
        plan = json.loads(args["model_config"])["default_model_filename"]
        if not (folder / plan).is_file():
            raise pb_utils.TritonModelException(f"{plan} is missing")
        self._engine = OpenVINOEngine(folder / ONNX_NAME)

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response a request."""
        batches = [
            pb_utils.get_input_tensor_by_name(request, INPUT_NAME).as_numpy()
            for request in requests
        ]
        slots = [
            pb_utils.get_input_tensor_by_name(request, SLOT_NAME).as_numpy() for request in requests
        ]
        # As TensorRT would: the network's input has the batch's dimension alone.
        assert all(part.ndim == 1 for part in slots), [part.shape for part in slots]
        maps = self._engine.infer(np.concatenate(batches), np.concatenate(slots))
        ends = np.cumsum([len(batch) for batch in batches])[:-1]
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor(OUTPUT_NAME, np.ascontiguousarray(part))])
            for part in np.split(maps, ends)
        ]

    def finalize(self) -> None:
        """Release the network."""
        self._engine.close()
