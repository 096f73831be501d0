"""Recording a stream's work once and launching it as one, through the CUDA driver.

pycuda offers no graphs, so the calls that it takes go to the driver by ctypes.
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
        library: The driver's library.

    Raises:
        ModelError: The driver cannot record it. Nothing stays behind.
    """

    def __init__(
        self, stream: int, work: Callable[[], None], *, library: str = "libcuda.so.1"
    ) -> None:
        self._driver = ctypes.CDLL(library)
        self._stream = ctypes.c_void_p(stream)
        self._graph, self._executable = ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cuStreamBeginCapture_v2", self._stream, ctypes.c_int(_THREAD_LOCAL))
        try:
            work()
        except BaseException:
            # The stream must leave the capture, and what failed is what the caller must see.
            self._driver.cuStreamEndCapture(self._stream, ctypes.byref(self._graph))
            self.close()
            raise
        try:
            self._call("cuStreamEndCapture", self._stream, ctypes.byref(self._graph))
            self._call(
                "cuGraphInstantiateWithFlags",
                ctypes.byref(self._executable),
                self._graph,
                ctypes.c_ulonglong(0),
            )
        except ModelError:
            self.close()
            raise

    def launch(self) -> None:
        """Enqueue the recorded work onto the stream."""
        self._call("cuGraphLaunch", self._executable, self._stream)

    def close(self) -> None:
        """Free the graph; it cannot be launched afterwards."""
        for name, handle in (
            ("cuGraphExecDestroy", self._executable),
            ("cuGraphDestroy", self._graph),
        ):
            if handle:
                getattr(self._driver, name)(handle)
        self._graph, self._executable = ctypes.c_void_p(), ctypes.c_void_p()

    def _call(self, name: str, *arguments: object) -> None:
        status = getattr(self._driver, name)(*arguments)
        if status:
            raise ModelError(
                f"a CUDA graph failed in {name} (error {status}); run without one: cuda_graph=False"
            )
