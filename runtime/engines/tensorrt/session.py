"""Everything of a TensorRT engine that lives on the GPU; made, used and closed in one thread."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import get_ident
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from runtime.engines.bank_weights import Tensors
from runtime.engines.engine import Slots
from runtime.engines.network import INPUT_NAME, OUTPUT_NAME, SLOT_NAME
from runtime.engines.tensorrt.bank import GpuBank
from runtime.engines.tensorrt.cuda_graph import CudaGraph
from runtime.engines.tensorrt.library import TensorRTLog, load_tensorrt
from runtime.engines.tensorrt.manifest import BuiltEngine
from runtime.errors import ModelError
from runtime.extras import require

if TYPE_CHECKING:
    import tensorrt as trt

# A line sends images of one size, or of few.
_MOST_GRAPHS = 4


class TensorRTSession:
    """A loaded engine with its context, stream and buffers.

    The CUDA context is current only while a method runs: pycuda ends the process if a thread ends
    with one.

    Args:
        engine: What to load.
        cuda_graph: Whether batch sizes are recorded.

    Attributes:
        thread: Identifier of the thread that made it, and alone may use it.

    Raises:
        ModelError: TensorRT cannot load it, or it is not the network that its manifest says.
            Nothing stays behind.
    """

    def __init__(self, engine: BuiltEngine, cuda_graph: bool) -> None:
        self.thread = get_ident()
        tensorrt, _ = load_tensorrt()
        cuda: Any = require("pycuda.driver")
        cuda.init()
        self._cuda = cuda
        self._largest = engine.manifest.profile.largest
        self._wants_graphs = cuda_graph
        self._graphs: dict[int, CudaGraph] = {}
        self._seen: set[int] = set()
        self._log = TensorRTLog()
        self._logger = self._log.logger(tensorrt)
        # In the order in which they are made; they are released the other way round.
        self._runtime: trt.Runtime | None = None
        self._engine: trt.ICudaEngine | None = None
        self._stream: Any = None
        self._tile_shape: tuple[int, ...] = ()
        self._map_shape: tuple[int, ...] = ()
        self._tiles = self._slots = self._maps = np.empty(0)
        self._device_memory: list[Any] = []
        self._bank: GpuBank | None = None
        self._contexts: list[trt.IExecutionContext] = []
        self._gpu_context = cuda.Device(0).retain_primary_context()
        try:
            with self._current():
                self._load(tensorrt, engine)
        except BaseException:
            self.close()
            raise

    def run(self, tiles: npt.NDArray[np.uint8], slots: Slots) -> npt.NDArray[np.float32]:
        """(N, height, width, 3) uint8 and (N,) int32 slots to new (N, rows, columns) float32."""
        if tiles.shape[1:] != self._tile_shape or tiles.dtype != np.uint8:
            raise ModelError(
                f"tiles are {tiles.shape[1:]} {tiles.dtype}; the engine takes {self._tile_shape} "
                "uint8"
            )
        maps = np.empty((len(tiles), *self._map_shape), np.float32)
        with self._current():
            for start in range(0, len(tiles), self._largest):
                count = min(self._largest, len(tiles) - start)
                part = slice(start, start + count)
                self._tiles[:count] = tiles[part]
                self._slots[:count] = slots[part]
                self._run_batch(count)
                maps[part] = self._maps[:count]
        return maps

    @property
    def capacity(self) -> int:
        """Slots of the bank of students; 0 where the plan holds them."""
        return self._bank.capacity if self._bank is not None else 0

    def fill(self, slot: int, students: Tensors) -> None:
        """Put a product's students into a slot; see `GpuBank.fill`."""
        assert self._bank is not None
        with self._current():
            self._bank.fill(slot, students)

    def clear(self, slot: int) -> None:
        """Empty a slot; see `GpuBank.clear`."""
        assert self._bank is not None
        with self._current():
            self._bank.clear(slot)

    def close(self) -> None:
        """Release everything; may be called twice, and after a failed start."""
        if self._gpu_context is None:
            return
        context, self._gpu_context = self._gpu_context, None
        context.push()
        try:
            for graph in self._graphs.values():
                graph.close()
            self._graphs.clear()
            self._contexts.clear()
            self._engine = self._runtime = self._stream = None
            if self._bank is not None:
                self._bank.close()
            while self._device_memory:
                self._device_memory.pop().free()
            self._tiles = self._slots = self._maps = np.empty(0)
        finally:
            context.pop()
            context.detach()

    def _load(self, tensorrt: Any, engine: BuiltEngine) -> None:
        runtime: trt.Runtime = tensorrt.Runtime(self._logger)
        self._runtime = runtime
        loaded = runtime.deserialize_cuda_engine(engine.plan_path.read_bytes())
        if loaded is None:
            raise ModelError(f"TensorRT cannot load {engine.plan_path}: {self._log.errors()}")
        self._engine = loaded
        self._tile_shape = self._shape(tensorrt, loaded, INPUT_NAME, np.uint8)
        self._map_shape = self._shape(tensorrt, loaded, OUTPUT_NAME, np.float32)
        slot_shape = self._shape(tensorrt, loaded, SLOT_NAME, np.int32)
        self._stream = self._cuda.Stream()
        self._tiles, self._slots, self._maps = (
            self._cuda.pagelocked_empty((self._largest, *shape), dtype)
            for shape, dtype in (
                (self._tile_shape, np.uint8),
                (slot_shape, np.int32),
                (self._map_shape, np.float32),
            )
        )
        for pinned in (self._tiles, self._slots, self._maps):
            self._device_memory.append(self._cuda.mem_alloc(pinned.nbytes))
        self._bank = GpuBank(tensorrt, self._cuda, loaded)
        self._contexts.append(self._new_context())

    def _shape(
        self, tensorrt: Any, engine: "trt.ICudaEngine", name: str, dtype: type[np.generic]
    ) -> tuple[int, ...]:
        shape = tuple(engine.get_tensor_shape(name))
        found = tensorrt.nptype(engine.get_tensor_dtype(name))
        if not shape or shape[0] != -1 or found != dtype:
            raise ModelError(
                f"the engine's tensor {name!r} is {shape} {np.dtype(found).name}; expected any "
                f"number of {np.dtype(dtype).name}; build it from an export of this version"
            )
        return shape[1:]

    def _run_batch(self, count: int) -> None:
        if count in self._graphs:
            self._graphs[count].launch()
        elif self._wants_graphs and count in self._seen and len(self._graphs) < _MOST_GRAPHS:
            self._record(count).launch()
        else:
            self._set_batch(self._contexts[0], count)
            self._enqueue(self._contexts[0], count)
            self._seen.add(count)
        self._stream.synchronize()

    def _record(self, count: int) -> CudaGraph:
        # A graph holds the state of the context that it was recorded from, so that no other batch
        # size may use that context again.
        context = self._new_context()
        self._set_batch(context, count)
        self._enqueue(context, count)
        self._stream.synchronize()
        graph = CudaGraph(self._stream.handle, lambda: self._enqueue(context, count))
        self._contexts.append(context)
        self._graphs[count] = graph
        return graph

    def _new_context(self) -> "trt.IExecutionContext":
        assert self._engine is not None
        context = self._engine.create_execution_context()
        if context is None:
            raise ModelError(f"TensorRT gives no context: {self._log.errors()}")
        names = (INPUT_NAME, SLOT_NAME, OUTPUT_NAME)
        assert self._bank is not None
        # The bank's memory keeps its place when it is filled, for recorded graphs too.
        places = [*zip(names, self._device_memory, strict=True), *self._bank.memory.items()]
        for name, memory in places:
            if not context.set_tensor_address(name, int(memory)):
                raise ModelError(f"TensorRT refuses memory for {name!r}: {self._log.errors()}")
        return context

    def _set_batch(self, context: "trt.IExecutionContext", count: int) -> None:
        for name, shape in ((INPUT_NAME, self._tile_shape), (SLOT_NAME, ())):
            if not context.set_input_shape(name, (count, *shape)):
                raise ModelError(
                    f"TensorRT refuses {count} tiles as {name!r}: {self._log.errors()}"
                )

    def _enqueue(self, context: "trt.IExecutionContext", count: int) -> None:
        cuda, stream = self._cuda, self._stream
        tiles, slots, maps = self._device_memory
        cuda.memcpy_htod_async(tiles, self._tiles[:count], stream)
        cuda.memcpy_htod_async(slots, self._slots[:count], stream)
        if not context.execute_async_v3(stream.handle):
            raise ModelError(f"TensorRT failed on {count} tiles: {self._log.errors()}")
        cuda.memcpy_dtoh_async(self._maps[:count], maps, stream)

    @contextmanager
    def _current(self) -> Iterator[None]:
        self._gpu_context.push()
        try:
            yield
        finally:
            self._gpu_context.pop()
