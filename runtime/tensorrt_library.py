"""TensorRT's Python bindings, imported only where a GPU was found."""

import ctypes
import importlib
from types import ModuleType
from typing import Any

from runtime.errors import MissingExtraError
from runtime.gpu import Gpu, find_gpu

_MAJOR_VERSIONS = (11, 10)


def load_tensorrt() -> tuple[ModuleType, Gpu]:
    """Import TensorRT on a machine with a GPU.

    Raises:
        GpuUnavailableError: There is no GPU.
        MissingExtraError: TensorRT is not installed; the message says how to get it.
    """
    # First: without a driver TensorRT's runtime object is a null pointer, and using it ends Python.
    gpu = find_gpu()
    try:
        return importlib.import_module("tensorrt"), gpu
    except ImportError as error:
        raise MissingExtraError(
            f"TensorRT's Python bindings cannot be imported ({error}); on a Jetson install "
            "python3-libnvinfer and make the environment with --system-site-packages, on a server "
            "pip install tensorrt, or use NVIDIA's container; trt_engines/ has a page for each"
        ) from error


def library_version() -> str:
    """Version of TensorRT's C++ library, where there may be no Python bindings.

    NVIDIA's Triton container is such a place.

    Raises:
        MissingExtraError: There is no such library.
    """
    for major in _MAJOR_VERSIONS:
        try:
            library = ctypes.CDLL(f"libnvinfer.so.{major}")
        except OSError:
            continue
        number = int(library.getInferLibVersion())
        return f"{number // 10000}.{number // 100 % 100}.{number % 100}"
    raise MissingExtraError(
        "TensorRT's library libnvinfer is not installed; use NVIDIA's Triton container, or on a "
        "Jetson the package tensorrt"
    )


class TensorRTLog:
    """What TensorRT said: collected, since an error's cause is only in its log.

    Attributes:
        lines: All messages with their severity's name, in order.
    """

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def logger(self, tensorrt: Any) -> Any:
        """A logger object of the bindings that writes into this."""
        lines = self.lines

        class Logger(tensorrt.ILogger):  # type: ignore[misc]
            def __init__(self) -> None:
                tensorrt.ILogger.__init__(self)

            def log(self, severity: Any, msg: str) -> None:
                lines.append((str(severity).rpartition(".")[2], msg))

        return Logger()

    def errors(self) -> str:
        """The errors, joined; what it said last where there is none."""
        found = [text for severity, text in self.lines if severity in ("ERROR", "INTERNAL_ERROR")]
        return "; ".join(found[-3:]) or "; ".join(text for _, text in self.lines[-3:]) or "no log"
