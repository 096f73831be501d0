"""The console under load: a large archive's pages, and a line's inspections as they are shown.

    l2bt benchmark console exported/macaroni1 --inspections 1000000 --requests 10000

An archive is filled with made-up inspections, and its pages are asked for by HTTP. Then a server
that writes down what it inspects is sent images, while the live page's stream is read: told are
the time from an answer to its verdict in the stream, and whether each request of the clients' own
list is in the archive, once.
"""

import contextlib
import json
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlencode

import numpy as np
from tqdm import tqdm

from benchmarks.machine.machine import describe_machine, library_versions
from benchmarks.machine.result_files import results_folder, table, write_result
from benchmarks.workload.drawn_image import draw_image
from runtime.client.client import Client
from runtime.errors import ServerError
from runtime.geometry.region import Region
from runtime.images.decode import ImageArray
from runtime.models.exported_model import ExportedModel
from runtime.records.record import InspectionRecord
from runtime.records.record_settings import RecordSettings
from triton_repo.configuration.build import build_repository
from triton_repo.console.archive.database import open_database
from triton_repo.console.archive.inspections import Inspections
from triton_repo.console.people.people import People
from triton_repo.console.people.sessions import Sessions
from triton_repo.server.server import ServerSettings, TritonServer

_SCHEMA = "l2bt.console/1"
_AT_ONCE = 2000
_ASKED = 20
_APART_S = 0.25
_SHOWN_WITHIN_S = 5.0
_WATCHED = 100
_IMAGE_HW = (240, 360)
_PRODUCTS = ("bolt", "nut", "plate")


@dataclass(frozen=True, kw_only=True)
class PageTime:
    """How long a page took.

    Attributes:
        page: Which.
        p50_ms: Median of twenty, with the way by HTTP and the page's text.
        longest_ms: The longest of them.
    """

    page: str
    p50_ms: float
    longest_ms: float


@dataclass(frozen=True, kw_only=True)
class LargeArchive:
    """A large archive.

    Attributes:
        inspections: In it.
        fill_s: Seconds to fill it.
        size_mb: Its size.
        pages: Times of its pages.
    """

    inspections: int
    fill_s: float
    size_mb: float
    pages: tuple[PageTime, ...]


@dataclass(frozen=True, kw_only=True)
class WatchedLine:
    """A real server with the live page open.

    Attributes:
        shown_p50_ms: From an answer to its verdict in the live page's stream: median.
        shown_p99_ms: 99th percentile.
        requests: Sent by the clients in the run that counts.
        rate_hz: Answers a second in it.
        missing: Requests of the clients' own list that the archive does not have.
        twice: Those that it has more than once.
    """

    shown_p50_ms: float
    shown_p99_ms: float
    requests: int
    rate_hz: float
    missing: int
    twice: int


@dataclass(frozen=True, kw_only=True)
class ConsoleResult:
    """All that was measured.

    Attributes:
        machine: What it ran on.
        versions: Versions of the libraries.
        archive: A large archive's pages.
        line: A line that is watched.
        schema: Version of this file's layout.
    """

    machine: str
    versions: dict[str, str]
    archive: LargeArchive
    line: WatchedLine
    schema: str = _SCHEMA


class _Console:
    """A console in a process of its own, and a program's token for it."""

    def __init__(self, folder: Path, *options: str) -> None:
        engine = open_database(str(folder / "archive.sqlite"))
        People(engine).add("benchmark", "engineer", "only in this folder", by="benchmark")
        token = Sessions(engine).begin("benchmark")
        engine.dispose()
        self._headers = {"Authorization": f"Bearer {token}"}
        command = [sys.executable, "-m", "l2bt", "console", "--records", str(folder), "--port", "0"]
        self._process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self._address = self._process.stdout.readline().strip()
        if not self._address.startswith("http"):
            raise ServerError("the console did not start; see what it said above")

    def open(self, path: str) -> contextlib.AbstractContextManager[Iterator[bytes]]:
        request = urllib.request.Request(self._address + path, headers=self._headers)
        return contextlib.closing(urllib.request.urlopen(request, timeout=60))

    def get(self, path: str) -> bytes:
        with self.open(path) as answer:
            return b"".join(answer)

    def end(self) -> None:
        self._process.terminate()
        self._process.wait(20)


def console(
    model: Path,
    *,
    inspections: int = 100_000,
    requests: int = 2000,
    clients: int = 2,
    out: Path | None = None,
) -> None:
    """Measure the console's pages over a large archive, and the live page behind a real server.

    Args:
        model: Exported model, whose server is asked.
        inspections: Made-up ones in the archive.
        requests: How many the clients send in all.
        clients: How many at the same time.
        out: Folder of all machines' results; benchmarks/results by default.
    """
    exported = ExportedModel.open(model)
    with TemporaryDirectory() as scratch:
        large = _time_pages(Path(scratch), inspections)
    with TemporaryDirectory() as scratch:
        watched = _watch_line(exported, Path(scratch), requests, clients)
    result = ConsoleResult(
        machine=describe_machine(), versions=library_versions(), archive=large, line=watched
    )
    folder = results_folder("console", out)
    write_result(folder, result, to_markdown(result))
    print(to_markdown(result))


def to_markdown(result: ConsoleResult) -> str:
    """Tables and a sentence."""
    archive, line = result.archive, result.line
    rows = [
        [one.page, f"{one.p50_ms:,.0f} ms", f"{one.longest_ms:,.0f} ms"] for one in archive.pages
    ]
    lines = [
        table([f"of {archive.inspections:,} inspections", "median of 20", "longest"], rows),
        f"The archive has {archive.size_mb:,.0f} MB, and was filled in {archive.fill_s:,.0f} s.",
        f"From an answer to its verdict in the live page's stream: median "
        f"{line.shown_p50_ms:,.0f} ms, 99 of 100 within {line.shown_p99_ms:,.0f} ms.",
        f"{line.requests:,} requests at {line.rate_hz:.0f} a second, with the live page open: "
        f"{line.missing} missing in the archive, {line.twice} twice. {result.machine}.",
    ]
    return "\n".join(lines) + "\n"


def _made_up(count: int) -> Iterator[InspectionRecord]:
    """A month of a line, three products, one part in ninety rejected."""
    rng = np.random.default_rng(0)
    first_s = time.time() - 30 * 86400
    region = Region(x_px=30, y_px=40, width_px=12, height_px=9, area_px=80, peak=2.5)
    base = InspectionRecord(
        key="", at_s=0, product="", version=1, verdict="good", score=0, threshold=1.0,
        review_threshold=None, pixel_threshold=1.2, mean_residual=0.1, regions=(),
        image_wh=(1500, 1000), image_sha256="ab" * 32, engine="made up", request_id="",
        latency_ms=30.0,
    )  # fmt: skip
    scores = rng.lognormal(-0.8, 0.35, count)
    for number, score in enumerate(scores):
        is_bad = bool(score > 1)
        yield replace(
            base,
            key=f"made-up-{number}",
            request_id=f"{number:016x}",
            at_s=first_s + 30 * 86400 * number / count,
            product=_PRODUCTS[number % len(_PRODUCTS)],
            verdict="defective" if is_bad else "good",
            score=float(score),
            regions=(region,) if is_bad else (),
        )


def _time_pages(folder: Path, count: int) -> LargeArchive:
    engine = open_database(str(folder / "archive.sqlite"))
    archive = Inspections(engine)
    start_s = time.monotonic()
    batch: list[InspectionRecord] = []
    for record in tqdm(_made_up(count), total=count, desc="archive", unit="inspection"):
        batch.append(record)
        if len(batch) == _AT_ONCE:
            archive.add(batch, segment="made-up", read_bytes=1)
            batch = []
    archive.add(batch, segment="made-up", read_bytes=1)
    fill_s = time.monotonic() - start_s
    engine.dispose()
    RecordSettings(records=folder).to_environment()
    running = _Console(folder, "--metrics", "127.0.0.1:9")
    before = time.strftime("%Y-%m-%dT%H:%M", time.localtime(time.time() - 20 * 86400))
    try:
        deep = json.loads(running.get(f"/api/inspections?most=1&until={before}"))["next"]
        asked: tuple[tuple[str, str, dict[str, str]], ...] = (
            ("the newest", "/archive", {}),
            ("of a product", "/archive", {"product": "nut"}),
            ("its rejected ones", "/archive", {"product": "nut", "verdict": "defective"}),
            ("its scores from 1.9 on", "/archive", {"product": "nut", "least_score": "1.9"}),
            ("rejected ones of ten days", "/archive", {"verdict": "defective", "until": before}),
            ("a page twenty days deep", "/archive", {"after": deep}),
            ("where defects lie, 10,000 rejected", "/defects", {}),
        )
        pages = tuple(
            _time_page(running, name, f"{path}?{urlencode(query)}") for name, path, query in asked
        )
    finally:
        running.end()
    size = sum(path.stat().st_size for path in folder.glob("archive.sqlite*"))
    return LargeArchive(inspections=count, fill_s=fill_s, size_mb=size / 1e6, pages=pages)


def _time_page(running: _Console, name: str, path: str) -> PageTime:
    times_ms = []
    for _ in range(_ASKED):
        start_s = time.monotonic()
        running.get(path)
        times_ms.append(1e3 * (time.monotonic() - start_s))
    return PageTime(page=name, p50_ms=float(np.median(times_ms)), longest_ms=max(times_ms))


class _Stream:
    """Reads the live page's stream in a thread, and notes when a count of inspections is shown."""

    def __init__(self, running: _Console) -> None:
        self._running = running
        self._shown_at_s: dict[int, float] = {}
        self._changed = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        mark = b'data-count="inspected">'
        with contextlib.suppress(OSError), self._running.open("/live/stream") as lines:
            for line in lines:
                if mark in line:
                    count = int(line.partition(mark)[2].partition(b"<")[0])
                    with self._changed:
                        self._shown_at_s.setdefault(count, time.monotonic())
                        self._changed.notify_all()

    def wait(self, count: int) -> float:
        """When a count was shown."""
        with self._changed:
            if not self._changed.wait_for(
                lambda: any(one >= count for one in self._shown_at_s), _SHOWN_WITHIN_S
            ):
                raise ServerError(f"inspection {count} was not shown in {_SHOWN_WITHIN_S:.0f} s")
            return min(at_s for one, at_s in self._shown_at_s.items() if one >= count)


def _watch_line(exported: ExportedModel, folder: Path, requests: int, clients: int) -> WatchedLine:
    records = folder / "records"
    environment = RecordSettings(records=records).to_environment()
    repository = build_repository(exported, folder / "models")
    settings = ServerSettings.on_free_ports(folder / "log.txt")
    pixels = draw_image(*_IMAGE_HW)
    own_list: list[str] = []
    with TritonServer(repository, settings, environment=environment) as server:
        running = _Console(records, "--metrics", server.metrics_address)
        try:
            stream = _Stream(running)
            shown_ms = []
            with Client(server.grpc_address, transport="grpc") as client:
                for count in range(1, _WATCHED + 1):
                    own_list.append(client.inspect(pixels, want_map=False).request_id)
                    answered_s = time.monotonic()
                    shown_ms.append(1e3 * (stream.wait(count) - answered_s))
                    time.sleep(_APART_S)
            start_s = time.monotonic()
            _send(server.grpc_address, pixels, requests, clients, own_list)
            seconds = time.monotonic() - start_s
            stream.wait(len(own_list))
            archived = _requests_of(running)
        finally:
            running.end()
    counts = Counter(archived)
    return WatchedLine(
        shown_p50_ms=float(np.median(shown_ms)),
        shown_p99_ms=float(np.percentile(shown_ms, 99)),
        requests=requests,
        rate_hz=requests / seconds,
        missing=sum(one not in counts for one in own_list),
        twice=sum(count > 1 for count in counts.values()),
    )


def _send(
    address: str, pixels: ImageArray, requests: int, clients: int, own_list: list[str]
) -> None:
    bar = tqdm(total=requests, desc="line", unit="request")

    def work(share: int) -> None:
        with Client(address, transport="grpc") as client:
            for _ in range(share):
                own_list.append(client.inspect(pixels, want_map=False).request_id)
                bar.update()

    shares = [requests // clients + (number < requests % clients) for number in range(clients)]
    threads = [threading.Thread(target=work, args=(share,)) for share in shares]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    bar.close()


def _requests_of(running: _Console) -> list[str]:
    found: list[str] = []
    query = {"most": "500"}
    while True:
        page = json.loads(running.get(f"/api/inspections?{urlencode(query)}"))
        found += [one["request_id"] for one in page["inspections"]]
        if page["next"] is None:
            return found
        query["after"] = page["next"]
