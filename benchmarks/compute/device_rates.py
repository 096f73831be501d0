"""How fast this CPU multiplies large matrices and copies large arrays, at best."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import pairwise
from types import TracebackType
from typing import Any

import numpy as np

from runtime.extras import require

# 17 billion operations: a fifth of a second on two cores of a server.
_SIDE = 2048
# Far more than a processor's caches hold.
_COPIED_BYTES = 1 << 28


class CpuRates:
    """Steps whose shortest time tells a rate; a context manager.

    They are measured in turn with what they are held against, since the machine may be shared.

    Args:
        precision: "f32", or "bf16" on a CPU that computes in it.
        threads: Of each step.
    """

    def __init__(self, precision: str, threads: int) -> None:
        self._precision, self._threads = precision, threads
        self._stack = ExitStack()
        random = np.random.default_rng(0)
        self._left = random.standard_normal((_SIDE, _SIDE), np.float32)
        self._right = random.standard_normal((_SIDE, _SIDE), np.float32)
        self._product = np.empty_like(self._left)
        self._source = np.ones(_COPIED_BYTES, np.uint8)
        self._target = np.zeros_like(self._source)
        self._pool = self._stack.enter_context(ThreadPoolExecutor(threads))

    @property
    def matrix_operations(self) -> int:
        """Of one of `matrix_steps`."""
        return 2 * _SIDE**3

    @property
    def copied_bytes(self) -> int:
        """Read and written by one `copy`."""
        return 2 * _COPIED_BYTES

    def matrix_steps(self) -> dict[str, Callable[[], object]]:
        """A large matrix product, by each library that may be the fastest here."""
        steps: dict[str, Callable[[], object]] = {"OpenVINO": self._by_openvino()}
        if self._precision == "f32":
            # Not bfloat16: NumPy has none.
            steps["NumPy"] = self._by_numpy
        return steps

    def copy(self) -> None:
        """Copy a large array, each thread a part."""
        bounds = np.linspace(0, _COPIED_BYTES, self._threads + 1).astype(int)
        parts = [slice(*pair) for pair in pairwise(bounds)]
        list(self._pool.map(lambda part: np.copyto(self._target[part], self._source[part]), parts))

    def close(self) -> None:
        """End its threads."""
        self._stack.close()

    def __enter__(self) -> "CpuRates":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _by_openvino(self) -> Callable[[], object]:
        openvino: Any = require("openvino")
        operators = openvino.opset13
        # As in the network, the right matrix is a constant, which the library may lay out its way.
        given = operators.parameter([_SIDE, _SIDE], np.float32, name="left")
        product = operators.matmul(given, operators.constant(self._right), False, False)
        compiled = openvino.Core().compile_model(
            openvino.Model([product], [given]),
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": self._precision,
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_NUM_THREADS": self._threads,
            },
        )
        request = compiled.create_infer_request()
        request.set_input_tensor(openvino.Tensor(self._left, shared_memory=True))
        return lambda: request.infer()

    def _by_numpy(self) -> None:
        limits: Any = require("threadpoolctl", extra="evaluate")
        with limits.threadpool_limits(self._threads):
            np.matmul(self._left, self._right, out=self._product)
