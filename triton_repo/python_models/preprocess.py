"""Step 1 of the ensemble: an image, raw or encoded, to the engine's tiles."""

import json
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import triton_python_backend_utils as pb_utils

from runtime.client.wire import (
    ASSIGNMENT,
    ENCODED,
    IMAGE,
    IMAGE_SIZE,
    STAMPS_NS,
    CardRequest,
    decode_request,
    encode_error,
    printable,
)
from runtime.engines.network import INPUT_NAME, SLOT_NAME
from runtime.errors import BadImageError, InputError, L2BTError
from runtime.feedback.keep_settings import KeepSettings
from runtime.geometry.tile_buffer import TileBuffer
from runtime.images.decode import ImageArray, check_image, decode_image, encoded_size
from runtime.images.spool import Spool, key_of
from runtime.products.catalogue import Catalogue
from runtime.products.store.product_store import ProductStore, WrittenProducts
from runtime.records.record_settings import RecordFolder, RecordSettings
from runtime.records.recorder import leave_picture


class TritonPythonModel:
    """One request holds one image."""

    def initialize(self, args: dict[str, str]) -> None:
        """Find the products, whose cards fix the geometry."""
        cv2.setNumThreads(1)
        store = ProductStore.of(Path(args["model_repository"]).parent)
        parameters = json.loads(args["model_config"])["parameters"]
        self._products: Catalogue = store
        if "written" in parameters:
            written = json.loads(parameters["written"]["string_value"])
            self._products = WrittenProducts(
                store,
                {int(slot): sha256 for slot, sha256 in written.items()},
                advice="build the engine again with l2bt engine, and fill the repository with it",
            )
        self._tile_buffer = TileBuffer()
        keeping = KeepSettings.from_environment()
        self._spool = Spool(keeping.spool) if keeping is not None else None
        recording = RecordSettings.from_environment()
        self._pictures: Spool | None = None
        if recording is not None and recording.records is not None:
            self._pictures = Spool(RecordFolder(recording.records).spool)
        self._most_tiles = int(parameters["max_batch_tiles"]["string_value"])
        self._most_megapixels = float(parameters["max_megapixels"]["string_value"])

    def execute(self, requests: list[Any]) -> list[Any]:
        """One response a request; a bad image fails alone."""
        # Responses are sent when all are there: only a single one may use the kept memory.
        buffer = self._tile_buffer if len(requests) == 1 else None
        return [self._respond(request, buffer) for request in requests]

    def _respond(self, request: Any, buffer: TileBuffer | None) -> Any:
        try:
            return self._cut(request, buffer)
        except InputError as error:
            code, message, answer = (
                pb_utils.TritonError.INVALID_ARG,
                str(error),
                encode_error(error),
            )
        except L2BTError as error:
            # Such as students that the engine does not hold: to try again does not help.
            code, message, answer = (
                pb_utils.TritonError.UNSUPPORTED,
                str(error),
                encode_error(error),
            )
        except Exception as error:
            # The client gets a sentence; where it happened is for the server's log.
            pb_utils.Logger.log_error(f"preprocess {printable(request.request_id())}: {error!r}")
            code = pb_utils.TritonError.INTERNAL
            message = answer = "preprocess failed; the server's log says why"
        pb_utils.Logger.log_info(f"refused {printable(request.request_id())}: {message[:200]!r}")
        return _error(answer, code)

    def _check_pixels(self, height: int, width: int) -> None:
        if height * width > self._most_megapixels * 1e6:
            raise BadImageError(
                f"an image of {width} x {height} px has more than {self._most_megapixels:g} "
                "megapixels, which this server takes; send a smaller image, or fill the repository "
                "again with --max-megapixels"
            )

    def _cut(self, request: Any, buffer: TileBuffer | None) -> Any:
        arrived_ns = time.monotonic_ns()
        asked = decode_request(request.parameters())
        served = self._products.serving(asked.product)
        card = served.card
        raw, encoded = _given(request)
        # From the header, so that nothing is decoded that is refused for its size.
        height, width = raw.shape[:2] if raw is not None else encoded_size(encoded)
        self._check_pixels(height, width)
        # A request for the card alone is not about its image, whose size may be any.
        area = None if isinstance(asked, CardRequest) else card.area
        geometry = card.geometry.for_image(height, width, area=area)
        if geometry.tiles > self._most_tiles:
            raise BadImageError(
                f"an image of {width} x {height} px needs {geometry.tiles} tiles, and this "
                f"server's engine takes {self._most_tiles}; send a smaller image, or fill the "
                f"repository again with --max-batch-tiles {geometry.tiles}"
            )
        image = raw if raw is not None else decode_image(encoded)
        decoded_ns = time.monotonic_ns()
        tiles = geometry.cut(image, buffer)
        stamps_ns = np.array([arrived_ns, decoded_ns, time.monotonic_ns()], np.int64)
        if not isinstance(asked, CardRequest):
            if self._spool is not None:
                self._spool.put(key_of(stamps_ns), raw if raw is not None else encoded)
            if self._pictures is not None:
                content = None if raw is not None else encoded
                leave_picture(self._pictures, key_of(stamps_ns), image, content)
        return pb_utils.InferenceResponse(
            output_tensors=[
                pb_utils.Tensor(INPUT_NAME, np.ascontiguousarray(tiles)),
                pb_utils.Tensor(SLOT_NAME, np.full((len(tiles), 1), served.slot, np.int32)),
                pb_utils.Tensor(ASSIGNMENT, np.array([served.number], np.int64)),
                pb_utils.Tensor(IMAGE_SIZE, np.array([height, width], np.int32)),
                pb_utils.Tensor(STAMPS_NS, stamps_ns),
            ]
        )


def _given(request: Any) -> tuple[ImageArray | None, bytes]:
    """The checked pixels, or None and the bytes of a file."""
    raw = pb_utils.get_input_tensor_by_name(request, IMAGE)
    encoded = pb_utils.get_input_tensor_by_name(request, ENCODED)
    if (raw is None) == (encoded is None):
        sent = "neither" if raw is None else "both"
        raise BadImageError(
            f"the request has {sent} of the inputs '{IMAGE}' and '{ENCODED}'; send one"
        )
    if raw is not None:
        return check_image(raw.as_numpy()), b""
    return None, encoded.as_numpy()[0]


def _error(message: str, code: int) -> Any:
    return pb_utils.InferenceResponse(output_tensors=[], error=pb_utils.TritonError(message, code))
