"""Tests that want a GPU, and tests that want none."""

import pytest

from runtime.engines.tensorrt.gpu import find_gpu
from runtime.errors import GpuUnavailableError


def _gpu_missing() -> str:
    try:
        find_gpu()
    except GpuUnavailableError as error:
        return str(error)
    return ""


GPU_MISSING = _gpu_missing()
# For a module's `pytestmark`; `pytest -m gpu` runs these alone.
with_gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        bool(GPU_MISSING), reason=f"needs a GPU, and has not been run on one yet: {GPU_MISSING}"
    ),
]
without_gpu = pytest.mark.skipif(not GPU_MISSING, reason="this machine has a GPU")
