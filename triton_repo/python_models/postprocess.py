"""Step 3 of the ensemble: patch maps to score, verdict, regions and, if wanted, the map."""

import json
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import triton_python_backend_utils as pb_utils

from runtime.detector import judge
from runtime.errors import L2BTError
from runtime.exported_model import OUTPUT_NAME
from runtime.inspection import Inspection
from runtime.product import CARD_NAME, ProductCard
from runtime.server_interface import (
    ANOMALY_MAP,
    DETAILS,
    IMAGE_SIZE,
    REGION_COLUMNS,
    REGIONS,
    SCORE,
    STAMPS_NS,
    VERDICT,
    WANT_CARD,
    WANT_MAP,
)


class TritonPythonModel:
    """One request holds one image's patch maps."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the product's card, which holds the thresholds."""
        cv2.setNumThreads(1)
        version = Path(args["model_repository"]) / args["model_version"]
        self._card = ProductCard.read(version / CARD_NAME)
        parameters = json.loads(args["model_config"])["parameters"]
        self._engine = parameters["engine"]["string_value"]

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response a request; one that fails, fails alone."""
        return [self._respond(request) for request in requests]

    def _respond(self, request: Any) -> Any:
        try:
            return self._judge(request)
        except L2BTError as error:
            message = str(error)
        except Exception as error:
            pb_utils.Logger.log_error(f"postprocess: {error!r}")
            message = "postprocess failed; the server's log says why"
        return pb_utils.InferenceResponse(
            output_tensors=[],
            error=pb_utils.TritonError(message, pb_utils.TritonError.INTERNAL),
        )

    def _judge(self, request: Any) -> Any:
        received_ns = time.monotonic_ns()
        parameters = json.loads(request.parameters() or "{}")
        if parameters.get(WANT_CARD, False):
            # No verdict with it: the area does not apply to the image that was sent along.
            card = json.dumps({"card": self._card.to_json()})
            return pb_utils.InferenceResponse(output_tensors=[_text(DETAILS, card)])
        height, width = (int(size) for size in _input(request, IMAGE_SIZE))
        arrived_ns, decoded_ns, cut_ns = (int(stamp) for stamp in _input(request, STAMPS_NS))
        # Inside an ensemble a model cannot see which outputs the client asked for, so the request
        # says it; a client that says nothing gets the map.
        anomaly_map, score, regions = judge(
            _input(request, OUTPUT_NAME),
            self._card.geometry_of(height, width),
            self._card,
            want_map=parameters.get(WANT_MAP, True),
        )
        judged_ns = time.monotonic_ns()
        inspection = Inspection(
            product=self._card.product,
            score=score,
            threshold=self._card.threshold.image_score,
            pixel_threshold=self._card.threshold.pixel_value,
            regions=regions,
            anomaly_map=None,
            engine=self._engine + self._card.scale_note,
            transport="",
            stage_ms={
                "decode": (decoded_ns - arrived_ns) / 1e6,
                "preprocess": (cut_ns - decoded_ns) / 1e6,
                "network": (received_ns - cut_ns) / 1e6,
                "postprocess": (judged_ns - received_ns) / 1e6,
            },
        )
        table = [[getattr(region, name) for name in REGION_COLUMNS] for region in regions]
        details = {
            name: getattr(inspection, name)
            for name in ("product", "threshold", "pixel_threshold", "engine", "stage_ms")
        }
        outputs = [
            pb_utils.Tensor(SCORE, np.array([score], np.float32)),
            _text(VERDICT, inspection.verdict),
            pb_utils.Tensor(REGIONS, np.array(table, np.float64).reshape(-1, len(REGION_COLUMNS))),
            _text(DETAILS, json.dumps(details)),
        ]
        if anomaly_map is not None:
            outputs.append(pb_utils.Tensor(ANOMALY_MAP, np.ascontiguousarray(anomaly_map)))
        return pb_utils.InferenceResponse(output_tensors=outputs)


def _input(request: Any, name: str) -> Any:
    return pb_utils.get_input_tensor_by_name(request, name).as_numpy()


def _text(name: str, text: str) -> Any:
    return pb_utils.Tensor(name, np.array([text.encode()], dtype=object))
