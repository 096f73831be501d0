"""Part `speed`: how near the network comes to the matrix rate of the device, and by which way.

| way | what runs |
| --- | --- |
| `autocast` | the product's PyTorch network, which casts its weights at each run |
| `eager` | the same with weights kept in half precision, students too |
| `graph` | that, recorded as one CUDA graph |
| `graph, default attention` | with the attention that PyTorch takes on its own |
| `compiled graph` | that, compiled by `torch.compile` and recorded |
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.gpu_day.device_time import (
    ATTENTIONS,
    Limits,
    attention_by,
    measure_limits,
    time_step,
    time_whole,
)
from benchmarks.gpu_day.effort import Case, Effort
from benchmarks.gpu_day.journal import Journal
from benchmarks.gpu_day.networks import (
    HalfNetwork,
    matrix_operations,
    random_network,
    random_tiles,
)
from export.torch_engine.recorded import Recorded
from train.students.network import PatchMapNetwork

WEIGHTS = "speed_teacher.safetensors"


@dataclass(frozen=True, kw_only=True)
class Speed:
    """One way of running a network on one batch.

    Attributes:
        network: Teacher.
        image_size: Side of its square in px.
        tiles: At once.
        image: What they are, if they belong together.
        way: How it ran.
        precision: Of its matrix products.
        attention: Which of PyTorch's attentions.
        p50_ms: On the device, tiles and maps in its memory.
        p90_ms: Of ten runs nine took no longer.
        whole_p50_ms: From pinned host memory to pinned host memory; only for graphs.
        operations: Of matrix products.
        limit_ms: These at the rate of a large matrix product.
        times_limit: How many times as long it took.
        error: Largest difference of its maps from those of the way before it, which is 0 but for
            rounding.
        prepared_s: To compile and record it.
    """

    network: str
    image_size: int
    tiles: int
    image: str
    way: str
    precision: str
    attention: str
    p50_ms: float
    p90_ms: float
    whole_p50_ms: float | None
    operations: int
    limit_ms: float
    times_limit: float
    error: float | None
    prepared_s: float


def run_speed(folder: Path, work: Path, journal: Journal, *, device: str, effort: Effort) -> None:
    """Measure the limits, and time the network in all cases that the time is enough for.

    Args:
        folder: The payload, of which nothing is needed.
        work: Takes the network's random weights.
        journal: Takes what is found.
        device: "cuda", or "cpu" in a rehearsal.
        effort: How much is done.
    """
    del folder
    limits = measure_limits(device, side=effort.product_side, copied_bytes=effort.copied_bytes)
    journal.add("limits", limits)
    fastest: dict[int, str] = {}
    for case in effort.cases:
        name = f"{case.image_size} px, {case.tiles} at once, {case.precision}"
        if journal.seconds > effort.budget_s:
            journal.add(f"{name}, left out", "no time was left")
            continue
        with journal.step(name):
            network = random_network(
                work / WEIGHTS,
                name=effort.speed_teacher,
                image_size=case.image_size,
                device=device,
                precision=case.precision,
            )
            if case.image_size not in fastest:
                fastest[case.image_size] = _attentions(network, journal, device, effort.step_s)
            _time_case(case, network, limits, fastest[case.image_size], journal, device, effort)
    again = measure_limits(device, side=effort.product_side, copied_bytes=effort.copied_bytes)
    journal.add("limits afterwards", again)


@torch.inference_mode()
def _attentions(network: PatchMapNetwork, journal: Journal, device: str, step_s: float) -> str:
    """Time PyTorch's attentions alone, at this network's size; the name of the fastest."""
    teacher = network.teacher
    trunk = teacher.trunk
    heads = int(trunk.blocks[0].attn.num_heads)
    tokens = teacher.grid_wh[0] * teacher.grid_wh[1] + int(trunk.num_prefix_tokens)
    width = teacher.card.dimension
    shape = (1, heads, tokens, width // heads)
    half = torch.float16
    query, key, value = (torch.randn(shape, device=device).to(half) for _ in range(3))
    times: dict[str, float] = {}
    for name in ATTENTIONS if torch.device(device).type == "cuda" else ():
        with journal.step(f"attention {name}"), attention_by(name):
            timing = time_step(
                lambda: nn.functional.scaled_dot_product_attention(query, key, value),
                device=device,
                budget_s=step_s / 4,
            )
            times[name] = timing.p50_ms
            rate = 4 * tokens**2 * width / (1e-3 * timing.p50_ms)
            found = {"p50_ms": timing.p50_ms, "operations_per_s": rate}
            journal.add(f"attention {name}, {tokens} tokens", found)
    return min(times, key=times.__getitem__) if times else "default"


@torch.inference_mode()
def _time_case(
    case: Case,
    network: PatchMapNetwork,
    limits: Limits,
    attention: str,
    journal: Journal,
    device: str,
    effort: Effort,
) -> None:
    operations = case.tiles * matrix_operations(network.teacher)
    limit_ms = 1e3 * operations / limits.rate_of(case.precision)
    tiles = random_tiles(case.tiles, network.teacher)
    maps: Tensor | None = None
    half: HalfNetwork | None = None
    for way in case.ways:
        with journal.step(f"{case} {way}"):
            if way == "autocast":
                step: Callable[[Tensor], Tensor] = network
            else:
                half = half or HalfNetwork(network, case.precision)
                step = half
            # Flash and cuDNN have attentions for half precision alone.
            is_default = way.endswith("default attention") or case.precision == "fp32"
            by = "default" if is_default else attention
            begun = perf_counter()
            with attention_by(by):
                if way.startswith("compiled"):
                    torch._dynamo.reset()
                    compiled: Any = torch.compile(half, dynamic=False)
                    step = compiled
                found = step(tiles).clone()
                recorded = Recorded(step, tiles) if "graph" in way else None
                prepared_s = perf_counter() - begun
                if recorded is not None:
                    timing = time_step(recorded.launch, device=device, budget_s=effort.step_s)
                    whole = time_whole(recorded.whole, budget_s=effort.step_s)
                    found = recorded.found.clone()
                else:
                    timing = time_step(
                        lambda: step(tiles),  # noqa: B023
                        device=device,
                        budget_s=effort.step_s,
                    )
            error = None if maps is None else float((found - maps).abs().max())
            maps = found
            row = Speed(
                network=effort.speed_teacher,
                image_size=case.image_size,
                tiles=case.tiles,
                image=case.image,
                way=way,
                precision=case.precision,
                attention=by,
                p50_ms=timing.p50_ms,
                p90_ms=timing.p90_ms,
                whole_p50_ms=whole.p50_ms if recorded is not None else None,
                operations=operations,
                limit_ms=limit_ms,
                times_limit=timing.p50_ms / limit_ms,
                error=error,
                prepared_s=prepared_s,
            )
            title = f"{case.image_size} px, {case.tiles} at once, {case.precision}, {way}"
            journal.add(title, row)
