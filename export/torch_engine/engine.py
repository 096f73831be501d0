"""The exported network run by PyTorch: on a GPU without TensorRT, or on a CPU to try it out."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

import numpy as np
import numpy.typing as npt
import torch

from export.torch_engine.graph import OnnxGraph
from export.torch_engine.recorded import Recorded
from runtime.engines.bank_weights import BankWeights, Tensors
from runtime.engines.engine import Slots, slots_of
from runtime.errors import GpuUnavailableError, L2BTError, ModelError, OptionError

# A call's tiles run in batches of these sizes, the largest first: so a few recordings are enough
# for any number. Which sizes are best has not been measured on a GPU.
BATCH_SIZES = (8, 4, 2, 1)


class TorchEngine:
    """Runs one exported ONNX file.

    May be called from several threads; calls wait for one another.

    Args:
        onnx_path: The file; its arithmetic is what it says, FP32 without TF32.
        device: "cpu" or "gpu".
        cuda_graph: On a GPU, record each batch size at its first use, and launch it as one.
        fused: Whether PyTorch's fused kernels are taken; see `export.torch_engine.fusions`.
        batch_sizes: Of the batches, the largest first, ending with 1.

    Raises:
        OptionError: The device is unknown, there is nothing to record on it, or the sizes cannot
            be.
        GpuUnavailableError: PyTorch finds no GPU.
        ModelError: The network is not one that it knows.
    """

    def __init__(
        self,
        onnx_path: Path,
        *,
        device: str,
        cuda_graph: bool = False,
        fused: bool = True,
        batch_sizes: tuple[int, ...] = BATCH_SIZES,
    ) -> None:
        if device not in ("cpu", "gpu"):
            raise OptionError(f"device {device!r}: expected 'cpu' or 'gpu'")
        if device == "cpu" and cuda_graph:
            raise OptionError("cuda_graph belongs to device 'gpu'")
        if list(batch_sizes) != sorted(set(batch_sizes), reverse=True) or batch_sizes[-1:] != (1,):
            raise OptionError(
                f"batch_sizes are {batch_sizes}; expected falling numbers that end with 1"
            )
        if device == "gpu" and not torch.cuda.is_available():
            raise GpuUnavailableError(
                f"PyTorch {torch.__version__} finds no GPU here; install PyTorch for CUDA on a "
                "machine with one, or choose the device 'cpu'"
            )
        self._device = torch.device("cuda" if device == "gpu" else "cpu")
        self._graph: OnnxGraph | None = OnnxGraph(onnx_path, device=self._device, fused=fused)
        self._cuda_graph = cuda_graph
        self._sizes = batch_sizes
        self._recorded: dict[int, Recorded] = {}
        self._lock = Lock()
        # Filled on the host, where it is checked, and then brought to the device.
        self._host_bank = {name: value.cpu().numpy() for name, value in self._graph.bank.items()}
        self._weights = BankWeights(self._host_bank)
        self.description = (
            f"pytorch {torch.__version__.split('+')[0]} {device} {self._graph.precision}"
            + ("" if fused else ", operator by operator")
            + (", CUDA graph" if cuda_graph else "")
        )

    def infer(
        self, tiles: npt.NDArray[np.uint8], slots: Slots | None = None
    ) -> npt.NDArray[np.float32]:
        """(N, height, width, 3) uint8 tiles to a new (N, rows, columns) float32 array."""
        slots = slots_of(tiles, slots)
        with self._lock, _as_written():
            graph = self._open_graph()
            maps = [
                self._run(graph, tiles[start : start + size], slots[start : start + size])
                for start, size in _batches(len(tiles), self._sizes)
            ]
        return np.concatenate(maps)

    @property
    def capacity(self) -> int:
        """Slots of the bank of students."""
        return self._weights.capacity

    def fill(self, slot: int, students: Tensors) -> None:
        """Put a product's students into a slot; see `FillableEngine.fill`."""
        with self._lock:
            graph = self._open_graph()
            self._weights.fill(slot, students)
            self._upload(graph, slot)

    def clear(self, slot: int) -> None:
        """Empty a slot; see `FillableEngine.clear`."""
        with self._lock:
            graph = self._open_graph()
            self._weights.clear(slot)
            self._upload(graph, slot)

    def close(self) -> None:
        """Drop the network and its recordings; may be called twice."""
        with self._lock:
            self._recorded.clear()
            if self._graph is not None:
                self._graph.close()
                self._graph = None

    def _run(
        self, graph: OnnxGraph, tiles: npt.NDArray[np.uint8], slots: Slots
    ) -> npt.NDArray[np.float32]:
        given = (torch.from_numpy(np.ascontiguousarray(tiles)), torch.from_numpy(slots))
        if not self._cuda_graph:
            found = graph.run(*(one.to(self._device) for one in given))
            maps: npt.NDArray[np.float32] = found.cpu().numpy()
            return maps
        recorded = self._recorded.get(len(tiles)) or self._record(graph, len(tiles), *given)
        for pinned, one in zip(recorded.host_inputs, given, strict=True):
            pinned.copy_(one)
        recorded.whole()
        # The pinned memory is written anew by the next call.
        return np.array(recorded.host_found.numpy(), copy=True)

    def _record(self, graph: OnnxGraph, size: int, *given: torch.Tensor) -> Recorded:
        others = next(iter(self._recorded.values()), None)
        try:
            recorded = Recorded(
                graph.run,
                *(one.to(self._device) for one in given),
                pool=others.pool if others is not None else None,
            )
        except RuntimeError as error:
            raise ModelError(
                f"PyTorch cannot record {size} tiles as a CUDA graph ({error}); run without one: "
                "cuda_graph=False"
            ) from error
        self._recorded[size] = recorded
        return recorded

    def _upload(self, graph: OnnxGraph, slot: int) -> None:
        # In place: a recording has the addresses in it.
        for name, tensor in graph.bank.items():
            tensor[slot] = torch.from_numpy(self._host_bank[name][slot])

    def _open_graph(self) -> OnnxGraph:
        if self._graph is None:
            raise L2BTError("this engine is closed; open a new one")
        return self._graph


def open_engine(
    onnx_path: Path,
    *,
    device: str = "cpu",
    cuda_graph: bool | None = None,
    threads: int | None = None,
) -> TorchEngine:
    """Open a network as `l2bt.Detector(engine="torch")` asks for it.

    Args:
        onnx_path: The exported file.
        device: "cpu" or "gpu".
        cuda_graph: Whether batches are recorded; by default on a GPU.
        threads: CPU threads of all that PyTorch does in this process; its own choice by default.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    return TorchEngine(
        onnx_path, device=device, cuda_graph=device == "gpu" if cuda_graph is None else cuda_graph
    )


def _batches(count: int, sizes: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """Starts and sizes of the batches of so many tiles."""
    start = 0
    for size in sizes:
        while count - start >= size:
            yield start, size
            start += size


@contextmanager
def _as_written() -> Iterator[None]:
    """Products in the precision that the file names, whatever the program allows elsewhere.

    PyTorch may take FP32 for TF32, and add up FP16 products in FP16.
    """
    settings = torch.backends.cuda.matmul
    before = (settings.allow_tf32, settings.allow_fp16_reduced_precision_reduction)
    settings.allow_tf32, settings.allow_fp16_reduced_precision_reduction = False, False
    try:
        yield
    finally:
        settings.allow_tf32, settings.allow_fp16_reduced_precision_reduction = before
