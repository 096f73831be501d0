"""The exported network on an NVIDIA GPU through a TensorRT engine, in process."""

import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Lock, get_ident
from typing import ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt

from runtime.engines.bank_weights import Tensors
from runtime.engines.engine import Slots, slots_of
from runtime.engines.tensorrt.manifest import BuiltEngine
from runtime.engines.tensorrt.session import TensorRTSession
from runtime.errors import L2BTError

Work = ParamSpec("Work")
Result = TypeVar("Result")


class TensorRTEngine:
    """Runs an engine that was built for this machine.

    May be called from several threads: one thread of its own does everything that touches the GPU,
    so calls wait for one another and the CUDA context never changes hands.

    Pinned host memory and device memory for the engine's largest batch are taken once, when it is
    opened, and reused by every call until `close`. What `infer` returns is a copy, and belongs to
    the caller.

    Args:
        engine: An engine that `runtime.models.built_engines` found to fit.
        cuda_graph: Launch a batch size as one recorded graph from its second use on, for the first
            few sizes that come; each takes a context with activation memory of its own.

    Raises:
        GpuUnavailableError: There is no GPU.
        MissingExtraError: TensorRT or pycuda is not installed.
        ModelError: TensorRT cannot load the engine.
    """

    def __init__(self, engine: BuiltEngine, *, cuda_graph: bool = False) -> None:
        owner = ThreadPoolExecutor(1, "tensorrt")
        try:
            self._session = owner.submit(TensorRTSession, engine, cuda_graph).result()
        except BaseException:
            owner.shutdown()
            raise
        self._owner = owner
        self._lock = Lock()
        # Whoever forgets to close it still gets the GPU's memory back.
        self._closing = weakref.finalize(self, _close, owner, self._session)
        self.description = engine.manifest.description + (", CUDA graph" if cuda_graph else "")

    def infer(
        self, tiles: npt.NDArray[np.uint8], slots: Slots | None = None
    ) -> npt.NDArray[np.float32]:
        """(N, height, width, 3) uint8 tiles to a new (N, rows, columns) float32 array.

        More tiles than the engine's largest batch run in several.
        """
        return self._run(self._session.run, tiles, slots_of(tiles, slots))

    @property
    def capacity(self) -> int:
        """Slots of the bank of students; 0 where the plan holds them."""
        return self._session.capacity

    def fill(self, slot: int, students: Tensors) -> None:
        """Put a product's students into a slot, between two batches.

        Raises:
            ModelError: The students cannot be replaced, do not fit, or there is no such slot.
        """
        self._run(self._session.fill, slot, students)

    def clear(self, slot: int) -> None:
        """Empty a slot, between two batches.

        Raises:
            ModelError: The students cannot be replaced, or there is no such slot.
        """
        self._run(self._session.clear, slot)

    def close(self) -> None:
        """Release the engine and its memory; may be called twice. Calls before it are finished."""
        with self._lock:
            self._closing()

    def _run(self, work: Callable[Work, Result], *args: Work.args, **named: Work.kwargs) -> Result:
        with self._lock:
            if not self._closing.alive:
                raise L2BTError("this engine is closed; open a new one")
            job = self._owner.submit(work, *args, **named)
        return job.result()


def _close(owner: ThreadPoolExecutor, session: TensorRTSession) -> None:
    if get_ident() == session.thread:
        # Garbage may be collected in any thread, and this one cannot wait for itself.
        session.close()
        owner.shutdown(wait=False)
        return
    # At Python's end no jobs are taken any more, and the process gives everything back by itself.
    with suppress(RuntimeError):
        owner.submit(session.close).result()
    owner.shutdown()
