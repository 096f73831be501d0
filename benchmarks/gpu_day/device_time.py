"""How long the device takes for a step, and the two limits that steps are held against."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.gpu_day.networks import DTYPES
from benchmarks.machine.timing import Timing

ATTENTIONS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
}
_LEAST_RUNS, _MOST_RUNS = 5, 60
_ROUNDS = 3


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the device can do at best.

    Attributes:
        operations_per_s: Of a large matrix product, by precision.
        bytes_per_s: Of a large copy, read and written.
    """

    operations_per_s: dict[str, float]
    bytes_per_s: float

    def rate_of(self, precision: str) -> float:
        """Operations a second; FP16 and BF16 run on the same units: the better of both counts."""
        halves = ("fp16", "bf16")
        names = halves if precision in halves else (precision,)
        return max(self.operations_per_s[name] for name in names)


def time_step(step: Callable[[], object], *, device: str, budget_s: float = 1.5) -> Timing:
    """Time a step on the device alone: on a GPU between two events, so that queueing counts not.

    Args:
        step: What is timed; it only enqueues work.
        device: "cpu" or "cuda".
        budget_s: About how long it may be repeated.
    """
    on_gpu = torch.device(device).type == "cuda"
    for _ in range(3):
        step()
    begun = perf_counter()
    _wait(on_gpu)
    step()
    _wait(on_gpu)
    once = perf_counter() - begun
    runs = int(min(max(budget_s / max(once, 1e-6), _LEAST_RUNS), _MOST_RUNS))
    return Timing.of([_event_ms(step) if on_gpu else _clock_ms(step) for _ in range(runs)])


def time_whole(step: Callable[[], object], *, budget_s: float = 1.5) -> Timing:
    """Time a step by the clock of the host; it must wait for the device itself."""
    for _ in range(3):
        step()
    once = _clock_ms(step) / 1e3
    runs = int(min(max(budget_s / max(once, 1e-6), _LEAST_RUNS), 4 * _MOST_RUNS))
    return Timing.of([_clock_ms(step) for _ in range(runs)])


def measure_limits(device: str, *, side: int = 8192, copied_bytes: int = 1 << 31) -> Limits:
    """Measure a large matrix product in each precision, and a large copy.

    FP32 is measured without TF32, which is a precision of its own here.

    Args:
        device: "cpu" or "cuda".
        side: Of the square matrices.
        copied_bytes: Of the array that is copied.
    """
    rates = dict.fromkeys(("fp16", "bf16", "tf32", "fp32"), 0.0)
    # In turns, since the clock falls as the GPU grows warm.
    for name in _ROUNDS * tuple(rates):
        dtype = DTYPES.get(name, torch.float32)
        # Numbers of all kinds: a GPU that multiplies zeros needs less power, and so runs faster.
        left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        product = torch.empty_like(left)
        with tf32(name == "tf32"):
            timing = time_step(
                lambda: torch.matmul(left, right, out=product),  # noqa: B023
                device=device,
                budget_s=0.2,
            )
        rates[name] = max(rates[name], 2 * side**3 / (1e-3 * timing.p50_ms))
    source = torch.ones(copied_bytes, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    timing = time_step(lambda: target.copy_(source), device=device)
    return Limits(operations_per_s=rates, bytes_per_s=2 * copied_bytes / (1e-3 * timing.p50_ms))


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Allow TF32 in products of matrices for as long as the block lasts, or forbid it."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = allowed
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


@contextmanager
def attention_by(name: str) -> Iterator[None]:
    """Let PyTorch take one of its attentions; its own choice for the name "default"."""
    if name == "default":
        yield
        return
    with sdpa_kernel(ATTENTIONS[name]):
        yield


def _event_ms(step: Callable[[], object]) -> float:
    begun: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    ended: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    begun.record()
    step()
    ended.record()
    ended.synchronize()
    return float(begun.elapsed_time(ended))


def _clock_ms(step: Callable[[], object]) -> float:
    begun = perf_counter()
    step()
    return 1e3 * (perf_counter() - begun)


def _wait(on_gpu: bool) -> None:
    if on_gpu:
        torch.cuda.synchronize()
