"""Tests that want a GPU, and tests that want none."""

from collections.abc import Callable
from typing import Any, TypeVar

import pytest
import torch

from runtime.engines.tensorrt.gpu import find_gpu
from runtime.errors import GpuUnavailableError

Test = TypeVar("Test", bound=Callable[..., Any])


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
_TORCH_GPU = torch.cuda.is_available()


def with_torch_gpu(test: Test) -> Test:
    """For tests that run on whatever GPU PyTorch finds, with TensorRT or without."""
    skip = pytest.mark.skipif(
        not _TORCH_GPU, reason="needs a GPU that PyTorch finds, and has not been run on one yet"
    )
    marked: Test = pytest.mark.gpu(skip(test))
    return marked


without_torch_gpu = pytest.mark.skipif(_TORCH_GPU, reason="PyTorch finds a GPU here")
