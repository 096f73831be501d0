"""The exported network on a CPU through OpenVINO."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.engine import Slots, slots_of
from runtime.errors import ModelError, OptionError
from runtime.exported_model import INPUT_NAME, OUTPUT_NAME, PRODUCT_NAME
from runtime.extras import require

PRECISIONS = ("f32", "bf16")
# Measured on two cores, 1, 2, 3, 4, 6, 12 tiles at once: 402, 401, 403, 405, 408, 412 ms a tile. So
# one, since more cost memory for their activations.
TILES_AT_ONCE = 1


class OpenVINOEngine:
    """Runs the fused ONNX on the CPU.

    Args:
        onnx_path: The exported network.
        precision: "f32", or "bf16" on a CPU that computes in bfloat16. OpenVINO's own default
            differs from CPU to CPU; here it is always chosen and checked.
        threads: CPU threads; all cores by default.

    Raises:
        OptionError: The precision is unknown, or this CPU does not have it.
        ModelError: OpenVINO cannot read the network.
    """

    def __init__(
        self, onnx_path: Path, *, precision: str = "f32", threads: int | None = None
    ) -> None:
        if precision not in PRECISIONS:
            raise OptionError(
                f"precision {precision!r}: on the CPU there is {' and '.join(PRECISIONS)}"
            )
        openvino: Any = require("openvino")
        core = openvino.Core()
        if precision == "bf16":
            capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
            if "BF16" not in capabilities:
                raise OptionError(
                    f"this CPU does not compute in bf16 (it has {', '.join(capabilities)}); use f32"
                )
        settings: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": precision,
            "PERFORMANCE_HINT": "LATENCY",
        }
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = threads
        try:
            self._network = core.compile_model(str(onnx_path), "CPU", settings)
        except RuntimeError as error:
            raise ModelError(f"OpenVINO cannot load {onnx_path}: {error}") from error
        self._request = self._network.create_infer_request()
        self.description = f"openvino cpu {precision}"

    def infer(
        self, tiles: npt.NDArray[np.uint8], slots: Slots | None = None
    ) -> npt.NDArray[np.float32]:
        """(N, S, S, 3) uint8 tiles to a new (N, S/patch, S/patch) float32 array."""
        slots = slots_of(tiles, slots)
        patch_maps = []
        for start in range(0, len(tiles), TILES_AT_ONCE):
            part = slice(start, start + TILES_AT_ONCE)
            outputs = self._request.infer({INPUT_NAME: tiles[part], PRODUCT_NAME: slots[part]})
            # The request's output buffer is overwritten by its next call.
            patch_maps.append(np.array(outputs[OUTPUT_NAME], dtype=np.float32, copy=True))
        return np.concatenate(patch_maps)

    def close(self) -> None:
        """Release the compiled network."""
        del self._request, self._network
