"""The NVIDIA GPU of this machine, asked of its driver alone.

TensorRT's Python runtime may end the process where there is no driver, so this comes first. The
driver's library has no Python package of its own; ctypes needs none.
"""

import ctypes
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import GpuUnavailableError

_DRIVER_LIBRARY = "libcuda.so.1"
_KERNEL_MODULE = Path("/proc/driver/nvidia/version")
# CUdevice_attribute
_COMPUTE_CAPABILITY_MAJOR, _COMPUTE_CAPABILITY_MINOR = 75, 76
_NAME_LENGTH = 256


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One GPU, as its driver describes it.

    Attributes:
        name: Such as "NVIDIA A10" or "Orin".
        compute_capability: Such as "8.6".
        cuda: The newest CUDA that the driver supports, such as "12.4".
        driver: The driver's own version, such as "550.54.15"; empty where it does not tell.
        memory_bytes: Its memory, which on a Jetson is the system's.
    """

    name: str
    compute_capability: str
    cuda: str
    driver: str
    memory_bytes: int


def find_gpu(index: int = 0, *, library: str = _DRIVER_LIBRARY) -> Gpu:
    """Ask the driver for a GPU.

    Args:
        index: Which one, of those that CUDA_VISIBLE_DEVICES leaves.
        library: The driver's library.

    Raises:
        GpuUnavailableError: There is no driver, or no such GPU; the message says what to do.
    """
    driver = _load(library)
    _check(driver, "cuInit", driver.cuInit(0))
    count = ctypes.c_int()
    _check(driver, "cuDeviceGetCount", driver.cuDeviceGetCount(ctypes.byref(count)))
    if not 0 <= index < count.value:
        raise GpuUnavailableError(
            f"there is no GPU {index}: the NVIDIA driver shows {count.value}; look at "
            "CUDA_VISIBLE_DEVICES, and at what the container was given (docker run --gpus all)"
        )
    device = ctypes.c_int()
    _check(driver, "cuDeviceGet", driver.cuDeviceGet(ctypes.byref(device), index))
    name = ctypes.create_string_buffer(_NAME_LENGTH)
    _check(driver, "cuDeviceGetName", driver.cuDeviceGetName(name, _NAME_LENGTH, device))
    memory = ctypes.c_size_t()
    _check(driver, "cuDeviceTotalMem", driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device))
    version = ctypes.c_int()
    _check(driver, "cuDriverGetVersion", driver.cuDriverGetVersion(ctypes.byref(version)))
    major, minor = (
        _attribute(driver, device, attribute)
        for attribute in (_COMPUTE_CAPABILITY_MAJOR, _COMPUTE_CAPABILITY_MINOR)
    )
    return Gpu(
        name=name.value.decode(errors="replace"),
        compute_capability=f"{major}.{minor}",
        cuda=f"{version.value // 1000}.{version.value % 1000 // 10}",
        driver=_driver_version(),
        memory_bytes=memory.value,
    )


def _load(library: str) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(library)
    except OSError as error:
        raise GpuUnavailableError(
            f"this machine has no NVIDIA driver ({error}); install the driver of its GPU, in a "
            "container run it with --gpus all (on a Jetson --runtime nvidia), or use --device cpu"
        ) from error


def _check(driver: ctypes.CDLL, call: str, status: int) -> None:
    if status == 0:
        return
    text = ctypes.c_char_p()
    driver.cuGetErrorName(status, ctypes.byref(text))
    name = text.value.decode() if text.value else f"error {status}"
    raise GpuUnavailableError(
        f"the NVIDIA driver gives no GPU ({call}: {name}); check nvidia-smi (on a Jetson "
        "tegrastats) and what the container was given, or use --device cpu"
    )


def _attribute(driver: ctypes.CDLL, device: ctypes.c_int, attribute: int) -> int:
    value = ctypes.c_int()
    status = driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device)
    _check(driver, "cuDeviceGetAttribute", status)
    return value.value


def _driver_version(path: Path = _KERNEL_MODULE) -> str:
    """From the kernel module's line, such as "NVRM version: ... Kernel Module  550.54.15  ..."."""
    if not path.is_file():
        return ""
    words = path.read_text().splitlines()[0].split()
    return next((word for word in words if word[:1].isdigit() and "." in word), "")
