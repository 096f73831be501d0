"""Step 3 of the ensemble: patch maps to score, verdict, regions and, if wanted, the map."""

import json
import time
from pathlib import Path
from typing import Any

import cv2
import triton_python_backend_utils as pb_utils

from runtime.client.wire import (
    ASSIGNMENT,
    IMAGE_SIZE,
    STAMPS_NS,
    CardRequest,
    decode_request,
    encode_card,
    encode_error,
    encode_inspection,
    printable,
)
from runtime.engines.network import OUTPUT_NAME
from runtime.errors import L2BTError, ServerUnavailableError
from runtime.feedback.keep_settings import KeepSettings
from runtime.feedback.keeping import Keeper
from runtime.images.spool import key_of
from runtime.inspections.inspection import Inspection
from runtime.products.catalogue import ServedProduct
from runtime.products.judge import judge
from runtime.products.store.product_store import ProductStore
from runtime.records.record_settings import RecordSettings
from runtime.records.recorder import Recorder
from triton_repo.python_models.metrics import ProductMetrics


class TritonPythonModel:
    """One request holds one image's patch maps."""

    def initialize(self, args: dict[str, str]) -> None:
        """Find the products, whose cards hold the thresholds."""
        cv2.setNumThreads(1)
        self._store = ProductStore.of(Path(args["model_repository"]).parent)
        parameters = json.loads(args["model_config"])["parameters"]
        self._engine = parameters["engine"]["string_value"]
        self._metrics = ProductMetrics(pb_utils, args["model_instance_name"])
        keeping = KeepSettings.from_environment()
        self._keeper = Keeper(keeping) if keeping is not None else None
        recording = RecordSettings.from_environment()
        self._recorder = Recorder(recording) if recording is not None else None

    def finalize(self) -> None:
        """Keep what waits to be kept."""
        if self._recorder is not None:
            self._recorder.close()
        if self._keeper is not None:
            self._keeper.close()

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response a request; one that fails, fails alone."""
        return [self._respond(request) for request in requests]

    def _respond(self, request: Any) -> Any:
        try:
            return self._judge(request)
        except L2BTError as error:
            code, message = _code_of(error), encode_error(error)
        except Exception as error:
            pb_utils.Logger.log_error(f"postprocess {printable(request.request_id())}: {error!r}")
            code = pb_utils.TritonError.INTERNAL
            message = "postprocess failed; the server's log says why"
        return pb_utils.InferenceResponse(
            output_tensors=[],
            error=pb_utils.TritonError(message, code),
        )

    def _judge(self, request: Any) -> Any:
        received_ns = time.monotonic_ns()
        asked = decode_request(request.parameters())
        # By its number, not by its name: another version may have become active since, and its slot
        # may even hold other students, in which case there is no answer rather than a wrong one.
        served = self._store.assigned(int(_input(request, ASSIGNMENT)[0]))
        if served is None:
            raise ServerUnavailableError(
                "the product was retired while the request was under way; send it again"
            )
        card = served.card
        if isinstance(asked, CardRequest):
            # No verdict with it: the area does not apply to the image that was sent along.
            return _response(encode_card(card, served.version))
        height, width = (int(size) for size in _input(request, IMAGE_SIZE))
        arrived_ns, decoded_ns, cut_ns = (int(stamp) for stamp in _input(request, STAMPS_NS))
        patch_maps = _input(request, OUTPUT_NAME)
        # Inside an ensemble a model cannot see which outputs the client asked for, so the request
        # says it; a client that says nothing gets the map.
        geometry = card.geometry_of(height, width)
        judged = judge(patch_maps, geometry, card, want_map=asked.want_map)
        judged_ns = time.monotonic_ns()
        inspection = Inspection.of_judged(
            served,
            judged,
            mean_residual=float(patch_maps.mean()),
            engine=self._engine,
            transport="",
            stage_ms={
                "decode": (decoded_ns - arrived_ns) / 1e6,
                "preprocess": (cut_ns - decoded_ns) / 1e6,
                "network": (received_ns - cut_ns) / 1e6,
                "postprocess": (judged_ns - received_ns) / 1e6,
            },
        )
        has_drifted = self._count(served, inspection)
        key = key_of((arrived_ns, decoded_ns, cut_ns))
        request_id = printable(request.request_id())
        if self._keeper is not None:
            self._keeper.consider(key, request_id, inspection, has_drifted=has_drifted)
        if self._recorder is not None:
            self._recorder.record(
                key, request_id, inspection, geometry=geometry, patch_maps=patch_maps
            )
        pb_utils.Logger.log_info(
            f"answer {request_id}: {card.product} {served.version} "
            f"{inspection.verdict} {inspection.score:.6g}"
        )
        return _response(encode_inspection(inspection))

    def _count(self, served: ServedProduct, inspection: Inspection) -> bool:
        """Whether the product's drift is raised."""
        try:
            return self._metrics.count(
                served,
                inspection.score,
                inspection.mean_residual,
                current=lambda: {one.number for one in self._store.table().assignments},
            )
        except Exception as error:
            # The answer is worth more than its count.
            pb_utils.Logger.log_error(f"postprocess: metrics: {error!r}")
            return False


def _code_of(error: L2BTError) -> int:
    is_passing = isinstance(error, ServerUnavailableError)
    code: int = pb_utils.TritonError.UNAVAILABLE if is_passing else pb_utils.TritonError.INTERNAL
    return code


def _input(request: Any, name: str) -> Any:
    return pb_utils.get_input_tensor_by_name(request, name).as_numpy()


def _response(outputs: dict[str, Any]) -> Any:
    tensors = [pb_utils.Tensor(name, array) for name, array in outputs.items()]
    return pb_utils.InferenceResponse(output_tensors=tensors)
