"""What an owner of a GPU runs once: does the TensorRT path hold here, and how fast is it?

    make gpu-check
    l2bt benchmark gpu-check --model exported/P --data VISA --product P

Builds the engine in FP16 and in FP32, proves the first one's precision, holds both against the same
network on the CPU, and times them. Results go to `benchmarks/results/gpu_check/<machine>/`.
"""

import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
from tqdm import tqdm

from benchmarks.evaluation.parity.compare import ParityResult, compare
from benchmarks.evaluation.parity.run import markdown_table
from benchmarks.machine.machine import describe_machine, library_versions
from benchmarks.machine.result_files import table
from runtime.detector import Detector, EngineDetector
from runtime.engines.tensorrt.engine import TensorRTEngine
from runtime.engines.tensorrt.library import load_tensorrt
from runtime.engines.tensorrt.manifest import EngineManifest
from runtime.errors import OptionError
from runtime.extras import require
from runtime.models.exported_model import ExportedModel
from runtime.storage.atomic_write import atomic_write
from runtime.storage.json_files import write_json
from train.data.dataset import Dataset
from train.data.open_dataset import open_dataset
from trt_engines.build_engine import build_engine
from trt_engines.options import EngineOptions

RESULTS = Path(__file__).parent / "results" / "gpu_check"
_WARM_UP, _RUNS = 20, 200
_BATCHES = (1, 4, 16)


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Times of one batch size, from host memory to host memory.

    Attributes:
        engine: What ran.
        tiles: At once.
        p50_ms: Median.
        p90_ms: Of ten runs nine took no longer.
        p99_ms: Of a hundred runs 99 took no longer.
        max_ms: The longest.
    """

    engine: str
    tiles: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float


def gpu_check(
    *, model: Path | None = None, data: str | None = None, product: str | None = None
) -> None:
    """Build, prove, compare and time the TensorRT engine of a model on this machine's GPU.

    Args:
        model: An exported model; without it a drawn product is learned first.
        data: The data set whose test images are compared on; needed with --model.
        product: Class or product in it.
    """
    if (model is None) != (data is None):
        raise OptionError("--model and --data belong together: the model is compared on its images")
    # All that is needed, before minutes go into learning and building.
    _, gpu = load_tensorrt()
    require("pycuda.driver")
    require("onnx", extra="tensorrt")
    print(f"{gpu.name}, compute capability {gpu.compute_capability}, driver {gpu.driver}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if model is None:
            exported, dataset = _drawn_product(folder)
        else:
            exported = ExportedModel.open(model)
            assert data is not None
            dataset = open_dataset(data, product=product)
        manifests, parities, latencies = _check(exported, dataset, folder)
    label = manifests[0].machine.label
    page = _page(manifests, parities, latencies)
    print(page)
    out = RESULTS / label
    atomic_write(out / "result.md", page)
    write_json(
        out / "result.json",
        {
            "machine": describe_machine(),
            "gpu": asdict(gpu),
            "versions": library_versions(),
            "engines": manifests,
            "parity": [result.to_dict() for result in parities],
            "latency": latencies,
        },
    )
    print(out)
    failed = [reason for result in parities for reason in result.reasons]
    if failed:
        sys.exit(f"l2bt: the engine does not keep the network's decisions: {'; '.join(failed)}")


def _drawn_product(folder: Path) -> tuple[ExportedModel, Dataset]:
    # With --model no torch is needed, which a Jetson may not have.
    from export.fuse import export_product
    from train.data.synthetic import SyntheticSettings, open_synthetic
    from train.learning.learn import learn_product
    from train.settings import DEMO_TEACHER, FitSettings, TeacherSettings

    dataset = open_synthetic(SyntheticSettings(train_images=60, test_good=20, test_defective=20))
    bundle = learn_product(
        dataset,
        folder / "bundle",
        teacher_settings=TeacherSettings(teacher=DEMO_TEACHER),
        fit_settings=FitSettings(steps=1000, held_out=0.2),
    )
    return export_product(bundle, folder / "exported"), dataset


def _check(
    exported: ExportedModel, dataset: Dataset, folder: Path
) -> tuple[list[EngineManifest], list[ParityResult], list[Latency]]:
    manifests: list[EngineManifest] = []
    parities: list[ParityResult] = []
    latencies: list[Latency] = []
    with Detector(exported.folder) as reference:
        for precision in ("fp16", "fp32"):
            options = EngineOptions(precision=precision)
            built = build_engine(exported, options, engines=folder / precision)
            manifests.append(built.manifest)
            for cuda_graph in (False, True):
                engine = TensorRTEngine(built, cuda_graph=cuda_graph)
                with EngineDetector(engine, exported.written_products()) as candidate:
                    parities += compare(
                        reference,
                        [candidate],
                        dataset.test,
                        progress=lambda samples: iter(tqdm(samples, "comparing", unit="image")),
                    )
                    tile_wh = exported.manifest.tile_wh
                    latencies += [
                        time_batch(engine.infer, engine.description, tiles, tile_wh)
                        for tiles in _BATCHES
                    ]
    return manifests, parities, latencies


def time_batch(
    infer: Callable[[np.ndarray], object],  # type: ignore[type-arg]
    name: str,
    tiles: int,
    tile_wh: tuple[int, int],
    *,
    warm_up: int = _WARM_UP,
    runs: int = _RUNS,
) -> Latency:
    """Time an engine on one batch size, back to back.

    Args:
        infer: Takes (N, height, width, 3) uint8.
        name: What it is called in the results.
        tiles: N.
        tile_wh: Width and height of a tile in px.
        warm_up: Runs that are not counted.
        runs: Runs that are.
    """
    batch = np.random.default_rng(0).integers(0, 256, (tiles, *tile_wh[::-1], 3), np.uint8)
    times_ms = []
    for run in range(warm_up + runs):
        start = perf_counter()
        infer(batch)
        if run >= warm_up:
            times_ms.append(1e3 * (perf_counter() - start))
    p50, p90, p99 = (float(value) for value in np.percentile(times_ms, (50, 90, 99)))
    return Latency(
        engine=name, tiles=tiles, p50_ms=p50, p90_ms=p90, p99_ms=p99, max_ms=max(times_ms)
    )


def _page(
    manifests: list[EngineManifest], parities: list[ParityResult], latencies: list[Latency]
) -> str:
    machine = manifests[0].machine
    lines = [
        f"# {machine.gpu}, TensorRT {machine.tensorrt}",
        "",
        f"Compute capability {machine.compute_capability}, CUDA {machine.cuda}, driver "
        f"{machine.driver or 'unknown'}.",
        "",
        *(
            f"- {manifest.precision}: built in {manifest.build_seconds:.0f} s"
            + (f"; {manifest.proof}" if manifest.proof else "")
            for manifest in manifests
        ),
        "",
        markdown_table(parities),
        "",
        table(
            ["engine", "tiles", "p50, ms", "p90", "p99", "longest"],
            [
                [
                    row.engine,
                    f"{row.tiles}",
                    *(f"{ms:.2f}" for ms in (row.p50_ms, row.p90_ms, row.p99_ms, row.max_ms)),
                ]
                for row in latencies
            ],
        ).rstrip(),
    ]
    return "\n".join(lines) + "\n"
