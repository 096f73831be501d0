"""TensorRT's Python bindings, imported and tried only where a GPU was found."""

import ctypes
import importlib
import re
from collections import deque
from types import ModuleType
from typing import Any

from runtime.engines.tensorrt.gpu import Gpu, find_gpu
from runtime.errors import MissingExtraError, ModelError, OptionError

OLDEST_VERSION = (10, 3)
_MAJOR_VERSIONS = (11, 10)
_BAD = ("INTERNAL_ERROR", "ERROR", "WARNING")
_KEPT_LINES = 200


def load_tensorrt() -> tuple[ModuleType, Gpu]:
    """Import TensorRT on a machine with a GPU, and see that it gets along with the driver.

    Raises:
        GpuUnavailableError: There is no GPU.
        MissingExtraError: TensorRT is not installed; the message says how to get it.
        OptionError: It is too old.
        ModelError: It does not get along with the driver.
    """
    # First: without a driver TensorRT's runtime object is a null pointer, and using it ends Python.
    gpu = find_gpu()
    try:
        tensorrt = importlib.import_module("tensorrt")
    except ImportError as error:
        raise MissingExtraError(
            f"TensorRT's Python bindings cannot be imported ({error}); on a Jetson install "
            "python3-libnvinfer and make the environment with --system-site-packages, on a server "
            "pip install tensorrt, or use NVIDIA's container; trt_engines/ has a page for each. "
            "PyTorch runs the model without it: --engine torch"
        ) from error
    check_version(str(tensorrt.__version__))
    _check_driver(tensorrt, gpu)
    return tensorrt, gpu


def check_version(version: str) -> None:
    """Refuse a TensorRT that is older than this project's code.

    Raises:
        OptionError: It is; the message has both versions.
    """
    found = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    if found < OLDEST_VERSION:
        oldest = ".".join(map(str, OLDEST_VERSION))
        raise OptionError(
            f"TensorRT {version} is installed, and {oldest} or newer is needed; on a Jetson that "
            "is JetPack 6 or newer"
        )


def _check_driver(tensorrt: ModuleType, gpu: Gpu) -> None:
    log = TensorRTLog()
    try:
        # Where the driver is too old this fails with an error; a runtime object would end Python.
        tensorrt.Builder(log.logger(tensorrt))
    except TypeError as error:
        raise ModelError(
            f"TensorRT {tensorrt.__version__} does not get along with this driver, which supports "
            f"CUDA {gpu.cuda} ({log.errors()}); install the TensorRT for that CUDA (tensorrt-cu12, "
            "tensorrt-cu13), or a newer driver"
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

    Args:
        keeps_everything: Verbose messages too, however many; otherwise the last warnings and
            errors.

    Attributes:
        lines: Messages with their severity's name, in order.
    """

    def __init__(self, *, keeps_everything: bool = False) -> None:
        self._keeps_everything = keeps_everything
        self.lines: deque[tuple[str, str]] = deque(maxlen=None if keeps_everything else _KEPT_LINES)

    def logger(self, tensorrt: Any) -> Any:
        """A logger object of the bindings that writes into this."""
        lines, keeps_everything = self.lines, self._keeps_everything

        class Logger(tensorrt.ILogger):  # type: ignore[misc]
            def __init__(self) -> None:
                tensorrt.ILogger.__init__(self)

            def log(self, severity: Any, msg: str) -> None:
                name = str(severity).rpartition(".")[2]
                if keeps_everything or name in _BAD:
                    lines.append((name, msg))

        return Logger()

    def errors(self) -> str:
        """The last errors, joined; the last warnings where there is none."""
        found = [text for severity, text in self.lines if severity in _BAD[:2]]
        return (
            "; ".join(found[-3:])
            or "; ".join(text for _, text in list(self.lines)[-3:])
            or ("TensorRT said nothing")
        )

    def warnings(self) -> list[str]:
        """The warnings, each once."""
        return list(dict.fromkeys(text for severity, text in self.lines if severity == _BAD[2]))
