"""Opening an exported model's network with the library, device and precision that were chosen."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from runtime.engines.engine import FillableEngine, spelled
from runtime.engines.openvino_engine import OpenVINOEngine
from runtime.engines.tensorrt.library import load_tensorrt
from runtime.engines.tensorrt.manifest import EngineMachine
from runtime.errors import OptionError
from runtime.extras import from_another_room
from runtime.models.bank_filler import BankFiller
from runtime.models.built_engines import ENGINES, find_engine
from runtime.models.exported_model import ExportedModel
from runtime.products.catalogue import Catalogue
from runtime.products.store.product_store import WrittenProducts

# What runs a model on a device, the default first.
_LIBRARIES = {"cpu": ("openvino", "torch"), "gpu": ("tensorrt", "torch")}


@dataclass(frozen=True, kw_only=True)
class NetworkOptions:
    """What may be chosen about the network in process.

    Attributes:
        device: "cpu" or "gpu".
        engine: "openvino", "tensorrt" or "torch"; the device's default where none is named.
        precision: Of its arithmetic; the engine's default where none is named.
        threads: CPU threads, with OpenVINO; all cores by default.
        streams: With OpenVINO, images that it sees at the same time.
        engines: Folder of all TensorRT engines.
        cuda_graph: On a GPU, launch each batch size as one recorded CUDA graph; by default with
            PyTorch and not with TensorRT.
    """

    device: str = "cpu"
    engine: str | None = None
    precision: str | None = None
    threads: int | None = None
    streams: int = 1
    engines: Path = ENGINES
    cuda_graph: bool | None = None

    def __post_init__(self) -> None:
        if self.device not in _LIBRARIES:
            raise OptionError(f"device {self.device!r}: expected 'cpu' or 'gpu'")
        libraries = _LIBRARIES[self.device]
        if self.engine not in (None, *libraries):
            raise OptionError(
                f"engine {self.engine!r}: on device {self.device!r} there is "
                f"{' and '.join(libraries)}"
            )
        if self.device == "cpu" and self.cuda_graph:
            raise OptionError("cuda_graph belongs to device 'gpu'")
        if self.library != "openvino" and (self.threads is not None or self.streams != 1):
            raise OptionError("threads and streams belong to device 'cpu' and engine 'openvino'")
        if self.library != "openvino" and self.named_precision not in (None, "fp16", "fp32"):
            place = "a GPU" if self.device == "gpu" else "a CPU with engine 'torch'"
            raise OptionError(f"precision {self.precision!r}: on {place} there is fp16 and fp32")

    @property
    def library(self) -> str:
        """The engine that is meant."""
        return self.engine or _LIBRARIES[self.device][0]

    @property
    def named_precision(self) -> str | None:
        """The precision as the library calls it, if one was named."""
        known = ("f32",) if self.library == "openvino" else ("fp32",)
        return None if self.precision is None else spelled(self.precision, known)


class OpenedNetwork(NamedTuple):
    """A network with what it can be asked for.

    Attributes:
        engine: Runs it.
        products: What images are held against.
        filler: Keeps its bank as the store says; None where its students cannot be replaced.
    """

    engine: FillableEngine
    products: Catalogue
    filler: BankFiller | None


def open_network(exported: ExportedModel, options: NetworkOptions) -> OpenedNetwork:
    """Open an exported model's network.

    Raises:
        ModelError: Its engine cannot be loaded.
        EngineMismatchError: There is no TensorRT engine of this model for this machine.
        OptionError: The device or the precision cannot be had.
    """
    engine: FillableEngine
    if options.library == "tensorrt":
        return _open_tensorrt(exported, options)
    if options.library == "torch":
        default = "fp16" if options.device == "gpu" else "fp32"
        path = exported.path_of(options.named_precision or default)
        engine = from_another_room("torch")(
            path, device=options.device, cuda_graph=options.cuda_graph
        )
    else:
        engine = OpenVINOEngine(
            exported.onnx_path,
            precision=options.named_precision or "f32",
            threads=options.threads,
            streams=options.streams,
        )
    filler = BankFiller(exported.store, engine, written=exported.manifest.written)
    return OpenedNetwork(engine, exported.store, filler)


def _open_tensorrt(exported: ExportedModel, options: NetworkOptions) -> OpenedNetwork:
    from runtime.engines.tensorrt.engine import TensorRTEngine

    tensorrt, gpu = load_tensorrt()
    machine = EngineMachine.of(gpu, tensorrt.__version__)
    built = find_engine(
        exported, machine, engines=options.engines, precision=options.named_precision
    )
    engine = TensorRTEngine(built, cuda_graph=bool(options.cuda_graph))
    opened = OpenedNetwork(engine, exported.store, None)
    if built.manifest.live_products:
        filler = BankFiller(exported.store, engine, written={}) if engine.capacity else None
        return opened._replace(filler=filler)
    advice = f"build it again with l2bt engine {exported.folder} --rebuild, or with --live-products"
    return opened._replace(
        products=WrittenProducts(exported.store, built.manifest.written, advice=advice)
    )
