"""Part `rtx`: what TensorRT-RTX makes of the exported networks on this GPU, and part `session`.

TensorRT-RTX can be had where TensorRT cannot. Its support matrices name GPUs of other kinds; here
it is asked for an engine without naming a GPU, and whatever comes out is kept, a refusal too.
"""

import importlib
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.evaluation.parity.compare import compare
from benchmarks.evaluation.parity.run import evenly
from benchmarks.gpu_check import time_batch
from benchmarks.gpu_day.device_time import time_step
from benchmarks.gpu_day.effort import Effort
from benchmarks.gpu_day.half import EXPORTED
from benchmarks.gpu_day.journal import Journal
from benchmarks.gpu_day.networks import matrix_operations, random_network
from benchmarks.gpu_day.payload import Payload
from benchmarks.gpu_day.reference import BUNDLE
from benchmarks.gpu_day.speed import WEIGHTS
from export.trace import bank_network, trace, write_half
from runtime.detector import EngineDetector
from runtime.engines.engine import Engine, Slots, slots_of
from runtime.engines.network import INPUT_NAME, OUTPUT_NAME, SLOT_NAME
from runtime.engines.tensorrt.engine import TensorRTEngine
from runtime.engines.tensorrt.gpu import find_gpu
from runtime.engines.tensorrt.library import TensorRTLog
from runtime.errors import ModelError
from runtime.models.exported_model import ExportedModel
from runtime.products.catalogue import SingleProduct
from train.data.open_dataset import open_dataset
from train.reference import ReferenceEngine, load_network
from train.students.bundle import open_bundle
from train.students.network import PatchMapNetwork
from trt_engines.build_engine import build_engine
from trt_engines.build_plan import build_plan
from trt_engines.options import EngineOptions

_BATCHES = (1, 4, 16)
# Named only after a build without a name was refused: the nearest relatives of a Hopper GPU.
_OTHER_CAPABILITIES = ("8.0", "8.6", "8.9", "12.0")
_OPTIONS = EngineOptions(timing_cache=False)


class PlanInTorch:
    """A TensorRT plan run on PyTorch's memory and stream.

    Args:
        tensorrt: The module.
        plan: The serialised engine.
        log: Takes what TensorRT says.

    Raises:
        ModelError: TensorRT cannot load it, or gives no context.
    """

    def __init__(self, tensorrt: Any, plan: bytes, log: TensorRTLog) -> None:
        self._runtime = tensorrt.Runtime(log.logger(tensorrt))
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise ModelError(f"TensorRT cannot load what it built: {log.errors()}")
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise ModelError(f"TensorRT gives no context: {log.errors()}")
        self._log = log
        self._stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._map_shape = tuple(self._engine.get_tensor_shape(OUTPUT_NAME))[1:]
        self.description = f"tensorrt-rtx {tensorrt.__version__} on pytorch's memory"

    def infer(
        self, tiles: npt.NDArray[np.uint8], slots: Slots | None = None
    ) -> npt.NDArray[np.float32]:
        """(N, height, width, 3) uint8 tiles to (N, rows, columns) float32 patch maps."""
        launch, maps = self.prepare(tiles, slots)
        launch()
        self._stream.synchronize()
        found: npt.NDArray[np.float32] = maps.cpu().numpy()
        return found

    def prepare(
        self, tiles: npt.NDArray[np.uint8], slots: Slots | None = None
    ) -> tuple[Callable[[], None], torch.Tensor]:
        """What enqueues a batch that is in the GPU's memory, and where its maps will be."""
        given = {
            INPUT_NAME: torch.tensor(tiles, device="cuda"),
            SLOT_NAME: torch.tensor(slots_of(tiles, slots), device="cuda"),
        }
        maps = torch.full((len(tiles), *self._map_shape), float("nan"), device="cuda")
        torch.cuda.synchronize()
        for name, tensor in given.items():
            self._context.set_input_shape(name, tuple(tensor.shape))
        for name, tensor in (*given.items(), (OUTPUT_NAME, maps)):
            self._context.set_tensor_address(name, tensor.data_ptr())

        def launch() -> None:
            if not self._context.execute_async_v3(self._stream.cuda_stream):
                raise ModelError(
                    f"TensorRT failed on {len(given[INPUT_NAME])}: {self._log.errors()}"
                )

        return launch, maps

    def time(self, tiles: npt.NDArray[np.uint8], budget_s: float) -> float:
        """Median milliseconds of a batch, on the GPU alone."""
        launch, _ = self.prepare(tiles)
        with torch.cuda.stream(self._stream):
            return time_step(launch, device="cuda", budget_s=budget_s).p50_ms

    def close(self) -> None:
        """Release engine and context."""
        self._context = self._engine = self._runtime = None


def run_rtx(folder: Path, work: Path, journal: Journal, *, device: str, effort: Effort) -> None:
    """Build engines without naming a GPU, run them, and hold them against the parity gate.

    Args:
        folder: The payload.
        work: Where part `half` left the product's export.
        journal: Takes what is found.
        device: "cuda"; on "cpu" it is only built.
        effort: How much is done.
    """
    tensorrt = importlib.import_module("tensorrt_rtx")
    journal.add("versions", {"tensorrt_rtx": tensorrt.__version__})
    plan = None
    with journal.step("product"):
        plan = _build(tensorrt, work / EXPORTED / "model.fp16.onnx", "product", journal)
    if plan is not None and device == "cuda":
        with journal.step("product runs"):
            engine = PlanInTorch(tensorrt, plan, TensorRTLog())
            _hold(folder, work, journal, "product parity", engine, effort)
            for tiles in _BATCHES:
                batch = noise(tiles, ExportedModel.open(work / EXPORTED).manifest.tile_wh)
                ms = engine.time(batch, effort.step_s)
                journal.add(f"product, {tiles} at once", {"p50_ms": ms})
    for size in sorted({case.image_size for case in effort.cases}):
        with journal.step(f"speed {size} px"):
            _speed(tensorrt, work, journal, size, device, effort)


def run_exports(folder: Path, work: Path, journal: Journal, *, device: str, effort: Effort) -> None:
    """Export the networks whose speed is measured; it may run while a GPU does something else.

    Args:
        folder: The payload, of which nothing is needed.
        work: Takes the exports.
        journal: Takes how long it took.
        device: Not needed.
        effort: Which networks.
    """
    del folder, device
    for size in sorted({case.image_size for case in effort.cases}):
        with journal.step(f"{size} px"):
            begun = time.perf_counter()
            exported_network(work, size, effort)
            journal.add(f"{size} px", {"seconds": time.perf_counter() - begun})


def run_session(folder: Path, work: Path, journal: Journal, *, device: str, effort: Effort) -> None:
    """Our own builder, its proof and our own session, with TensorRT-RTX in TensorRT's place.

    Args:
        folder: The payload.
        work: Where part `half` left the product's export.
        journal: Takes what is found.
        device: "cuda".
        effort: How much is done.
    """
    del device
    tensorrt = importlib.import_module("tensorrt_rtx")
    gpu = find_gpu()
    journal.add("gpu", asdict(gpu))
    exported = ExportedModel.open(work / EXPORTED)
    with ExitStack() as stack:
        for module in ("trt_engines.build_engine", "runtime.engines.tensorrt.session"):
            stack.enter_context(patch(f"{module}.load_tensorrt", lambda: (tensorrt, gpu)))
        built = build_engine(exported, _OPTIONS, engines=work / "engines", rebuild=True)
        journal.add("manifest", built.manifest)
        for cuda_graph in (False, True):
            name = "with a CUDA graph" if cuda_graph else "without a CUDA graph"
            with journal.step(name):
                engine = TensorRTEngine(built, cuda_graph=cuda_graph)
                for tiles in _BATCHES:
                    latency = time_batch(
                        engine.infer,
                        engine.description,
                        tiles,
                        exported.manifest.tile_wh,
                        warm_up=10,
                        runs=100,
                    )
                    journal.add(f"{name}, {tiles} at once", latency)
                _hold(folder, work, journal, f"{name}, parity", engine, effort)


def _build(tensorrt: Any, onnx_path: Path, name: str, journal: Journal) -> bytes | None:
    """A plan without naming a GPU; where that is refused, for its nearest relatives."""
    for capability in (None, *_OTHER_CAPABILITIES):
        log = TensorRTLog()
        begun = time.perf_counter()
        title = f"{name}, built for " + (capability or "whatever is there")
        try:
            plan = build_plan(
                tensorrt,
                onnx_path,
                _OPTIONS,
                log,
                compute_capabilities=[capability] if capability else [],
                shows_progress=False,
            )
            seconds = time.perf_counter() - begun
            journal.add(
                title, {"seconds": seconds, "plan_bytes": len(plan), "said": list(log.lines)}
            )
            if torch.cuda.is_available():
                PlanInTorch(tensorrt, plan, log).close()
            return plan
        except Exception as error:
            journal.add(f"{title}, refused", {"error": str(error), "said": list(log.lines)})
    return None


def _hold(
    folder: Path, work: Path, journal: Journal, name: str, engine: Engine, effort: Effort
) -> None:
    payload = Payload.read(folder)
    bundle = open_bundle(work / BUNDLE)
    network = load_network(bundle, teacher_weights=folder / payload.teacher_file)
    samples = evenly(
        open_dataset(folder / payload.data, product=payload.product).test, effort.images
    )
    with ExitStack() as stack:
        detectors = [
            stack.enter_context(EngineDetector(one, SingleProduct(bundle.card)))
            for one in (ReferenceEngine(network, precision="fp32"), engine)
        ]
        (result,) = compare(detectors[0], detectors[1:], samples)
    journal.add(name, result.to_dict())


def _speed(
    tensorrt: Any, work: Path, journal: Journal, size: int, device: str, effort: Effort
) -> None:
    path, network = exported_network(work, size, effort)
    plan = _build(tensorrt, path, f"{effort.speed_teacher} {size} px", journal)
    if plan is None or device != "cuda":
        return
    engine = PlanInTorch(tensorrt, plan, TensorRTLog())
    right = ReferenceEngine(network.to("cuda"), precision="fp32").infer(noise(1, (size, size)))
    found = engine.infer(noise(1, (size, size)))
    for tiles in _BATCHES:
        ms = engine.time(noise(tiles, (size, size)), effort.step_s)
        operations = tiles * matrix_operations(network.teacher)
        journal.add(
            f"{effort.speed_teacher} {size} px, {tiles} at once",
            {
                "p50_ms": ms,
                "operations": operations,
                "operations_per_s": operations / (1e-3 * ms),
                "mean_error_of_spread": float(np.abs(found - right).mean() / right.std()),
            },
        )


def exported_network(work: Path, size: int, effort: Effort) -> tuple[Path, PatchMapNetwork]:
    """The FP16 file of the network whose speed is measured, and the network itself on the CPU."""
    path = work / f"speed_{size}.fp16.onnx"
    network = random_network(
        work / WEIGHTS, name=effort.speed_teacher, image_size=size, device="cpu"
    )
    if not path.is_file():
        fp32, unfinished = (work / f"speed_{size}.{one}.onnx" for one in ("fp32", "part"))
        trace(bank_network(network), fp32)
        write_half(fp32, unfinished)
        unfinished.replace(path)
    return path, network


def noise(tiles: int, tile_wh: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """(N, height, width, 3) uint8 noise."""
    width, height = tile_wh
    return np.random.default_rng(0).integers(0, 256, (tiles, height, width, 3), np.uint8)
