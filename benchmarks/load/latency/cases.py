"""One image size, inspected in each way that this machine has, in turns."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.machine.timing import Timing, take_turns
from benchmarks.workload.drawn_image import draw_image, encode
from runtime.client.client import Client
from runtime.detector import Detector
from runtime.errors import EngineMismatchError, OptionError
from runtime.images.decode import ImageLike
from runtime.inspections.inspection import Inspection, Inspector
from runtime.models.exported_model import ExportedModel
from triton_repo.configuration.build import build_repository
from triton_repo.server.server import ServerSettings, TritonServer

SERVED = ("Triton, shared memory", "Triton, pixels by gRPC", "Triton, JPEG by gRPC")
_PIXELS, _JPEG = "in process, OpenVINO f32", "in process, OpenVINO f32, from JPEG"
_FEW_TILES, _MANY_TILES = 4, 32
_SAME, _LOWER_PRECISION = 1e-4, 0.01


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is inspected.

    Attributes:
        name: Such as "2,048 px, tiles".
        model: Exported model, of one or more products.
        product: The product in it; None for the only one.
        side: Of the square image, in px.
    """

    name: str
    model: Path
    product: str | None
    side: int


@dataclass(frozen=True, kw_only=True)
class WayResult:
    """One way to inspect one image.

    Attributes:
        case: The case's name.
        tiles: Network passes an image.
        way: In process or through Triton, device and precision, transport.
        timing: Of whole inspections; None if this machine cannot do it.
        stage_p50_ms: Median of each stage; empty if it has not run.
        missing: Why it has not run, and the command that would fill the cell.
    """

    case: str
    tiles: int
    way: str
    timing: Timing | None
    stage_p50_ms: dict[str, float]
    missing: str = ""


@dataclass(frozen=True)
class _Question:
    """Who is asked with which image, and whose score it must give."""

    inspector: Inspector
    image: ImageLike
    reference: str
    tolerance: float = _SAME


def measure_case(
    case: Case,
    *,
    repetitions: int,
    budget_s: float,
    server: str | None = None,
    want_map: bool = True,
) -> tuple[WayResult, ...]:
    """Time all ways of one case in turns; the scores must agree.

    Args:
        case: What is inspected.
        repetitions: Turns.
        budget_s: No further turn is begun after so many seconds.
        server: host:port of a server that holds the product; one of its own on the CPU by default.
        want_map: Whether the answers carry the float map.

    Raises:
        RuntimeError: A way gave another score: it would be fast by being wrong.
    """
    with ExitStack() as stack:
        detector = stack.enter_context(Detector(case.model))
        card = detector.read_card(product=case.product)
        tiles = card.geometry.for_image(case.side, case.side).tiles
        if server is None:
            server = stack.enter_context(serving(ExportedModel.open(case.model), tiles))
        ways = _ways(stack, detector, server, case.side)
        if tiles > _MANY_TILES:
            # Minutes an image, of which the transport is a thousandth.
            ways = {name: ways[name] for name in (_PIXELS, SERVED[0])}
        missing = _add_where_possible(stack, ways, case)
        found: dict[str, list[Inspection]] = {name: [] for name in ways}

        def step(name: str, way: _Question) -> Callable[[], None]:
            return lambda: found[name].append(
                way.inspector.inspect(way.image, product=case.product, want_map=want_map)
            )

        times = take_turns(
            {name: step(name, way) for name, way in ways.items()},
            repetitions=repetitions,
            # An image of many tiles warms itself up.
            warm_up=int(tiles <= _FEW_TILES),
            budget_s=budget_s,
            least=2,
            progress=case.name,
        )
    for name, way in ways.items():
        expected = found[way.reference][0].score
        worst = max(abs(one.score - expected) for one in found[name])
        if worst > way.tolerance * expected:
            raise RuntimeError(f"{case.name}: {name} gave a score that differs by {worst:.3g}")
    measured = [
        WayResult(
            case=case.name,
            tiles=tiles,
            way=name,
            timing=Timing.of(times[name]),
            stage_p50_ms=_stage_medians(found[name][-len(times[name]) :]),
        )
        for name in ways
    ]
    return (
        *measured,
        *(
            WayResult(
                case=case.name, tiles=tiles, way=name, timing=None, stage_p50_ms={}, missing=reason
            )
            for name, reason in missing.items()
        ),
    )


@contextmanager
def serving(exported: ExportedModel, tiles: int = 1) -> Iterator[str]:
    """A server of its own for an exported model; gives the address of its gRPC interface."""
    from triton_repo.configuration.repository_settings import RepositorySettings

    settings = RepositorySettings(max_batch_tiles=max(tiles, 128))
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        repository = build_repository(exported, folder / "models", settings=settings)
        ports = ServerSettings.on_free_ports(folder / "log.txt")
        with TritonServer(repository, ports) as server:
            yield server.grpc_address


def _ways(stack: ExitStack, detector: Detector, server: str, side: int) -> dict[str, _Question]:
    pixels = draw_image(side, side)
    encoded = encode(pixels)
    shared, by_grpc = (
        stack.enter_context(Client(server, transport=transport, timeout_s=600))
        for transport in ("shared-memory", "grpc")
    )
    # A JPEG's pixels are others, so it has its own right answer.
    return {
        _PIXELS: _Question(detector, pixels, _PIXELS),
        _JPEG: _Question(detector, encoded, _JPEG),
        SERVED[0]: _Question(shared, pixels, _PIXELS),
        SERVED[1]: _Question(by_grpc, pixels, _PIXELS),
        SERVED[2]: _Question(by_grpc, encoded, _JPEG),
    }


def _add_where_possible(stack: ExitStack, ways: dict[str, _Question], case: Case) -> dict[str, str]:
    """Add what only some machines have; give what is missing, and why."""
    missing = {}
    options: dict[str, dict[str, Any]] = {
        "in process, OpenVINO bf16": {"precision": "bf16"},
        "in process, TensorRT fp16": {"device": "gpu"},
    }
    for name, arguments in options.items():
        try:
            detector = stack.enter_context(Detector(case.model, **arguments))
        except (OptionError, EngineMismatchError) as error:
            # No such precision, no GPU, or no engine for it; what is broken ends the run.
            missing[name] = str(error)
        else:
            pixels = ways[_PIXELS].image
            ways[name] = _Question(detector, pixels, _PIXELS, tolerance=_LOWER_PRECISION)
    return missing


def _stage_medians(inspections: list[Inspection]) -> dict[str, float]:
    return {
        stage: float(np.median([one.stage_ms[stage] for one in inspections]))
        for stage in inspections[0].stage_ms
    }
