"""Recording a stream's work once and launching it as one, through the CUDA driver.

pycuda offers no graphs, so the five calls that it takes go to the driver by ctypes.
"""

import ctypes
from collections.abc import Callable

from runtime.errors import ModelError

_THREAD_LOCAL = 1


class CudaGraph:
    """The recorded work of one stream; launched in the thread and context that recorded it.

    Args:
        stream: Handle of the stream, which must not be the default one.
        work: Enqueues onto the stream, with addresses that stay as they are. It must have run once
            before, since TensorRT prepares its context in the first run.

    Raises:
        ModelError: The driver cannot record it.
    """

    def __init__(self, stream: int, work: Callable[[], None], *, library: str = "libcuda.so.1"):
        self._driver = ctypes.CDLL(library)
        self._stream = ctypes.c_void_p(stream)
        self._graph, self._executable = ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuStreamBeginCapture_v2", self._stream, ctypes.c_int(_THREAD_LOCAL))
        try:
            work()
        finally:
            self._call("cuStreamEndCapture", self._stream, ctypes.byref(self._graph))
        self._call(
            "cuGraphInstantiateWithFlags",
            ctypes.byref(self._executable),
            self._graph,
            ctypes.c_ulonglong(0),
        )

    def launch(self) -> None:
        """Enqueue the recorded work onto the stream."""
        self._call("cuGraphLaunch", self._executable, self._stream)

    def close(self) -> None:
        """Free the graph; it cannot be launched afterwards."""
        self._call("cuGraphExecDestroy", self._executable)
        self._call("cuGraphDestroy", self._graph)

    def _call(self, name: str, *arguments: object) -> None:
        status = getattr(self._driver, name)(*arguments)
        if status:
            raise ModelError(
                f"a CUDA graph failed in {name} (error {status}); run without one: cuda_graph=False"
            )
