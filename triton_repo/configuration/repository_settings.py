"""What is chosen when a repository is generated."""

from dataclasses import dataclass, replace
from typing import Annotated, Literal, TypeAlias

from cyclopts import Parameter

from runtime.engines.tensorrt.manifest import TileProfile
from runtime.errors import OptionError

TorchPrecision: TypeAlias = Literal["fp16", "fp32"]
"""Of the network that PyTorch serves."""


@dataclass(frozen=True, kw_only=True)
class RepositorySettings:
    """What is chosen when a repository is generated.

    Attributes:
        max_batch_tiles: The most tiles that the engine runs at once, and so the most that an image
            may need: one of more is refused before it is cut. By default a TensorRT engine's
            largest batch; without one 128, which are 24 megapixels at full scale.
        max_megapixels: The largest image that is decoded, in millions of pixels; it bounds what one
            request can make the server allocate.
        max_queue_delay_us: How long a tile waits for others to run with, in microseconds.
        max_queue_requests: Requests that may wait; more are refused at once.
        queue_timeout_ms: How long a request may wait in a queue before it is refused, in
            milliseconds. With 0 it waits as long as its client does, but in the queue of an engine
            that runs several requests together, which Triton then works off whatever their age.
        image_instances: Processes for `preprocess` and for `postprocess`, so that requests overlap.
        cpu_precision: "f32" or "bf16", for the engine on a CPU.
        cpu_instances: Processes of the engine on a CPU, each with a network of its own.
        cpu_threads: Threads of each of them; 0 for all cores.
        gpu_instances: Execution contexts of the engine on a GPU, which overlap copies and work.
        cuda_graphs: On a GPU, launch small batches as recorded CUDA graphs.
        torch_precision: "fp16" or "fp32" adds what serving by PyTorch needs, for a GPU without
            TensorRT: the exported network in that precision, and configurations for l2bt serve
            --engine torch. Left out if none is named.
    """

    max_batch_tiles: int | None = None
    max_megapixels: float = 100.0
    max_queue_delay_us: int = 500
    max_queue_requests: int = 64
    queue_timeout_ms: int = 0
    image_instances: int = 2
    cpu_precision: str = "f32"
    cpu_instances: int = 1
    cpu_threads: int = 0
    gpu_instances: int = 1
    cuda_graphs: Annotated[bool, Parameter(negative="--no-cuda-graphs")] = True
    torch_precision: TorchPrecision | None = None

    def __post_init__(self) -> None:
        counts = ("max_queue_requests", "image_instances", "cpu_instances", "gpu_instances")
        for name in ("max_batch_tiles", *counts):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise OptionError(f"{name} is {value}; expected at least 1")
        for name in ("max_queue_delay_us", "queue_timeout_ms", "cpu_threads"):
            if getattr(self, name) < 0:
                raise OptionError(f"{name} is {getattr(self, name)}; expected 0 or more")
        if not self.max_megapixels > 0:
            raise OptionError(f"max_megapixels is {self.max_megapixels}; expected more than 0")
        if self.cpu_precision not in ("f32", "bf16"):
            raise OptionError(f"cpu_precision is {self.cpu_precision!r}; expected 'f32' or 'bf16'")
        if self.torch_precision not in (None, "fp16", "fp32"):
            raise OptionError(
                f"torch_precision is {self.torch_precision!r}; expected 'fp16' or 'fp32'"
            )

    def for_engine(self, profile: TileProfile, *, name: str) -> "RepositorySettings":
        """The same for a TensorRT engine, whose largest batch is the limit.

        Args:
            profile: The engine's batch sizes.
            name: The engine's folder, for the error.

        Raises:
            OptionError: More tiles are asked for than the engine takes.
        """
        wanted = self.max_batch_tiles or profile.largest
        if wanted > profile.largest:
            raise OptionError(
                f"max_batch_tiles is {wanted}, but the engine in {name} takes {profile.largest} at "
                f"once; build it with l2bt engine --largest-batch {wanted} --rebuild, or ask for "
                "fewer"
            )
        return replace(self, max_batch_tiles=wanted)
