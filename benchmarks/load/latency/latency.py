"""How long an image takes, in process and through Triton: `l2bt benchmark latency`."""

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

from cyclopts import Parameter

from benchmarks.load.latency.cases import Case, WayResult, measure_case, serving
from benchmarks.load.latency.pacing import PacedResult, measure_rhythms
from benchmarks.load.latency.pipelining import Pipelining, measure_pipelining, pipelining_table
from benchmarks.load.latency.serving_overhead import (
    ServingOverhead,
    measure_overhead,
    overhead_table,
)
from benchmarks.load.latency.start_up import StartUp, measure_start_up
from benchmarks.machine.machine import (
    Conditions,
    describe_machine,
    library_versions,
    read_conditions,
)
from benchmarks.machine.result_files import results_folder, table, write_result
from benchmarks.machine.timing import Timing
from benchmarks.workload.drawn_image import draw_image
from runtime.client.client import Client
from runtime.detector import Detector
from runtime.inspections.inspection import Inspector
from runtime.models.exported_model import ExportedModel
from runtime.products.store.folder_kinds import require_kind

_SCHEMA = "l2bt.latency/2"
_OVERHEAD_SIDE = 2048
_STAGES = ("decode", "preprocess", "network", "postprocess", "transport")
# What TensorRT needs to fill an empty cell; nothing of it has run yet.
_FILLED_BY = "l2bt engine MODEL, then l2bt benchmark latency MODEL, on the machine with the GPU"


@dataclass(frozen=True, kw_only=True)
class LatencyResult:
    """All of one run.

    Attributes:
        machine: What it ran on.
        conditions: Its state before the run.
        versions: Versions of the libraries.
        ways: Each image size in each way.
        rhythms: At line rates and after rest.
        overheads: What serving adds; none where PyTorch is not installed.
        start_ups: From nothing to the first answer.
        pipelining: What a stream of images gains.
        schema: Version of this file's layout.
    """

    machine: str
    conditions: Conditions
    versions: dict[str, str]
    ways: tuple[WayResult, ...]
    rhythms: tuple[PacedResult, ...]
    overheads: tuple[ServingOverhead, ...]
    start_ups: tuple[StartUp, ...]
    pipelining: tuple[Pipelining, ...]
    schema: str = _SCHEMA


def latency(
    model: Path,
    *,
    product: str | None = None,
    server: str | None = None,
    sizes: Annotated[list[int] | None, Parameter(consume_multiple=True)] = None,
    repetitions: int = 50,
    budget_s: float = 90.0,
    rhythm_s: float = 20.0,
    gap_s: float = 10.0,
    gaps: int = 5,
    out: Path | None = None,
) -> None:
    """Time one image at a time, by stage, in process and through Triton, at several rhythms.

    Args:
        model: A product bundle, which is exported as the square of 518 and of 1,036 px and as
            tiles of 518 px, and for the stream as 518 x 350 px too; or an exported model, which is
            measured as it is.
        product: Name of the product, where an exported model holds several.
        server: host:port of a server that holds an exported model's product, such as one with
            TensorRT; by default one is started, on the CPU.
        sizes: For an exported model: sides of the square images in px; 518 and 2,048 by default.
        repetitions: Of each way and size.
        budget_s: Seconds for a size, after which no further repetition begins; two are made
            whatever they take.
        rhythm_s: Seconds of each rhythm.
        gap_s: Seconds of each rest.
        gaps: How many rests.
        out: Folder of all machines' results; benchmarks/results by default.
    """
    conditions = read_conditions()
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if require_kind(model, "export", "bundle") == "export":
            cases = [_case(model, product, side) for side in sizes or (518, 2048)]
            streamed = [model]
        else:
            cases = _cases_of_bundle(model, folder)
            streamed = [cases[0].model, _fitted(model, folder)]
        ways = [
            way
            for case in cases
            for way in measure_case(case, repetitions=repetitions, budget_s=budget_s, server=server)
        ]
        first = cases[0]
        result = LatencyResult(
            machine=describe_machine(),
            conditions=conditions,
            versions=library_versions(),
            ways=tuple(ways),
            rhythms=_rhythms(first, server, rhythm_s, gap_s, gaps),
            # Its network is made with PyTorch, which a line PC has not.
            overheads=(
                measure_overhead(folder / "light", side=_OVERHEAD_SIDE)
                if find_spec("torch") is not None
                else ()
            ),
            start_ups=measure_start_up(ExportedModel.open(first.model), first.product),
            pipelining=tuple(measure_pipelining(one, first.product) for one in streamed),
        )
    written = results_folder("latency", out)
    page = to_markdown(result)
    write_result(written, result, page)
    print(page)
    print(written)


def _case(model: Path, product: str | None, side: int) -> Case:
    exported = ExportedModel.open(model)
    card = exported.store.serving(product).card
    return Case(
        name=f"{side:,} px, {card.geometry.describe()}", model=model, product=product, side=side
    )


def _cases_of_bundle(bundle: Path, folder: Path) -> list[Case]:
    from benchmarks.workload.models import PAPERS_SQUARE, SQUARE, TILES, at_geometry
    from train.students.bundle import open_bundle

    opened = open_bundle(bundle)
    models = {
        geometry.describe(): at_geometry(opened, geometry, folder / str(number)).folder
        for number, geometry in enumerate((SQUARE, PAPERS_SQUARE, TILES))
    }
    wanted = ((518, SQUARE), (1036, PAPERS_SQUARE), (2048, TILES), (4096, TILES))
    return [_case(models[geometry.describe()], None, side) for side, geometry in wanted]


def _fitted(bundle: Path, folder: Path) -> Path:
    from benchmarks.workload.models import FITTED, at_geometry
    from train.students.bundle import open_bundle

    return at_geometry(open_bundle(bundle), FITTED, folder / "fitted").folder


def _rhythms(
    case: Case, server: str | None, seconds: float, gap_s: float, gaps: int
) -> tuple[PacedResult, ...]:
    image = draw_image(case.side, case.side)
    with ExitStack() as stack:
        address = server or stack.enter_context(serving(ExportedModel.open(case.model)))
        client = stack.enter_context(Client(address))
        detector = stack.enter_context(Detector(case.model))
        inspectors: dict[str, Inspector] = {"in process": detector, "Triton": client}
        results: list[PacedResult] = []
        for name, inspector in inspectors.items():
            results += measure_rhythms(
                f"{case.name}, {name}",
                partial(inspector.inspect, image, product=case.product, want_map=False),
                seconds=seconds,
                gap_s=gap_s,
                gaps=gaps,
            )
        return tuple(results)


def to_markdown(result: LatencyResult) -> str:
    """The run as tables."""
    parts = [
        f"{result.machine}; load average {result.conditions.load_average:.1f} before the run.",
        "Batch 1, with the float map. Median of each stage.",
        table(
            ["image", "passes", "way", "runs", "p50, ms", "p90", "p99", "longest", *_STAGES],
            [_row(one) for one in result.ways],
        ),
        "At the rhythm of a line, without the float map; from the moment at which an image is due.",
        table(
            ["way", "rhythm", "images", "first, ms", "p50", "p90", "p99", "longest"],
            [_paced_row(one) for one in result.rhythms],
        ),
        "What serving adds, with a network of no weight, shared memory, same machine:",
        overhead_table(result.overheads, _OVERHEAD_SIDE),
        "JPEG files in process, without float maps, beside the bare network on as many tiles:",
        pipelining_table(result.pipelining),
        "From the start of a process to its first answer, no compiled model kept:",
        table(
            ["way", "starts", "p50, s", "longest"],
            [
                [
                    one.way,
                    str(one.timing.count),
                    f"{one.timing.p50_ms / 1e3:.2f}",
                    f"{one.timing.max_ms / 1e3:.2f}",
                ]
                for one in result.start_ups
            ],
        ),
    ]
    missing = {one.way: one.missing for one in result.ways if one.missing}
    parts += [f"{way}: not run here. {reason}" for way, reason in missing.items()]
    if missing:
        parts.append(f"To fill the empty cells of TensorRT: {_FILLED_BY}.")
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def _row(one: WayResult) -> list[str]:
    if one.timing is None:
        return [one.case, str(one.tiles), one.way, *[""] * (5 + len(_STAGES))]
    told = one.stage_p50_ms
    stages = [f"{told[name]:.1f}" if name in told else "" for name in _STAGES]
    counted = [one.case, str(one.tiles), one.way, str(one.timing.count)]
    return [*counted, *_percentiles(one.timing), *stages]


def _paced_row(one: PacedResult) -> list[str]:
    if one.timing is None:
        return [one.way, one.rhythm, "more than this machine can do", *[""] * 5]
    counted = [one.way, one.rhythm, str(one.timing.count), f"{one.first_ms:.0f}"]
    return [*counted, *_percentiles(one.timing)]


def _percentiles(timing: Timing) -> list[str]:
    return [
        f"{value:,.1f}" for value in (timing.p50_ms, timing.p90_ms, timing.p99_ms, timing.max_ms)
    ]
