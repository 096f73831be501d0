"""How much a part does: all of it on a GPU, next to nothing in a rehearsal."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Case:
    """A network that is timed.

    Attributes:
        image_size: Side of its square in px.
        tiles: At once.
        ways: How it is run; see `benchmarks.gpu_day.speed`.
        precision: Of its matrix products.
        image: What so many tiles of this size are.
    """

    image_size: int
    tiles: int
    ways: tuple[str, ...]
    precision: str = "fp16"
    image: str = ""


_GRAPH = ("graph",)
_ALL = ("autocast", "eager", "graph", "graph, default attention", "compiled graph")
_BIG_IMAGE = "2,048 x 2,048 px as 25 tiles"


@dataclass(frozen=True, kw_only=True)
class Effort:
    """Sizes of what is measured.

    Attributes:
        steps: Student updates of the product that is learned.
        compared_steps: Updates that are taken on both devices and compared.
        images: Test images that ways are compared on.
        teacher_batches: Tiles at once for the teacher's rate.
        engine_tiles: Tiles in one call of the engine.
        clients: At the same time, of a server.
        serve_s: How long each number of clients asks.
        soak_requests: Of the long shift.
        speed_teacher: timm's name of the network whose speed is measured, with random weights.
        cases: What is timed, in order of worth.
        product_side: Of the matrices whose product is the limit.
        copied_bytes: Of the array whose copy is the other limit.
        budget_s: No further case is begun after so many seconds of a part.
        step_s: About how long one timed step is repeated.
    """

    steps: int = 2000
    compared_steps: int = 100
    images: int = 24
    teacher_batches: tuple[int, ...] = (1, 4, 16, 64)
    engine_tiles: tuple[int, ...] = (1, 4, 25)
    clients: tuple[int, ...] = (1, 2, 4, 8, 16)
    serve_s: float = 8
    soak_requests: int = 10_000
    speed_teacher: str = "vit_base_patch14_reg4_dinov2"
    cases: tuple[Case, ...] = (
        Case(image_size=1036, tiles=1, ways=_ALL),
        Case(image_size=518, tiles=1, ways=_ALL),
        Case(image_size=518, tiles=25, ways=("graph", "compiled graph"), image=_BIG_IMAGE),
        Case(image_size=1036, tiles=4, ways=("graph", "compiled graph")),
        Case(image_size=1036, tiles=1, ways=("graph", "compiled graph"), precision="bf16"),
        Case(image_size=518, tiles=4, ways=_GRAPH),
        Case(image_size=518, tiles=16, ways=_GRAPH),
        Case(image_size=518, tiles=64, ways=_GRAPH),
        Case(image_size=1036, tiles=16, ways=_GRAPH),
        Case(image_size=518, tiles=1, ways=_GRAPH, precision="bf16"),
        Case(image_size=1036, tiles=1, ways=("eager",), precision="fp32"),
        Case(image_size=518, tiles=1, ways=("eager",), precision="fp32"),
        Case(image_size=1036, tiles=64, ways=_GRAPH),
    )
    product_side: int = 8192
    copied_bytes: int = 1 << 31
    budget_s: float = 150
    step_s: float = 1.0


REHEARSAL = Effort(
    steps=20,
    compared_steps=3,
    images=2,
    teacher_batches=(1, 2),
    engine_tiles=(1, 3),
    clients=(1, 2),
    serve_s=1,
    soak_requests=40,
    speed_teacher="vit_tiny_patch16_224",
    cases=(
        Case(image_size=64, tiles=1, ways=("autocast", "eager")),
        Case(image_size=64, tiles=2, ways=("eager",), precision="bf16"),
    ),
    product_side=128,
    copied_bytes=1 << 16,
    budget_s=60,
    step_s=0.01,
)
