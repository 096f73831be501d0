"""Asking the driver for its GPU: a small library stands in for a driver that is not there."""

from pathlib import Path

import pytest

from runtime.engines.tensorrt.gpu import find_gpu
from runtime.engines.tensorrt.library import load_tensorrt
from runtime.errors import GpuUnavailableError
from tests.parts.driver_stand_in import build_driver
from tests.parts.gpu import without_gpu

DRIVER = """
#include <string.h>
#include <stddef.h>
int cuInit(unsigned flags) { return INIT; }
int cuDriverGetVersion(int *version) { *version = 12060; return 0; }
int cuDeviceGetCount(int *count) { *count = 1; return 0; }
int cuDeviceGet(int *device, int ordinal) { *device = ordinal; return 0; }
int cuDeviceGetName(char *name, int length, int device) { strncpy(name, "Orin", length); return 0; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = 64ul << 30; return 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
    *value = attribute == 75 ? 8 : attribute == 76 ? 7 : -1; return 0; }
int cuGetErrorName(int status, const char **name) {
    *name = status == 100 ? "CUDA_ERROR_NO_DEVICE" : NULL; return 0; }
"""


def driver(folder: Path, *, init: int = 0) -> str:
    return build_driver(DRIVER, folder, INIT=init)


def test_the_driver_tells_name_capability_cuda_and_memory(tmp_path: Path) -> None:
    gpu = find_gpu(library=driver(tmp_path))
    assert (gpu.name, gpu.compute_capability, gpu.cuda) == ("Orin", "8.7", "12.6")
    assert gpu.memory_bytes == 64 << 30


def test_a_gpu_beyond_the_last_is_refused_with_how_many_there_are(tmp_path: Path) -> None:
    with pytest.raises(GpuUnavailableError, match="no GPU 1: the NVIDIA driver shows 1"):
        find_gpu(1, library=driver(tmp_path))


def test_a_driver_that_sees_no_device_is_quoted(tmp_path: Path) -> None:
    with pytest.raises(GpuUnavailableError, match="cuInit: CUDA_ERROR_NO_DEVICE"):
        find_gpu(library=driver(tmp_path, init=100))


def test_an_error_without_a_name_is_a_number(tmp_path: Path) -> None:
    with pytest.raises(GpuUnavailableError, match="cuInit: error 999"):
        find_gpu(library=driver(tmp_path, init=999))


def test_no_driver_is_a_sentence() -> None:
    with pytest.raises(GpuUnavailableError, match="no NVIDIA driver .*--gpus all"):
        find_gpu(library="libcuda-of-no-machine.so")


@without_gpu
def test_tensorrt_is_not_even_imported_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(GpuUnavailableError):
        load_tensorrt()
