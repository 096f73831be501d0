"""The exported network on a CPU through OpenVINO."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.engines.bank_weights import PREFIX, BankWeights, Tensors
from runtime.engines.engine import Slots, slots_of, spelled
from runtime.engines.fair_lock import FairLock
from runtime.engines.network import INPUT_NAME, OUTPUT_NAME, SLOT_NAME
from runtime.errors import ModelError, OptionError
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
        streams: Calls of `infer` that run at the same time, each with its share of the threads:
            one call takes longer, and together they waste less by waiting for each other's threads.

    Raises:
        OptionError: The precision is unknown, this CPU does not have it, or the streams cannot be.
        ModelError: OpenVINO cannot read the network.
    """

    def __init__(
        self,
        onnx_path: Path,
        *,
        precision: str = "f32",
        threads: int | None = None,
        streams: int = 1,
    ) -> None:
        precision = spelled(precision, PRECISIONS)
        if precision not in PRECISIONS:
            raise OptionError(
                f"precision {precision!r}: on the CPU there is {' and '.join(PRECISIONS)}"
            )
        if streams < 1 or (threads is not None and streams > threads):
            limit = f", at most as many as threads ({threads})" if threads is not None else ""
            raise OptionError(f"streams is {streams}; expected at least 1{limit}")
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
            "NUM_STREAMS": streams,
            # By default the threads of every process are pinned to the same first cores.
            "ENABLE_CPU_PINNING": False,
        }
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = threads
        try:
            network = core.read_model(str(onnx_path))
            tensors = _replaceable(openvino, network)
            self._network = core.compile_model(network, "CPU", settings)
        except RuntimeError as error:
            raise ModelError(f"OpenVINO cannot load {onnx_path}: {error}") from error
        given = int(self._network.get_property("NUM_STREAMS"))
        if given != streams:
            raise OptionError(f"streams is {streams}; OpenVINO makes {given} of them on this CPU")
        self._bank = BankWeights(tensors) if tensors else None
        self._streams = streams
        # Whoever asks next for a request, or for all of them. Two that each held half of them would
        # wait for ever, and without turns one that replaces all the time would keep out the others.
        self._turn = FairLock()
        self._free: SimpleQueue[Any] = SimpleQueue()
        for _ in range(streams):
            request = self._network.create_infer_request()
            for name, tensor in tensors.items():
                # Shared: what is filled into the bank is what the next call computes with.
                request.set_tensor(name, openvino.Tensor(tensor, shared_memory=True))
            self._free.put(request)
        self.description = f"openvino cpu {precision}"

    def infer(
        self, tiles: npt.NDArray[np.uint8], slots: Slots | None = None
    ) -> npt.NDArray[np.float32]:
        """(N, height, width, 3) uint8 tiles to a new (N, rows, columns) float32 array."""
        slots = slots_of(tiles, slots)
        patch_maps = []
        for start in range(0, len(tiles), TILES_AT_ONCE):
            part = slice(start, start + TILES_AT_ONCE)
            inputs = {INPUT_NAME: tiles[part], SLOT_NAME: slots[part]}
            with self._turn:
                request = self._free.get()
            try:
                outputs = request.infer(inputs)
                # The request's output buffer is overwritten by its next call.
                patch_maps.append(np.array(outputs[OUTPUT_NAME], dtype=np.float32, copy=True))
            finally:
                self._free.put(request)
        return np.concatenate(patch_maps)

    @property
    def capacity(self) -> int:
        """Slots of the bank of students; 0 where they cannot be replaced."""
        return self._bank.capacity if self._bank is not None else 0

    def fill(self, slot: int, students: Tensors) -> None:
        """Put a product's students into a slot; see `FillableEngine.fill`."""
        with self._alone():
            self._open_bank().fill(slot, students)

    def clear(self, slot: int) -> None:
        """Empty a slot; see `FillableEngine.clear`."""
        with self._alone():
            self._open_bank().clear(slot)

    def close(self) -> None:
        """Release the compiled network."""
        del self._free, self._network

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Between two tiles: while no request runs."""
        with self._turn:
            requests = [self._free.get() for _ in range(self._streams)]
            try:
                yield
            finally:
                for request in requests:
                    self._free.put(request)

    def _open_bank(self) -> BankWeights:
        if self._bank is None:
            raise ModelError(
                "this network's students cannot be replaced while it is loaded; load the FP32 file "
                "of an export"
            )
        return self._bank


def _replaceable(openvino: Any, network: Any) -> dict[str, npt.NDArray[np.float32]]:
    """Turn the bank's constants into inputs of the network, and give what they were."""
    tensors, inputs = {}, []
    for constant in network.get_ops():
        name = constant.get_friendly_name()
        is_bank = constant.get_type_name() == "Constant" and name.startswith(PREFIX)
        # The FP16 file's are left as they are: on a CPU it is only looked at.
        if not is_bank or constant.data.dtype != np.float32:
            continue
        tensors[name] = np.array(constant.data, np.float32)
        shape = list(constant.get_output_shape(0))
        given = openvino.opset13.parameter(shape, np.float32, name=name)
        given.output(0).get_tensor().set_names({name})
        for user in list(constant.output(0).get_target_inputs()):
            user.replace_source_output(given.output(0))
        inputs.append(given)
    network.add_parameters(inputs)
    network.validate_nodes_and_infer_types()
    return tensors
