"""An FP16 network on a CPU, rounded as FP16 hardware rounds."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from export.passes.emulate_half import emulate_half
from runtime.engines.engine import Slots, slots_of
from runtime.engines.network import INPUT_NAME, OUTPUT_NAME, SLOT_NAME
from runtime.errors import ModelError
from runtime.extras import require


class EmulatedHalfEngine:
    """Runs an FP16 ONNX file in ONNX Runtime with each FP16 result rounded to FP16.

    Overflow and loss of digits show as on a GPU; speed does not.

    Args:
        onnx_path: The FP16 file.

    Raises:
        ModelError: The file computes nothing in FP16.
    """

    def __init__(self, onnx_path: Path) -> None:
        onnx, ir = require("onnx"), require("onnx_ir")
        runtime: Any = require("onnxruntime")
        inferred = onnx.shape_inference.infer_shapes(onnx.load(str(onnx_path)), strict_mode=True)
        model = ir.from_proto(inferred)
        rounded = emulate_half(model)
        if not rounded:
            raise ModelError(f"{onnx_path} computes nothing in FP16, so there is none to emulate")
        options = runtime.SessionOptions()
        options.log_severity_level = 3
        self._session = runtime.InferenceSession(
            ir.to_proto(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self.description = f"onnxruntime cpu, fp16 emulated ({rounded} operations rounded)"

    def infer(
        self, tiles: npt.NDArray[np.uint8], slots: Slots | None = None
    ) -> npt.NDArray[np.float32]:
        """(N, height, width, 3) uint8 tiles to (N, rows, columns) float32 patch maps."""
        maps = []
        for tile, slot in zip(tiles, slots_of(tiles, slots), strict=True):
            inputs = {INPUT_NAME: tile[None], SLOT_NAME: slot[None]}
            maps.append(self._session.run([OUTPUT_NAME], inputs)[0])
        return np.concatenate(maps)

    def close(self) -> None:
        """Release the session."""
        del self._session
