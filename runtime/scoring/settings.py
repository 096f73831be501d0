"""What may be chosen about scoring a collection."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from runtime.errors import OptionError

Kept: TypeAlias = Literal["none", "rejected", "all"]
"""Of which images something is kept: "rejected" are those whose verdict is not good."""


@dataclass(frozen=True, kw_only=True)
class ScoringOptions:
    """What a table of scores is made with; one table has it once and for all.

    Attributes:
        product: Name of the product, where the model holds several.
        device: cpu, or gpu, where the model runs by its TensorRT engine.
        precision: f32 or bf16 on a CPU, fp16 or fp32 on a GPU; the device's default otherwise.
        engine: openvino, tensorrt or torch; the device's default otherwise.
        shard_images: Images of a shard: what is done or done again as a whole, and one Parquet
            file.
        pictures: Of which images the table holds a small picture with the heat map: none, rejected
            (not good) or all. It takes about 17 KB an image.
        maps: Of which images it holds the anomaly map in FP16, reduced to 512 px: none, rejected or
            all. It takes about 140 KB an image.
    """

    product: str | None = None
    device: Literal["cpu", "gpu"] = "cpu"
    precision: str | None = None
    engine: Literal["openvino", "tensorrt", "torch"] | None = None
    shard_images: int = 500
    pictures: Kept = "none"
    maps: Kept = "none"

    def __post_init__(self) -> None:
        if not 1 <= self.shard_images <= 100_000:
            raise OptionError(
                f"shard_images is {self.shard_images}; expected 1 to 100000, such as 500"
            )

    @property
    def needs_map(self) -> bool:
        """Whether anything but scores is kept."""
        return self.pictures != "none" or self.maps != "none"


@dataclass(frozen=True, kw_only=True)
class PlaceOptions:
    """What may differ from one run over a table to the next, beside who does it.

    Attributes:
        engines: With --device gpu: folder of all TensorRT engines, trt_engines by default; the same
            path on each machine.
        patience_s: Seconds for which images that cannot be reached are tried again.
    """

    engines: Path | None = None
    patience_s: float = 300.0

    def __post_init__(self) -> None:
        if not 0 <= self.patience_s < float("inf"):
            raise OptionError(f"patience_s is {self.patience_s}; expected 0 or more seconds")
