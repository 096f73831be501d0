"""Opening what inspects: a model in process or a connection to a server, by what a user named."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from runtime.client.access import ConnectionOptions, Transport
from runtime.errors import OptionError
from runtime.extras import from_another_room

if TYPE_CHECKING:
    from runtime.client.client import Client
    from runtime.detector import EngineDetector

Device: TypeAlias = Literal["cpu", "gpu"]
"""Where a model runs in process."""
Library: TypeAlias = Literal["openvino", "tensorrt", "torch"]
"""What runs an exported model in process."""


@dataclass(frozen=True, kw_only=True)
class InspectorOptions:
    """What may be chosen about a model or a server on the command line.

    Attributes:
        model: An exported model, or a product bundle to run in PyTorch. Excludes --server.
        server: host:port of a server's gRPC interface, or of several with commas. Excludes --model.
        transport: To the server: auto, shared-memory or grpc.
        device: For --model: cpu, or gpu, where an exported model runs by its TensorRT engine.
        precision: For --model: fp32 (or f32, the same) or bf16 for an exported model, on a GPU fp16
            or fp32; fp32, bf16 or fp16 for a bundle.
        engine: For an exported model: openvino (on a CPU, the default there), tensorrt (on a GPU,
            the default there), or torch, which runs it on either by PyTorch.
        engines: With --device gpu: folder of all TensorRT engines; trt_engines by default.
        rebuild: With --device gpu: build the engine if there is none that fits.
        scale: For --model: tile scale, where it shall not be that of training; needs --force-scale.
        force_scale: Run at another scale than that of training; each answer says so.
    """

    model: Path | None = None
    server: str | None = None
    transport: Transport = "auto"
    device: Device = "cpu"
    precision: str | None = None
    engine: Library | None = None
    engines: Path | None = None
    rebuild: bool = False
    scale: float | None = None
    force_scale: bool = False

    def open(self, connection: ConnectionOptions) -> "EngineDetector | Client":
        """Open the model or the connection; see `open_inspector`."""
        return open_inspector(
            model=self.model,
            server=self.server,
            transport=self.transport,
            connection=connection,
            device=self.device,
            precision=self.precision,
            engine=self.engine,
            engines=self.engines,
            rebuild=self.rebuild,
            scale=self.scale,
            force_scale=self.force_scale,
        )


def open_model(
    model: str | Path,
    *,
    device: Device = "cpu",
    precision: str | None = None,
    engine: Library | None = None,
    engines: Path | None = None,
    rebuild: bool = False,
) -> "EngineDetector":
    """Open whatever `--model` names: an exported model, or a product bundle.

    Args:
        model: Folder that `l2bt export` or `l2bt train` left.
        device: "cpu"; or "gpu", where an exported model runs by its TensorRT engine.
        precision: fp32 (default; f32 is the same) or bf16 for an exported model on a CPU; fp16 or
            fp32 on a GPU, by default its engine's; fp32 (default), bf16 or fp16 for a bundle.
        engine: What runs an exported model, where it shall not be the device's default: "torch".
        engines: Folder of all TensorRT engines; trt_engines by default.
        rebuild: On a GPU, build an exported model's engine if there is none that fits.

    Raises:
        ModelError: The folder is neither.
        OptionError: Device or precision cannot be had.
    """
    from runtime.engines.engine import spelled
    from runtime.products.store.folder_kinds import require_kind

    folder = Path(model)
    is_exported = require_kind(folder, "export", "bundle") == "export"
    on_tensorrt = is_exported and device == "gpu" and engine in (None, "tensorrt")
    if (rebuild or engines is not None) and not on_tensorrt:
        raise OptionError(
            "--rebuild and --engines belong to an exported model on --device gpu, by TensorRT"
        )
    if engine is not None and not is_exported:
        raise OptionError(f"--engine belongs to an exported model, and {folder} is a bundle")
    if is_exported:
        from runtime.detector import Detector
        from runtime.models.built_engines import ENGINES

        engines = engines or ENGINES
        if rebuild:
            from_another_room("engine")(folder, engines=engines, precision=precision)
        return Detector(folder, device=device, precision=precision, engine=engine, engines=engines)
    in_torch = "cuda" if device == "gpu" else device
    opened: EngineDetector = from_another_room("bundle")(
        folder, device=in_torch, precision=spelled(precision or "fp32", ("fp32",))
    )
    return opened


def open_inspector(
    *,
    model: Path | None = None,
    server: str | None = None,
    transport: Transport = "auto",
    connection: ConnectionOptions | None = None,
    device: Device = "cpu",
    precision: str | None = None,
    engine: Library | None = None,
    engines: Path | None = None,
    rebuild: bool = False,
    scale: float | None = None,
    force_scale: bool = False,
) -> "EngineDetector | Client":
    """Open a model in process, or a connection to a server.

    Args:
        model: An exported model or a product bundle. Excludes `server`.
        server: host:port of a server's gRPC interface. Excludes `model`.
        transport: How images reach the server.
        connection: What else may be chosen about the way to it.
        device: Of the model in process.
        precision: Of the model in process.
        engine: What runs an exported model in process, where it shall not be the default.
        engines: Folder of all TensorRT engines; trt_engines by default.
        rebuild: Build the model's TensorRT engine if there is none that fits.
        scale: Tile scale of the model in process, where it shall not be that of training.
        force_scale: Insist on a scale that the students have not seen.

    Raises:
        OptionError: Neither or both are given, or an option does not belong to the one given.
    """
    if (model is None) == (server is None):
        raise OptionError("give one of --model and --server, not both and not neither")
    if model is not None:
        if transport != "auto" or connection not in (None, ConnectionOptions()):
            raise OptionError(
                "--transport, --patience-s, --priority, --tls-... and --token-path belong to "
                "--server, and --model was given"
            )
        if force_scale and scale is None:
            raise OptionError("--force-scale belongs to --scale, which is missing")
        detector = open_model(
            model,
            device=device,
            precision=precision,
            engine=engine,
            engines=engines,
            rebuild=rebuild,
        )
        if scale is not None:
            try:
                detector.look_at_scale(scale, force=force_scale)
            except OptionError:
                detector.close()
                raise
        return detector
    if scale is not None or force_scale:
        raise OptionError("--scale belongs to --model; a server's is chosen by l2bt repository")
    chosen = (precision, engine, engines)
    if device != "cpu" or rebuild or any(one is not None for one in chosen):
        raise OptionError(
            "--device, --precision, --engine, --engines and --rebuild belong to --model; a "
            "server's are chosen by l2bt repository and l2bt serve"
        )
    from runtime.client.client import Client

    assert server is not None
    return Client(server, transport=transport, **(connection or ConnectionOptions()).arguments())
