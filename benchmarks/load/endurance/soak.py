"""A long shift: many requests of all kinds to one server, some of them malformed.

    l2bt benchmark soak exported/macaroni1 --requests 100000

Images of several sizes, as pixels through shared memory, as pixels by gRPC and as files, for each
product that is active, with and without the map; one in twenty is malformed. Each answer is held
against the one that the same image got from the detector in process. Told are wrong and lost
answers, the growth of the server's memory, and how the 99th percentile of the latency moves.
"""

import io
import sys
import threading
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from benchmarks.load.closed_loop import questions_of
from benchmarks.load.endurance.tally import CountingThreads, Tally
from benchmarks.load.server_usage import memory_mib
from benchmarks.machine.machine import describe_machine, library_versions
from benchmarks.machine.result_files import results_folder, table, write_result
from benchmarks.workload.drawn_image import draw_image, encode
from benchmarks.workload.question import Question
from runtime.client.access import Transport
from runtime.client.client import Client
from runtime.detector import Detector
from runtime.errors import InputError
from runtime.inspections.inspection import Inspector
from runtime.models.exported_model import ExportedModel
from runtime.storage.atomic_write import atomic_write
from triton_repo.configuration.build import build_repository
from triton_repo.server.server import ServerSettings, TritonServer

_SCHEMA = "l2bt.soak/1"
_SIZES = ((60, 90), (240, 360), (518, 518), (1000, 1500))
_MALFORMED_EVERY = 20
_WINDOWS = 20
_ERRORS_SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class Window:
    """One twentieth of the run.

    Attributes:
        requests: Answered by its end.
        server_mib: Memory of the server and its python models, in MiB (PSS).
        p50_ms: Median latency of the good requests in it.
        p99_ms: Their 99th percentile.
    """

    requests: int
    server_mib: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, kw_only=True)
class SoakResult:
    """The whole run.

    Attributes:
        machine: What it ran on.
        versions: Versions of the libraries.
        requests: That were sent.
        clients: At the same time.
        malformed: Of the requests.
        refused: Malformed ones that got an error about their input, as they should.
        wrong: Answers with another score than in process, and malformed ones that were answered.
        lost: Requests that ended in an error, but for malformed ones that were refused.
        seconds: How long it took.
        mib_per_thousand: Slope of the memory over the second half, in MiB a thousand requests.
        windows: How it went.
        schema: Version of this file's layout.
    """

    machine: str
    versions: dict[str, str]
    requests: int
    clients: int
    malformed: int
    refused: int
    wrong: int
    lost: int
    seconds: float
    mib_per_thousand: float
    windows: tuple[Window, ...]
    schema: str = _SCHEMA


class Soak:
    """What is sent, and what came back.

    Attributes:
        tally: What became of the requests.
        malformed: How many of them were malformed.
        windows: How the run went.
    """

    def __init__(self, goods: list[Question], address: str, pid: int, requests: int) -> None:
        self._goods, self._address, self._pid, self._requests = goods, address, pid, requests
        self._next = 0
        self._lock = threading.Lock()
        self._latencies_ms: list[float] = []
        self._bar = tqdm(total=requests, desc="soak", unit="request")
        self.tally = Tally()
        self.malformed = 0
        self.windows: list[Window] = []

    def work(self, number: int) -> None:
        """Send until all are sent; one client."""
        transport: Transport = "grpc" if number % 2 else "shared-memory"
        with Client(self._address, transport=transport, timeout_s=120) as client:
            while (turn := self._take()) is not None:
                if turn % _MALFORMED_EVERY == 0:
                    self.send_malformed(client, turn)
                else:
                    self.send(client, turn)
                self._close_window(turn)

    def _take(self) -> int | None:
        with self._lock:
            if self._next >= self._requests:
                return None
            self._next += 1
            self._bar.update()
            return self._next

    def send(self, client: Inspector, turn: int) -> None:
        """Send a good request."""
        good = self._goods[turn % len(self._goods)]

        def request() -> bool:
            found = client.inspect(good.image, product=good.product, want_map=turn % 3 == 0)
            return good.is_right(found.score)

        start = time.monotonic()
        if self.tally.count(request):
            with self._lock:
                self._latencies_ms.append(1e3 * (time.monotonic() - start))

    def send_malformed(self, client: Inspector, turn: int) -> None:
        """Send a request that must be refused for what it is."""
        bad: list[tuple[Any, str]] = [
            (b"no picture at all", self._goods[0].product),
            (_cut_jpeg(turn), self._goods[0].product),
            (self._goods[0].image, "no-such-product"),
        ]
        source, product = bad[turn // _MALFORMED_EVERY % len(bad)]

        def request() -> bool:
            client.inspect(source, product=product)
            return False

        with self._lock:
            self.malformed += 1
        self.tally.count(request, refusal=InputError)

    def _close_window(self, turn: int) -> None:
        if turn % max(1, self._requests // _WINDOWS):
            return
        with self._lock:
            latencies, self._latencies_ms = self._latencies_ms, []
        p50, p99 = np.quantile(latencies, (0.5, 0.99)) if latencies else (0.0, 0.0)
        server_mib = memory_mib(self._pid)
        window = Window(requests=turn, server_mib=server_mib, p50_ms=float(p50), p99_ms=float(p99))
        with self._lock:
            self.windows.append(window)


def soak(model: Path, *, requests: int = 2000, clients: int = 3, out: Path | None = None) -> None:
    """Send requests to a real server for long; write JSON, Markdown and a picture.

    Args:
        model: Exported model.
        requests: How many to send in all.
        clients: How many at the same time.
        out: Folder of all machines' results; benchmarks/results by default.
    """
    exported = ExportedModel.open(model)
    goods = _goods(model, sorted(exported.store.table().active))
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        repository = build_repository(exported, folder / "models")
        settings = ServerSettings.on_free_ports(folder / "log.txt")
        with TritonServer(repository, settings) as server:
            run = Soak(goods, server.grpc_address, server.pid, requests)
            start = time.monotonic()
            threads = CountingThreads([partial(run.work, number) for number in range(clients)])
            threads.start()
            threads.join()
            seconds = time.monotonic() - start
    run.tally.check()
    for error in run.tally.errors[:_ERRORS_SHOWN]:
        print(f"lost: {type(error).__name__}: {error}", file=sys.stderr)
    half = run.windows[len(run.windows) // 2 :]
    slope = np.polyfit([one.requests / 1e3 for one in half], [one.server_mib for one in half], 1)[0]
    result = SoakResult(
        machine=describe_machine(),
        versions=library_versions(),
        requests=requests,
        clients=clients,
        malformed=run.malformed,
        refused=run.tally.refused,
        wrong=run.tally.wrong,
        lost=run.tally.lost,
        seconds=seconds,
        mib_per_thousand=float(slope),
        windows=tuple(run.windows),
    )
    results = results_folder("soak", out)
    write_result(results, result, to_markdown(result))
    draw(result, results / "soak.svg")
    print(to_markdown(result))


def to_markdown(result: SoakResult) -> str:
    """The run in a table and a sentence."""
    first, middle, last = (result.windows[index] for index in (0, len(result.windows) // 2, -1))
    rows = [
        [
            f"{one.requests:,} requests",
            f"{one.server_mib:,.0f} MiB",
            f"{one.p50_ms:,.0f} ms",
            f"{one.p99_ms:,.0f} ms",
        ]
        for one in (first, middle, last)
    ]
    lines = [
        table(["after", "server's memory", "p50", "p99"], rows),
        f"{result.requests:,} requests by {result.clients} clients in {result.seconds:,.0f} s: "
        f"{result.wrong} wrong, {result.lost} lost; {result.refused:,} of {result.malformed:,} "
        f"malformed ones refused. Memory over the second half: {result.mib_per_thousand:+.1f} MiB "
        f"a thousand requests. {result.machine}.",
    ]
    return "\n".join(lines) + "\n"


def draw(result: SoakResult, path: Path) -> None:
    """Memory and latency over the run."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    above, below = figure.subplots(2, sharex=True)
    requests = [one.requests for one in result.windows]
    above.plot(requests, [one.server_mib for one in result.windows])
    above.set(ylabel="server's memory, MiB", ylim=(0, None))
    below.plot(requests, [one.p99_ms for one in result.windows], label="p99")
    below.plot(requests, [one.p50_ms for one in result.windows], label="p50")
    below.set(xlabel="requests", ylabel="latency, ms", ylim=(0, None))
    below.legend(loc="upper right")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg")
    atomic_write(path, buffer.getvalue())


def _goods(model: Path, products: list[str]) -> list[Question]:
    goods = []
    with Detector(model) as detector:
        for number, (height, width) in enumerate(_SIZES):
            pixels = draw_image(height, width, number)
            sources: list[bytes | npt.NDArray[np.uint8]] = [pixels, encode(pixels, "PNG")]
            sources.append(encode(pixels))
            goods += questions_of(detector, sources, products)
    return goods


def _cut_jpeg(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (64, 64, 3), np.uint8)
    data = encode(pixels)
    return data[: len(data) // 2]
