"""The manifest beside a TensorRT engine: what it was built from, for and by."""

import re
from dataclasses import dataclass
from pathlib import Path

from runtime.engines.tensorrt.gpu import Gpu
from runtime.storage.json_files import require_schema

SCHEMA = "l2bt.engine/2"
PLAN_NAME = "model.plan"
MANIFEST_NAME = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class EngineMachine:
    """Where an engine was built, or shall run.

    Attributes:
        gpu: Name of the GPU.
        compute_capability: Such as "8.6".
        tensorrt: Version of TensorRT.
        cuda: The newest CUDA that the driver supports.
        driver: The driver's version, empty if unknown.
    """

    gpu: str
    compute_capability: str
    tensorrt: str
    cuda: str
    driver: str

    @classmethod
    def of(cls, gpu: Gpu, tensorrt_version: str) -> "EngineMachine":
        """This machine."""
        return cls(
            gpu=gpu.name,
            compute_capability=gpu.compute_capability,
            tensorrt=tensorrt_version,
            cuda=gpu.cuda,
            driver=gpu.driver,
        )

    @property
    def label(self) -> str:
        """Name of the folder of engines for it: `<gpu>-sm<cc>-trt<version>`."""
        name = re.sub(r"[^a-z0-9]+", "-", self.gpu.lower()).strip("-")
        return f"{name}-sm{self.compute_capability.replace('.', '')}-trt{self.tensorrt}"


@dataclass(frozen=True, kw_only=True)
class TileProfile:
    """The batch sizes that an engine is made for.

    Attributes:
        best: The number that it is tuned for.
        largest: Most tiles at once; the fewest are one.
    """

    best: int = 4
    largest: int = 16

    def __post_init__(self) -> None:
        if not 1 <= self.best <= self.largest:
            raise ValueError(
                f"tiles at once are {self.best} at best and {self.largest} at most; expected the "
                "first from 1 to the second"
            )


@dataclass(frozen=True, kw_only=True)
class PrecisionProof:
    """What the compiled layers of an engine say about its precision.

    Attributes:
        products: Layers that multiply matrices.
        fp16_products: Those that multiply in FP16.
        normalisations: Layers that hold a LayerNorm.
        fp32_normalisations: Those that compute it in FP32.
        attentions: Attentions of the network.
        fused_attentions: Those that are one layer. Their softmax has no tensor to be seen; the
            strongly typed graph alone says that it is FP32.
        lone_softmaxes: Softmaxes that are no part of a fused attention.
        fp32_softmaxes: Those of them that compute in FP32.
    """

    products: int
    fp16_products: int
    normalisations: int
    fp32_normalisations: int
    attentions: int
    fused_attentions: int
    lone_softmaxes: int
    fp32_softmaxes: int

    def __str__(self) -> str:
        lone = (
            f", {self.fp32_softmaxes} of {self.lone_softmaxes} other softmaxes in FP32"
            if self.lone_softmaxes
            else ""
        )
        return (
            f"{self.fp16_products} of {self.products} matrix products in FP16, "
            f"{self.fp32_normalisations} of {self.normalisations} normalisations in FP32, "
            f"{self.fused_attentions} of {self.attentions} attentions fused{lone}"
        )


@dataclass(frozen=True, kw_only=True)
class EngineManifest:
    """What the plan beside it is.

    Attributes:
        schema: Version of this file's layout.
        model: Name of the exported model.
        plan_sha256: SHA-256 of the plan.
        onnx_sha256: SHA-256 of the ONNX file that it was built from.
        precision: "fp16" or "fp32".
        machine: Where it was built.
        profile: Its batch sizes.
        live_products: Whether the students are inputs, which are filled when it is loaded.
        written: SHA-256 of the students in the plan, by slot; none where they are inputs.
        proof: What its layers say; None for fp32.
        builder_options: How it was built.
        build_seconds: How long that took.
    """

    schema: str = SCHEMA
    model: str
    plan_sha256: str
    onnx_sha256: str
    precision: str
    machine: EngineMachine
    profile: TileProfile
    live_products: bool
    written: dict[int, str]
    proof: PrecisionProof | None
    builder_options: dict[str, str]
    build_seconds: float

    def __post_init__(self) -> None:
        require_schema(self.schema, SCHEMA)

    @property
    def description(self) -> str:
        """What an answer calls it: TensorRT's version, the GPU, the precision."""
        return f"tensorrt {self.machine.tensorrt} {self.machine.gpu} {self.precision}"


@dataclass(frozen=True, kw_only=True)
class BuiltEngine:
    """A checked engine on disk.

    Attributes:
        folder: Where it stands.
        manifest: What it is.
    """

    folder: Path
    manifest: EngineManifest

    @property
    def plan_path(self) -> Path:
        """The serialised engine."""
        return self.folder / PLAN_NAME
