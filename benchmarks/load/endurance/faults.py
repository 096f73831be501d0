"""What a server's faults cost: recovery, and what became of the requests under way.

    l2bt benchmark faults exported/macaroni1

Each fault several times, with three clients that ask without a pause and hold each answer against
the one of the detector in process. Traffic goes to loopback only.
"""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.load.endurance.plant import CheckedLoad, Service, end_service, start_service
from benchmarks.machine.machine import describe_machine, library_versions
from benchmarks.machine.result_files import results_folder, table, write_result
from runtime.detector import Detector
from runtime.images.decode import ImageArray
from runtime.models.exported_model import ExportedModel
from triton_repo.configuration.build import build_repository
from triton_repo.supervision.model_processes import model_of, model_processes

_SCHEMA = "l2bt.faults/2"


@dataclass(frozen=True, kw_only=True)
class FaultResult:
    """One fault, all its repetitions together.

    Attributes:
        fault: What was done.
        recovery_s: Seconds until the supervisor said that it had recovered, each time.
        longest_wait_s: The longest that any client waited for an answer.
        sent: Requests.
        wrong: Answers with another score than in process.
        lost: Requests that ended in an error.
    """

    fault: str
    recovery_s: tuple[float, ...]
    longest_wait_s: float
    sent: int
    wrong: int
    lost: int


@dataclass(frozen=True, kw_only=True)
class FaultsResult:
    """All faults of one run.

    Attributes:
        machine: What they ran on.
        versions: Versions of the libraries.
        faults: One each.
        schema: Version of this file's layout.
    """

    machine: str
    versions: dict[str, str]
    faults: tuple[FaultResult, ...]
    schema: str = _SCHEMA


def faults(model: Path, *, repetitions: int = 5, out: Path | None = None) -> None:
    """Kill parts of a server under load, again and again; write JSON and Markdown.

    Args:
        model: Exported model of one product.
        repetitions: How often each fault is tried.
        out: Folder of all machines' results; benchmarks/results by default.
    """
    expected = _expected(model)
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        repository = build_repository(ExportedModel.open(model), folder / "models")
        # One fault follows the other here, so without the pause for what dies again and again.
        options = ("--probe-interval-s", 1, "--most-pause-s", 0.1)
        service = start_service(repository, folder, *options)
        try:
            found = [
                _try(f"kill -9 of {name}", _kill_model(name), service, expected, repetitions)
                for name in ("preprocess", "engine", "postprocess")
            ]
            found.append(
                _try("kill -9 of tritonserver", _kill_server, service, expected, repetitions)
            )
        finally:
            end_service(service)
    result = FaultsResult(
        machine=describe_machine(), versions=library_versions(), faults=tuple(found)
    )
    write_result(results_folder("faults", out), result, to_markdown(result))
    print(to_markdown(result))


def to_markdown(result: FaultsResult) -> str:
    """The faults as a table."""
    head = ["fault", "recovery, median", "longest", "longest wait of a client"]
    head += ["sent", "wrong", "lost"]
    rows = [
        [
            one.fault,
            f"{median(one.recovery_s):.1f} s",
            f"{max(one.recovery_s):.1f} s",
            f"{one.longest_wait_s:.1f} s",
            *(f"{count}" for count in (one.sent, one.wrong, one.lost)),
        ]
        for one in result.faults
    ]
    times = len(result.faults[0].recovery_s)
    return f"{table(head, rows)}\nEach {times} times. {result.machine}.\n"


def _try(
    fault: str,
    inflict: Callable[[Service], None],
    service: Service,
    expected: list[tuple[ImageArray, float]],
    repetitions: int,
) -> FaultResult:
    recoveries = []
    with CheckedLoad(service.address, expected) as load:
        for _ in range(repetitions):
            before = service.count("recovered")
            start = time.monotonic()
            inflict(service)
            service.wait_for("recovered", count=before + 1)
            recoveries.append(time.monotonic() - start)
            load.wait_for_more(10)
    found = FaultResult(
        fault=fault,
        recovery_s=tuple(recoveries),
        longest_wait_s=load.longest_s,
        sent=load.tally.sent,
        wrong=load.tally.wrong,
        lost=load.tally.lost,
    )
    print(found, flush=True)
    return found


def _kill_model(model: str) -> Callable[[Service], None]:
    def kill(service: Service) -> None:
        processes = model_processes(service.server_pid)
        victim = next(pid for name, pid in processes.items() if model_of(name) == model)
        os.kill(victim, signal.SIGKILL)

    return kill


def _kill_server(service: Service) -> None:
    os.kill(service.server_pid, signal.SIGKILL)


def _expected(model: Path) -> list[tuple[ImageArray, float]]:
    images = [
        np.random.default_rng(number).integers(0, 256, (200 + 100 * number, 300, 3), np.uint8)
        for number in range(4)
    ]
    with Detector(model) as detector:
        return [(image, detector.inspect(image, want_map=False).score) for image in images]
