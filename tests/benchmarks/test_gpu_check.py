"""The check that an owner of a GPU runs."""

import subprocess
import sys

import numpy as np

from benchmarks.gpu_check import time_batch
from tests.parts.gpu import without_gpu


def test_a_batch_is_timed_after_the_warm_up() -> None:
    calls: list[tuple[int, ...]] = []

    def infer(batch: np.ndarray) -> None:  # type: ignore[type-arg]
        calls.append(batch.shape)

    latency = time_batch(infer, "nothing", 2, (28, 42), warm_up=3, runs=5)
    assert calls == [(2, 42, 28, 3)] * 8
    assert 0 <= latency.p50_ms <= latency.p90_ms <= latency.p99_ms <= latency.max_ms


@without_gpu
def test_without_a_gpu_it_is_a_sentence() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "l2bt", "benchmark", "gpu-check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr.startswith("l2bt: this machine has no NVIDIA driver")
    assert "Traceback" not in result.stderr
