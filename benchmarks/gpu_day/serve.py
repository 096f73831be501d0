"""Parts `environment` and `serve`: the real tritonserver whose python model runs on the GPU.

The server's Python wants an older NumPy than the machine's, so it gets an environment of its own,
which sees the machine's packages behind its own; the part `serve` is run by that one's Python.
"""

import subprocess
import sysconfig
import venv
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.evaluation.parity.run import evenly
from benchmarks.gpu_day.effort import Effort
from benchmarks.gpu_day.half import EXPORTED, device_of
from benchmarks.gpu_day.journal import Journal
from benchmarks.gpu_day.payload import Payload
from benchmarks.load.closed_loop import Loop, loop_clients, loop_in_process, questions_of
from benchmarks.load.endurance.soak import Soak
from benchmarks.load.endurance.tally import CountingThreads
from benchmarks.machine.timing import Timing
from benchmarks.workload.question import Question
from runtime.detector import Detector
from runtime.models.exported_model import ExportedModel
from train.data.open_dataset import open_dataset
from triton_repo.configuration.build import TORCH, build_repository
from triton_repo.configuration.repository_settings import RepositorySettings, TorchPrecision
from triton_repo.server.home import check_stub, prepare_home, server_environment
from triton_repo.server.server import ServerSettings, TritonServer

ENVIRONMENT = "environment"
_IMAGES = 4
# Other batches of FP16 round otherwise; the parity gate allows five times as much.
_HALF_TOLERANCE = 0.002


def run_environment(
    folder: Path, work: Path, journal: Journal, *, device: str, effort: Effort
) -> None:
    """Make the environment in which a server can run.

    Args:
        folder: The payload, with wheels in `serve/` and `tests/`.
        work: Takes the environment.
        journal: Takes its Python's path, and whether the server's stub starts in it.
        device: Not needed.
        effort: Not needed.
    """
    del device, effort
    place = work / ENVIRONMENT
    venv.create(place, clear=True, with_pip=False, symlinks=True)
    python = place / "bin" / "python3"
    packages = place.glob("lib/python*/site-packages")
    # The machine's packages are looked for after its own.
    behind = f"import site; site.addsitedir({sysconfig.get_paths()['purelib']!r})\n"
    (next(packages) / "behind.pth").write_text(behind)
    wheels = [str(one) for name in ("serve", "tests") for one in (folder / name).glob("*.whl")]
    if wheels:
        line = [python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", *wheels]
        _call(line)
    _call([python, "-m", __spec__.name])
    journal.add("python", str(python))


def run_serve(folder: Path, work: Path, journal: Journal, *, device: str, effort: Effort) -> None:
    """Serve the product by PyTorch, and ask as one client, as many, and for long.

    Args:
        folder: The payload.
        work: Where part `half` left the product's export.
        journal: Takes what is found.
        device: "cuda", or "cpu" in a rehearsal.
        effort: How much is done.
    """
    payload = Payload.read(folder)
    place = device_of(device)
    precision: TorchPrecision = "fp16" if place == "gpu" else "fp32"
    exported = ExportedModel.open(work / EXPORTED)
    samples = evenly(open_dataset(folder / payload.data, product=payload.product).test, _IMAGES)
    images = [sample.pixels() for sample in samples]
    with Detector(exported.folder, device=place, engine="torch", precision=precision) as detector:
        questions = [
            Question(
                image=one.image, product=one.product, score=one.score, tolerance=_HALF_TOLERANCE
            )
            for one in questions_of(detector, images, sorted(exported.store.table().active))
        ]
        found = loop_in_process(detector, questions, effort.serve_s)
        journal.add("in process", {"engine": detector.engine_description, **_told(found)})
    settings = RepositorySettings(torch_precision=precision, image_instances=4)
    repository = build_repository(exported, work / "models", settings=settings, overwrite=True)
    log = ServerSettings.on_free_ports(work / "tritonserver.log")
    with TritonServer(repository, log, config_name=TORCH[place]) as server:
        for clients in effort.clients:
            with journal.step(f"{clients} clients"):
                found = loop_clients(server, questions, clients=clients, seconds=effort.serve_s)
                journal.add(f"{clients} clients", _told(found))
        with journal.step("soak"):
            soak = Soak(questions, server.grpc_address, server.pid, effort.soak_requests)
            threads = CountingThreads([partial(soak.work, number) for number in range(4)])
            threads.start()
            threads.join()
            counts = {
                name: getattr(soak.tally, name)
                for name in ("sent", "right", "wrong", "refused", "lost")
            }
            journal.add("soak", {**counts, "windows": soak.windows})
            soak.tally.check()


def _told(loop: Loop) -> dict[str, Any]:
    timing = Timing.of(list(loop.latencies_ms))
    return {
        "clients": loop.clients,
        "images_per_s": loop.images_per_s,
        "latency_p50_ms": timing.p50_ms,
        "latency_p90_ms": timing.p90_ms,
        "server_mib": loop.server_mib,
        "server_cpu_s": loop.server_cpu_s,
        "runs_by_tiles": loop.runs_by_tiles,
    }


def _call(line: list[Any]) -> None:
    done = subprocess.run(list(map(str, line)), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{line[:3]} ended with {done.returncode}: {done.stderr[-3000:]}")


if __name__ == "__main__":
    check_stub(prepare_home(), server_environment())
