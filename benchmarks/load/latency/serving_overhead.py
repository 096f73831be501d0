"""What serving adds to the time in process, for a large image in tiles.

The network is one of no weight, since a real one's own spread is a hundred times what is sought.
Detector and server take turns on the same pixels.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.machine.result_files import table
from benchmarks.machine.timing import Timing, take_turns
from benchmarks.workload.drawn_image import draw_image
from benchmarks.workload.models import SQUARE, TILES, light_model
from runtime.client.client import Client
from runtime.detector import Detector
from runtime.geometry.geometry import GeometrySettings
from triton_repo.configuration.build import build_repository
from triton_repo.server.server import ServerSettings, TritonServer


@dataclass(frozen=True, kw_only=True)
class ServingOverhead:
    """What serving adds for one kind of request.

    Attributes:
        name: How the image is cut, and whether the float map comes back.
        tiles: Of the image.
        in_process: The detector's time.
        server: The client's, through shared memory, in turns with it.
        added_p50_ms: Median of the differences, turn by turn.
        stage_p50_ms: Of the server's time, by stage.
    """

    name: str
    tiles: int
    in_process: Timing
    server: Timing
    added_p50_ms: float
    stage_p50_ms: dict[str, float]


def measure_overhead(
    folder: Path, *, side: int = 2048, repetitions: int = 60
) -> tuple[ServingOverhead, ...]:
    """Measure with and without the float map, for tiles and for the square.

    Args:
        folder: For models and repositories; made.
        side: Of the image in px.
        repetitions: Turns.
    """
    found = []
    for name, geometry in (("tiles of 518 px", TILES), ("square of 518 px", SQUARE)):
        found += _measure(folder / geometry.kind, name, geometry, side, repetitions)
    return tuple(found)


def _measure(
    folder: Path, name: str, geometry: GeometrySettings, side: int, repetitions: int
) -> list[ServingOverhead]:
    exported = light_model(geometry, folder)
    repository = build_repository(exported, folder / "models")
    settings = ServerSettings.on_free_ports(folder / "log.txt")
    image = draw_image(side, side)
    found = []
    with ExitStack() as stack:
        detector = stack.enter_context(Detector(exported.folder))
        server = stack.enter_context(TritonServer(repository, settings))
        client = stack.enter_context(Client(server.grpc_address, transport="shared-memory"))
        for want_map in (False, True):
            stages: list[dict[str, float]] = []

            def ask(wanted: bool = want_map, told: list[dict[str, float]] = stages) -> None:
                told.append(client.inspect(image, want_map=wanted).stage_ms)

            def inspect(wanted: bool = want_map) -> None:
                detector.inspect(image, want_map=wanted)

            times = take_turns(
                {"in process": inspect, "server": ask},
                repetitions=repetitions,
                warm_up=5,
                progress=f"serving, {name}",
            )
            differences = np.subtract(times["server"], times["in process"])
            found.append(
                ServingOverhead(
                    name=f"{name}, {'with' if want_map else 'without'} the float map",
                    tiles=geometry.for_image(side, side).tiles,
                    in_process=Timing.of(times["in process"]),
                    server=Timing.of(times["server"]),
                    added_p50_ms=float(np.median(differences)),
                    stage_p50_ms={
                        stage: float(np.median([one[stage] for one in stages]))
                        for stage in stages[0]
                    },
                )
            )
    return found


def overhead_table(overheads: tuple[ServingOverhead, ...], side: int) -> str:
    """As Markdown."""
    rows = [
        [
            f"{side:,} x {side:,} px, {one.name}",
            str(one.tiles),
            f"{one.in_process.p50_ms:.1f} ms",
            f"{one.server.p50_ms:.1f} ms",
            f"{one.added_p50_ms:+.1f} ms",
            f"{one.server.p99_ms - one.in_process.p99_ms:+.1f} ms",
        ]
        for one in overheads
    ]
    head = ["image", "tiles", "in process, p50", "server, p50", "serving adds, p50", "p99"]
    return table(head, rows)
