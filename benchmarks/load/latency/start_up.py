"""From nothing to the first answer: a new process with the model, and a new server."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np

from benchmarks.machine.timing import Timing
from runtime.client.client import Client
from runtime.models.exported_model import ExportedModel
from triton_repo.configuration.build import build_repository
from triton_repo.server.server import ServerSettings, TritonServer

_IN_PROCESS = """
import sys
import numpy as np
from l2bt import Detector
with Detector(sys.argv[1]) as detector:
    image = np.zeros((512, 512, 3), np.uint8)
    detector.inspect(image, product=sys.argv[2] or None, want_map=False)
"""


@dataclass(frozen=True, kw_only=True)
class StartUp:
    """How long it takes until the first answer is there.

    Attributes:
        way: In process, or by a server.
        timing: From the start of the process to the first answer, its network pass included.
    """

    way: str
    timing: Timing


def measure_start_up(
    exported: ExportedModel, product: str | None, *, repetitions: int = 5
) -> tuple[StartUp, ...]:
    """Start and ask, several times; no compiled model is kept from one time to the next."""
    in_process, by_server = [], []
    image = np.zeros((512, 512, 3), np.uint8)
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        repository = build_repository(exported, folder / "models")
        settings = ServerSettings.on_free_ports(folder / "log.txt")
        for _ in range(repetitions):
            start = perf_counter()
            command = [sys.executable, "-c", _IN_PROCESS, str(exported.folder), product or ""]
            subprocess.run(command, check=True)
            in_process.append(1e3 * (perf_counter() - start))
            start = perf_counter()
            with (
                TritonServer(repository, settings) as server,
                Client(server.grpc_address) as client,
            ):
                client.inspect(image, product=product, want_map=False)
                by_server.append(1e3 * (perf_counter() - start))
    return (
        StartUp(way="in process, OpenVINO f32", timing=Timing.of(in_process)),
        StartUp(way="Triton server, OpenVINO f32", timing=Timing.of(by_server)),
    )
