"""The ways of running a product that parity knows, by the text that names one.

| text | what runs |
| --- | --- |
| `products/P` or `products/P@fp32`, `@bf16`, `@fp16` | the bundle in PyTorch |
| `products/P@half` | exported in FP16, emulated in ONNX Runtime |
| `products/P@naive` | everything in FP16 as `half()` would make it, emulated |
| `exported/P` or `exported/P@f32`, `@bf16` | the FP32 file in OpenVINO |
| `exported/P@fp16` | the FP16 file in OpenVINO, which computes it in FP32 on a CPU |
| `exported/P@half` | the FP16 file, emulated in ONNX Runtime |
| `exported/P@tensorrt` | this machine's TensorRT engine |
| `HOST:PORT` | a Triton server |
"""

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks.evaluation.parity.stress import Stress
from runtime.client.client import Client
from runtime.detector import Detector, EngineDetector
from runtime.engines.engine import spelled
from runtime.engines.openvino_engine import OpenVINOEngine
from runtime.errors import ModelError, OptionError
from runtime.models.built_engines import ENGINES
from runtime.models.exported_model import ExportedModel
from runtime.products.catalogue import SingleProduct
from runtime.products.store.folder_kinds import kind_of, require_kind

_SERVER = re.compile(r"[^/@]+:\d+")
_OF_BUNDLE = ("fp32", "bf16", "fp16", "half", "naive")
_OF_EXPORT = ("f32", "bf16", "fp16", "half", "tensorrt")


@dataclass(frozen=True, kw_only=True)
class Places:
    """What a way may need beside its folder.

    Attributes:
        stress: How to enlarge the network's activations; for bundles only.
        teacher_weights: The local file of a bundle's teacher, if it was trained with one.
        engines: Folder of all TensorRT engines.
    """

    stress: Stress | None = None
    teacher_weights: Path | None = None
    engines: Path = ENGINES


@dataclass(frozen=True)
class Contender:
    """One way of running a product.

    Attributes:
        text: As it was named.
        folder: The bundle or exported model; None for a server.
        how: What runs it.
    """

    text: str
    folder: Path | None
    how: str

    @classmethod
    def parse(cls, text: str) -> "Contender":
        """Read the text that names a way.

        Raises:
            OptionError: It names none; the message lists those there are.
        """
        place, _, how = text.partition("@")
        folder = Path(place)
        if _SERVER.fullmatch(text) and not folder.exists():
            return cls(text=text, folder=None, how="triton")
        try:
            kind = require_kind(folder, "bundle", "export")
        except ModelError as error:
            raise OptionError(f"{text}: {error}, or HOST:PORT of a server") from error
        known = _OF_EXPORT if kind == "export" else _OF_BUNDLE
        how = spelled(how or known[0], known)
        if how not in known:
            raise OptionError(f"{text}: {place} can be run as {', '.join('@' + k for k in known)}")
        return cls(text=text, folder=folder, how=how)

    def open(self, places: Places | None = None) -> EngineDetector | Client:
        """Open it.

        Args:
            places: What it may need beside its folder.

        Raises:
            OptionError: A stress is asked of something that is no bundle, or it cannot be run here.
        """
        places = places or Places()
        is_export = self.folder is not None and kind_of(self.folder) == "export"
        if places.stress is not None and (self.folder is None or is_export):
            raise OptionError(f"{self.text}: --stress changes the weights, so it needs a bundle")
        if self.folder is None:
            return Client(self.text)
        if is_export:
            return _open_exported(self.folder, self.how, places)
        return _open_bundle(self.folder, self.how, places)


def _open_exported(folder: Path, how: str, places: Places) -> EngineDetector:
    if how == "tensorrt":
        return Detector(folder, device="gpu", engines=places.engines)
    if how in ("f32", "bf16"):
        return Detector(folder, precision=how)
    exported = ExportedModel.open(folder)
    path = exported.path_of("fp16")
    if how == "fp16":
        engine = OpenVINOEngine(path, precision="f32")
        engine.description += " of the fp16 file"
        return EngineDetector(engine, exported.written_products())
    from export.emulated_engine import EmulatedHalfEngine

    return EngineDetector(EmulatedHalfEngine(path), exported.written_products())


def _open_bundle(folder: Path, how: str, places: Places) -> EngineDetector:
    from export.emulated_engine import EmulatedHalfEngine
    from export.trace import bank_network, trace, write_half, write_naive_half
    from train.reference import ReferenceEngine, load_network
    from train.students.bundle import open_bundle

    bundle = open_bundle(folder)
    is_emulated = how in ("half", "naive")
    network = load_network(
        bundle,
        teacher_weights=places.teacher_weights,
        precision="fp32" if is_emulated else how,
    )
    if places.stress is not None:
        places.stress.apply(network)
    if not is_emulated:
        return EngineDetector(ReferenceEngine(network, precision=how), SingleProduct(bundle.card))
    with tempfile.TemporaryDirectory() as temporary:
        fp32, fp16 = Path(temporary) / "fp32.onnx", Path(temporary) / "fp16.onnx"
        trace(bank_network(network), fp32)
        (write_half if how == "half" else write_naive_half)(fp32, fp16)
        engine = EmulatedHalfEngine(fp16)
    if how == "naive":
        engine.description += ", everything in fp16"
    return EngineDetector(engine, SingleProduct(bundle.card))
