"""Part `half`: what FP16 on the GPU changes, beside what its emulation on a CPU foretold."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.evaluation.parity.compare import compare
from benchmarks.evaluation.parity.run import evenly
from benchmarks.evaluation.parity.stress import Stress
from benchmarks.gpu_day.effort import Effort
from benchmarks.gpu_day.journal import Journal
from benchmarks.gpu_day.networks import HalfNetwork
from benchmarks.gpu_day.payload import Payload
from benchmarks.gpu_day.reference import BUNDLE
from export.emulated_engine import EmulatedHalfEngine
from export.fuse import export_product
from export.torch_engine.engine import TorchEngine
from export.trace import bank_network, trace, write_half, write_naive_half
from runtime.detector import EngineDetector
from runtime.engines.engine import Engine, Slots
from runtime.products.catalogue import SingleProduct
from train.data.open_dataset import open_dataset
from train.reference import ReferenceEngine, load_network
from train.students.bundle import open_bundle

EXPORTED = "exported"
_STRESSES = (10.0, 30.0)
_STRESSED_IMAGES = 6


class HalfEngine:
    """The network as it is timed in part `speed`, behind the interface of an engine."""

    def __init__(self, network: HalfNetwork, *, device: str, precision: str) -> None:
        self._network = network
        self._device = device
        self.description = f"pytorch {device}, {precision} weights"

    @torch.inference_mode()
    def infer(
        self, tiles: npt.NDArray[np.uint8], slots: Slots | None = None
    ) -> npt.NDArray[np.float32]:
        """(N, height, width, 3) uint8 tiles to (N, rows, columns) float32 patch maps."""
        maps: npt.NDArray[np.float32] = (
            self._network(torch.tensor(tiles, device=self._device)).cpu().numpy()
        )
        return maps

    def close(self) -> None:
        """Nothing to release."""


def run_half(folder: Path, work: Path, journal: Journal, *, device: str, effort: Effort) -> None:
    """Export the product, and run its FP16 graph on the device.

    Args:
        folder: The payload.
        work: Where part `reference` left the product's bundle; takes its export.
        journal: Takes what is found.
        device: "cuda", or "cpu" in a rehearsal.
        effort: How much is done.
    """
    payload = Payload.read(folder)
    weights = folder / payload.teacher_file
    with journal.step("export"):
        begun = time.perf_counter()
        bundle = open_bundle(work / BUNDLE)
        export_product(bundle, work / EXPORTED, teacher_weights=weights, capacity=1, overwrite=True)
        journal.add("export", {"seconds": time.perf_counter() - begun})
    with journal.step("parity"):
        fp16, fp32 = (work / EXPORTED / name for name in ("model.fp16.onnx", "model.onnx"))
        engines: list[Engine] = [
            EmulatedHalfEngine(fp16),
            _as_written(fp16, device),
            _as_written(fp32, device),
            *_as_served(fp16, device),
        ]
        for precision in ("fp16", "bf16"):
            # Students of their own, whose weights are changed in place.
            own = open_bundle(work / BUNDLE)
            network = load_network(own, teacher_weights=weights, device=device, precision=precision)
            half = HalfNetwork(network, precision)
            engines.append(HalfEngine(half, device=device, precision=precision))
        _compare(folder, payload, work, journal, "parity", engines, effort.images)
    for factor in _STRESSES:
        name = f"activations {factor:g} times as large"
        with journal.step(name):
            paths = _stressed(folder, payload, work, factor)
            engines = [
                EmulatedHalfEngine(paths["half"]),
                _as_written(paths["half"], device),
                _as_written(paths["naive"], device, ", everything in fp16"),
            ]
            images = min(effort.images, _STRESSED_IMAGES)
            _compare(folder, payload, work, journal, name, engines, images)


def _as_written(path: Path, device: str, words: str = "") -> TorchEngine:
    """Each operator of the file by itself."""
    engine = TorchEngine(path, device=device_of(device), fused=False)
    engine.description += words
    return engine


def _as_served(path: Path, device: str) -> list[TorchEngine]:
    """With fused kernels; on a GPU recorded too."""
    device = device_of(device)
    recorded = [False, True] if device == "gpu" else [False]
    return [TorchEngine(path, device=device, cuda_graph=one) for one in recorded]


def device_of(device: str) -> str:
    """What `l2bt` calls a device of PyTorch."""
    return "cpu" if device == "cpu" else "gpu"


def _stressed(folder: Path, payload: Payload, work: Path, factor: float) -> dict[str, Path]:
    network = load_network(
        open_bundle(work / BUNDLE), teacher_weights=folder / payload.teacher_file
    )
    Stress(residual=factor).apply(network)
    paths = {name: work / f"stressed_{name}.onnx" for name in ("fp32", "half", "naive")}
    trace(bank_network(network), paths["fp32"])
    write_half(paths["fp32"], paths["half"])
    write_naive_half(paths["fp32"], paths["naive"])
    return paths


def _compare(
    folder: Path,
    payload: Payload,
    work: Path,
    journal: Journal,
    name: str,
    engines: Sequence[Engine],
    images: int,
) -> None:
    """Hold engines against PyTorch on the CPU in FP32, whose weights nothing has enlarged."""
    bundle = open_bundle(work / BUNDLE)
    network = load_network(bundle, teacher_weights=folder / payload.teacher_file)
    dataset = open_dataset(folder / payload.data, product=payload.product)
    with ExitStack() as stack:
        detectors = [
            EngineDetector(engine, SingleProduct(bundle.card))
            for engine in (ReferenceEngine(network, precision="fp32"), *engines)
        ]
        for one in detectors:
            stack.callback(one.close)
        results = compare(detectors[0], detectors[1:], evenly(dataset.test, images))
    journal.add(name, [result.to_dict() for result in results])
