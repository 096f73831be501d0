"""What the throughput benchmark found, as it stands in its result.json."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np

from benchmarks.load.closed_loop import Loop
from benchmarks.load.throughput.perf_analyzer_rounds import ClientComparison
from benchmarks.machine.machine import Conditions
from benchmarks.machine.timing import Ratio, Timing

SCHEMA = "l2bt.throughput/1"
IN_PROCESS, SERVED = "in process", "server"


@dataclass(frozen=True, kw_only=True)
class Point:
    """So many clients that ask in one way, over all rounds.

    Attributes:
        way: "in process", or which server.
        clients: At the same time.
        products: Among which they change.
        images: Answered, each with the score that it must have.
        seconds: That it took.
        images_per_s: The one over the other.
        latency: From a question to its answer.
        tiles_per_run: Tiles that the server's engine ran at once, on average; None in process.
        runs_by_tiles: How often it ran so many at once.
        own_cores: Cores that this process kept busy: the clients, or the detector.
        server_cores: Cores that the server and its python models kept busy; None in process.
        server_mib: Their memory, in MiB (PSS); None in process.
        beside_in_process: How many times as many images a second as the detector, which was
            measured right beside it; None where it was not.
    """

    way: str
    clients: int
    products: int
    images: int
    seconds: float
    images_per_s: float
    latency: Timing
    tiles_per_run: float | None
    runs_by_tiles: dict[int, int]
    own_cores: float
    server_cores: float | None
    server_mib: float | None
    beside_in_process: float | None = None

    @classmethod
    def of(
        cls, way: str, products: int, loops: Sequence[Loop], *, beside: Loop | None = None
    ) -> "Point":
        """Sum up what one way did in several stretches of time.

        Args:
            way: Its name.
            products: Among which the clients changed.
            loops: The stretches.
            beside: What the detector did right beside them.
        """
        latencies = list(chain.from_iterable(loop.latencies_ms for loop in loops))
        seconds = sum(loop.seconds for loop in loops)
        runs: Counter[int] = Counter()
        for loop in loops:
            runs.update(loop.runs_by_tiles)
        is_served = way != IN_PROCESS
        tiles = sum(size * count for size, count in runs.items())
        images_per_s = len(latencies) / seconds
        return cls(
            way=way,
            clients=loops[0].clients,
            products=products,
            images=len(latencies),
            seconds=seconds,
            images_per_s=images_per_s,
            latency=Timing.of(latencies),
            tiles_per_run=tiles / runs.total() if is_served else None,
            runs_by_tiles=dict(sorted(runs.items())),
            own_cores=sum(loop.own_cpu_s for loop in loops) / seconds,
            server_cores=sum(loop.server_cpu_s for loop in loops) / seconds if is_served else None,
            server_mib=max(loop.server_mib for loop in loops) if is_served else None,
            beside_in_process=images_per_s / beside.images_per_s if beside is not None else None,
        )


@dataclass(frozen=True, kw_only=True)
class MixedProducts:
    """So many products in one bank, in mixed order, beside one alone.

    Attributes:
        point: What was measured with them.
        slowdown: How many times as long an image took as with one product, round by round.
    """

    point: Point
    slowdown: Ratio


@dataclass(frozen=True, kw_only=True)
class SizeCost:
    """One image size, looked at in one way; one client.

    Attributes:
        geometry: "square", "fitted" or "tiles".
        width: Of the image in px.
        height: Of the image in px.
        tiles: That it is cut into.
        in_process: Time of an inspection by the detector.
        served: By the server, in turn with it.
        stage_ms: Medians of the served inspections' stages.
    """

    geometry: str
    width: int
    height: int
    tiles: int
    in_process: Timing
    served: Timing
    stage_ms: dict[str, float]

    @property
    def megapixels(self) -> float:
        """Pixels of the image, in millions."""
        return self.width * self.height / 1e6


@dataclass(frozen=True, kw_only=True)
class Growth:
    """A straight line through the medians of all image sizes.

    Attributes:
        geometry: "square", "fitted" or "tiles".
        way: "in process" or "server".
        fixed_ms: Where it begins; below 0 where larger images cost more a pixel.
        ms_per_megapixel: How it rises.
    """

    geometry: str
    way: str
    fixed_ms: float
    ms_per_megapixel: float

    @classmethod
    def of(cls, geometry: str, way: str, sizes: Sequence[SizeCost]) -> "Growth":
        """Fit the line to all sizes of one geometry."""
        timings = [one.in_process if way == IN_PROCESS else one.served for one in sizes]
        rise, begin = np.polyfit(
            [one.megapixels for one in sizes], [timing.p50_ms for timing in timings], 1
        )
        return cls(geometry=geometry, way=way, fixed_ms=float(begin), ms_per_megapixel=float(rise))


@dataclass(frozen=True, kw_only=True)
class ThroughputResult:
    """Everything of one run.

    Attributes:
        machine: What it ran on.
        conditions: The state that it was in.
        versions: Versions of the libraries.
        network: Teacher and tile size.
        geometry: How the product looks at its images.
        width: Of the images of clients and products, in px.
        height: Of them, in px.
        points: By number of clients.
        products: By number of products.
        unmeasured_products: Numbers of products that the bank has no room for.
        sizes: By image size.
        growth: Lines through them.
        perf_analyzer: NVIDIA's client beside ours; none where it was not asked for.
        schema: Version of this file's layout.
    """

    machine: str
    conditions: Conditions
    versions: dict[str, str]
    network: str
    geometry: str
    width: int
    height: int
    points: tuple[Point, ...]
    products: tuple[MixedProducts, ...]
    unmeasured_products: tuple[int, ...]
    sizes: tuple[SizeCost, ...]
    growth: tuple[Growth, ...]
    perf_analyzer: tuple[ClientComparison, ...] = field(default=())
    schema: str = SCHEMA
