"""What the training benchmark found."""

from dataclasses import dataclass

from benchmarks.learning.quality import Curve, Recipe
from benchmarks.learning.ways import UpdateTimes
from benchmarks.machine.machine import Conditions

_SCHEMA = "l2bt.training_benchmark/1"


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """All measurements.

    Attributes:
        machine: What it ran on.
        conditions: In which state that was.
        versions: Versions of the libraries.
        product: What was learned.
        teacher: Name of the frozen network.
        teacher_precision: What it computed in; the cache is float16 whatever that is.
        image_size: Side of the square in px.
        good_images: That were learned from, those held out included.
        test_images: That the quality is of.
        batch_patches: Of an update of the curves.
        teacher_pass_s: Seconds that filling the cache took.
        times: The two ways.
        curves: Quality over steps and seconds, by learning rate.
        recipe: The quickest training that is almost as good as the best.
        schema: Version of this file's layout.
    """

    machine: str
    conditions: Conditions
    versions: dict[str, str]
    product: str
    teacher: str
    teacher_precision: str
    image_size: int
    good_images: int
    test_images: int
    batch_patches: int
    teacher_pass_s: float
    times: UpdateTimes
    curves: tuple[Curve, ...]
    recipe: Recipe
    schema: str = _SCHEMA
