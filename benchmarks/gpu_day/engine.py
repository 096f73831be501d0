"""Part `engine`: the engine of PyTorch as it is shipped, from arrays on the host to maps there."""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.gpu_day.device_time import time_whole
from benchmarks.gpu_day.effort import Effort
from benchmarks.gpu_day.half import EXPORTED, device_of
from benchmarks.gpu_day.journal import Journal
from benchmarks.gpu_day.rtx import exported_network, noise
from export.torch_engine.engine import BATCH_SIZES, TorchEngine
from runtime.models.exported_model import ExportedModel

# Beside those that it comes with.
_OTHER_SIZES = ((16, 8, 4, 2, 1), (32, 16, 8, 4, 2, 1), (4, 2, 1))


@dataclass(frozen=True, kw_only=True)
class EngineSpeed:
    """One way of the engine with one number of tiles.

    Attributes:
        network: Which.
        tile_wh: Width and height of its tiles in px.
        tiles: In one call.
        way: "operator by operator", "fused", or "fused, CUDA graph".
        batch_sizes: Of the batches that the call is cut into.
        engine_p50_ms: Of a call, from host to host.
        engine_p90_ms: Of ten calls nine took no longer.
        tiles_per_s: At the median.
    """

    network: str
    tile_wh: tuple[int, int]
    tiles: int
    way: str
    batch_sizes: tuple[int, ...]
    engine_p50_ms: float
    engine_p90_ms: float
    tiles_per_s: float


def run_engine(folder: Path, work: Path, journal: Journal, *, device: str, effort: Effort) -> None:
    """Time the engine with the product's export, and with the networks that part `exports` left.

    Args:
        folder: The payload, of which nothing is needed.
        work: Where parts `half` and `exports` left their files.
        journal: Takes what is found.
        device: "cuda", or "cpu" in a rehearsal.
        effort: How much is done.
    """
    del folder
    networks = []
    if (work / EXPORTED).is_dir():
        exported = ExportedModel.open(work / EXPORTED)
        # Products of FP16 are slow on a CPU.
        path = exported.path_of("fp16" if device == "cuda" else "fp32")
        networks.append(("product", path, exported.manifest.tile_wh))
    for size in sorted({case.image_size for case in effort.cases}):
        name = f"{effort.speed_teacher} {size} px"
        networks.append((name, exported_network(work, size, effort)[0], (size, size)))
    for name, path, tile_wh in networks:
        ways: list[tuple[bool, bool, tuple[int, ...]]] = [
            (False, False, BATCH_SIZES),
            (True, False, BATCH_SIZES),
        ]
        if device != "cpu":
            ways += [(True, True, sizes) for sizes in (BATCH_SIZES, *_OTHER_SIZES)]
        for fused, cuda_graph, sizes in ways:
            with journal.step(f"{name}, {fused=}, {cuda_graph=}, {sizes}"):
                engine = TorchEngine(
                    path,
                    device=device_of(device),
                    fused=fused,
                    cuda_graph=cuda_graph,
                    batch_sizes=sizes,
                )
                way = "fused" if fused else "operator by operator"
                way += ", CUDA graph" if cuda_graph else ""
                _time(name, tile_wh, engine, way, sizes, journal, effort)
                engine.close()


def _time(
    name: str,
    tile_wh: tuple[int, int],
    engine: TorchEngine,
    way: str,
    sizes: tuple[int, ...],
    journal: Journal,
    effort: Effort,
) -> None:
    for tiles in effort.engine_tiles:
        batch = noise(tiles, tile_wh)
        timing = time_whole(lambda: engine.infer(batch), budget_s=effort.step_s)  # noqa: B023
        row = EngineSpeed(
            network=name,
            tile_wh=tile_wh,
            tiles=tiles,
            way=way,
            batch_sizes=sizes,
            engine_p50_ms=timing.p50_ms,
            engine_p90_ms=timing.p90_ms,
            tiles_per_s=1e3 * tiles / timing.p50_ms,
        )
        journal.add(f"{name}, {way} {'/'.join(map(str, sizes))}, {tiles} at once", row)
