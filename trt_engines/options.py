"""What may be chosen when an engine is built."""

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from runtime.engines.tensorrt.manifest import TileProfile
from runtime.errors import OptionError

PRECISIONS = ("fp16", "fp32")


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """How an engine is built.

    Attributes:
        precision: "fp16", the FP16 file; "fp32", the FP32 file, to compare with.
        best_batch: The number of tiles that it is tuned for: those of one image, or what the server
            merges.
        largest_batch: Most tiles at once; memory is taken for so many.
        workspace_mib: Memory that kernels may take while they are tried, in MiB; 0 for all there
            is.
        builder_level: Effort of the search for kernels, 0 to 5; 3 is TensorRT's own default.
        timing_cache: Keep what was measured for the next build on this GPU and version.
        live_products: Keep the students in memory that can be written while the engine is loaded,
            so that products come and go without another build. The server then runs the engine in
            a python model instead of Triton's TensorRT backend. Otherwise the engine holds the
            products that are active when it is built.
        tf32: Let FP32 products round to TF32 on GPUs that have it. Those of an FP16 engine are
            FP16 whatever is chosen here.
    """

    precision: str = "fp16"
    best_batch: int = 4
    largest_batch: int = 16
    workspace_mib: int = 0
    builder_level: int = 3
    timing_cache: Annotated[bool, Parameter(negative="--no-timing-cache")] = True
    live_products: bool = False
    tf32: bool = False

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise OptionError(f"precision {self.precision!r}: expected {' or '.join(PRECISIONS)}")
        if not 0 <= self.builder_level <= 5:
            raise OptionError(f"builder_level is {self.builder_level}; expected 0 to 5")
        if self.workspace_mib < 0:
            raise OptionError(f"workspace_mib is {self.workspace_mib}; expected 0 or more")
        try:
            self.profile  # noqa: B018
        except ValueError as error:
            raise OptionError(str(error)) from error

    @property
    def profile(self) -> TileProfile:
        """The batch sizes."""
        return TileProfile(best=self.best_batch, largest=self.largest_batch)
