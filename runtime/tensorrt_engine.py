"""The exported network on an NVIDIA GPU through a TensorRT engine, in process."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from runtime.cuda_graph import CudaGraph
from runtime.engine import Slots, slots_of
from runtime.engine_store import BuiltEngine
from runtime.errors import L2BTError, ModelError
from runtime.exported_model import INPUT_NAME, OUTPUT_NAME, PRODUCT_NAME
from runtime.extras import require
from runtime.tensorrt_library import TensorRTLog, load_tensorrt

if TYPE_CHECKING:
    import tensorrt as trt


class TensorRTEngine:
    """Runs an engine that was built for this machine.

    May be called from several threads: one thread of its own does everything that touches the GPU,
    so calls wait for one another and the CUDA context never changes hands.

    Pinned host memory and device memory for the engine's largest batch are taken once, when it is
    opened, and reused by every call until `close`. What `infer` returns is a copy, and belongs to
    the caller.

    Args:
        engine: An engine that `runtime.engine_store` found to fit.
        cuda_graph: Launch a batch size as one recorded graph from its second use on, for the first
            few sizes that come; each takes a context with activation memory of its own.

    Raises:
        GpuUnavailableError: There is no GPU.
        MissingExtraError: TensorRT or pycuda is not installed.
        ModelError: TensorRT cannot load the engine.
    """

    def __init__(self, engine: BuiltEngine, *, cuda_graph: bool = False) -> None:
        self._owner: ThreadPoolExecutor | None = ThreadPoolExecutor(1, "tensorrt")
        try:
            self._session = self._owner.submit(_Session, engine, cuda_graph).result()
        except BaseException:
            self._owner.shutdown()
            raise
        self.description = engine.manifest.description + (", CUDA graph" if cuda_graph else "")

    def infer(
        self, tiles: npt.NDArray[np.uint8], slots: Slots | None = None
    ) -> npt.NDArray[np.float32]:
        """(N, S, S, 3) uint8 tiles to a new (N, S/patch, S/patch) float32 array.

        More tiles than the engine's largest batch run in several.
        """
        if self._owner is None:
            raise L2BTError("this engine is closed; open a new one")
        return self._owner.submit(self._session.run, tiles, slots_of(tiles, slots)).result()

    def close(self) -> None:
        """Release the engine and its memory; may be called twice."""
        if self._owner is None:
            return
        self._owner.submit(self._session.close).result()
        self._owner.shutdown()
        self._owner = None


# A line sends images of one size, or of few.
_GRAPHS = 4


class _Session:
    """Everything that lives on the GPU; made, used and closed in one thread."""

    def __init__(self, engine: BuiltEngine, cuda_graph: bool) -> None:
        tensorrt, _ = load_tensorrt()
        cuda: Any = require("pycuda.driver")
        cuda.init()
        self._cuda = cuda
        self._largest = engine.manifest.profile.largest
        self._wants_graph = cuda_graph
        self._graphs: dict[int, CudaGraph] = {}
        self._graph_contexts: list[trt.IExecutionContext] = []
        self._seen: set[int] = set()
        self._log = TensorRTLog()
        self._logger = self._log.logger(tensorrt)
        self._gpu_context = cuda.Device(0).retain_primary_context()
        self._gpu_context.push()
        try:
            self._runtime: trt.Runtime = tensorrt.Runtime(self._logger)
            loaded = self._runtime.deserialize_cuda_engine(engine.plan_path.read_bytes())
            if loaded is None:
                raise ModelError(f"TensorRT cannot load {engine.plan_path}: {self._log.errors()}")
            self._engine: trt.ICudaEngine = loaded
            self._stream = cuda.Stream()
            self._tile_shape = tuple(self._engine.get_tensor_shape(INPUT_NAME))[1:]
            self._map_shape = tuple(self._engine.get_tensor_shape(OUTPUT_NAME))[1:]
            self._tiles = self._pinned(self._tile_shape, np.uint8)
            self._slots = self._pinned((), np.int32)
            self._maps = self._pinned(self._map_shape, np.float32)
            self._tiles_on_gpu = cuda.mem_alloc(self._tiles.nbytes)
            self._slots_on_gpu = cuda.mem_alloc(self._slots.nbytes)
            self._maps_on_gpu = cuda.mem_alloc(self._maps.nbytes)
            self._context = self._new_context()
        except BaseException:
            self._gpu_context.pop()
            raise

    def run(self, tiles: npt.NDArray[np.uint8], slots: Slots) -> npt.NDArray[np.float32]:
        if tiles.shape[1:] != self._tile_shape or tiles.dtype != np.uint8:
            raise ModelError(
                f"tiles are {tiles.shape[1:]} {tiles.dtype}; the engine takes {self._tile_shape} "
                "uint8"
            )
        maps = np.empty((len(tiles), *self._map_shape), np.float32)
        for start, batch in _batches(tiles, self._largest):
            count = len(batch)
            self._tiles[:count] = batch
            self._slots[:count] = slots[start : start + count]
            self._run_batch(count)
            maps[start : start + count] = self._maps[:count]
        return maps

    def close(self) -> None:
        for graph in self._graphs.values():
            graph.close()
        # In the order in which they depend on one another.
        self._graph_contexts.clear()
        del self._context, self._engine, self._runtime
        self._tiles_on_gpu.free()
        self._slots_on_gpu.free()
        self._maps_on_gpu.free()
        del self._tiles, self._slots, self._maps, self._stream
        self._gpu_context.pop()
        self._gpu_context.detach()

    def _run_batch(self, count: int) -> None:
        if count in self._graphs:
            self._graphs[count].launch()
        elif self._wants_graph and count in self._seen and len(self._graphs) < _GRAPHS:
            self._graphs[count] = self._record(count)
            self._graphs[count].launch()
        else:
            self._enqueue(self._context, count)
            self._seen.add(count)
        self._stream.synchronize()

    def _record(self, count: int) -> CudaGraph:
        # A graph holds the state of the context that it was recorded from, so that no other batch
        # size may use that context again.
        context = self._new_context()
        self._graph_contexts.append(context)
        self._enqueue(context, count)
        self._stream.synchronize()
        return CudaGraph(self._stream.handle, lambda: self._enqueue(context, count))

    def _new_context(self) -> "trt.IExecutionContext":
        context = self._engine.create_execution_context()
        if context is None:
            raise ModelError(f"TensorRT gives no context: {self._log.errors()}")
        context.set_tensor_address(INPUT_NAME, int(self._tiles_on_gpu))
        context.set_tensor_address(PRODUCT_NAME, int(self._slots_on_gpu))
        context.set_tensor_address(OUTPUT_NAME, int(self._maps_on_gpu))
        return context

    def _enqueue(self, context: "trt.IExecutionContext", count: int) -> None:
        cuda, stream, shape = self._cuda, self._stream, (count, *self._tile_shape)
        if not (
            context.set_input_shape(INPUT_NAME, shape)
            and context.set_input_shape(PRODUCT_NAME, (count,))
        ):
            raise ModelError(f"TensorRT refuses tiles of shape {shape}: {self._log.errors()}")
        cuda.memcpy_htod_async(self._tiles_on_gpu, self._tiles[:count], stream)
        cuda.memcpy_htod_async(self._slots_on_gpu, self._slots[:count], stream)
        if not context.execute_async_v3(stream.handle):
            raise ModelError(f"TensorRT failed on {count} tiles: {self._log.errors()}")
        cuda.memcpy_dtoh_async(self._maps[:count], self._maps_on_gpu, stream)

    def _pinned(self, shape: tuple[int, ...], dtype: type[np.generic]) -> npt.NDArray[Any]:
        return self._cuda.pagelocked_empty((self._largest, *shape), dtype)  # type: ignore[no-any-return]


def _batches(
    tiles: npt.NDArray[np.uint8], largest: int
) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
    for start in range(0, len(tiles), largest):
        yield start, tiles[start : start + largest]
