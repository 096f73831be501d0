"""A line's inspections as they are shown, and whether the archive has each."""

import contextlib
import json
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
from tqdm import tqdm

from benchmarks.load.console.running import RunningConsole
from benchmarks.workload.drawn_image import draw_image
from runtime.client.client import Client
from runtime.errors import ServerError
from runtime.images.decode import ImageArray
from runtime.models.exported_model import ExportedModel
from runtime.records.record_settings import RecordSettings
from triton_repo.configuration.build import build_repository
from triton_repo.server.server import ServerSettings, TritonServer

_APART_S = 0.25
_SHOWN_WITHIN_S = 5.0
_WATCHED = 100
_IMAGE_HW = (240, 360)


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


class _Stream:
    """Reads the live page's stream in a thread, and notes when a count of inspections is shown."""

    def __init__(self, running: RunningConsole) -> None:
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


def watch_line(exported: ExportedModel, folder: Path, requests: int, clients: int) -> WatchedLine:
    """Ask a real server with the live page's stream open, and look for each request afterwards.

    Args:
        exported: What the server serves.
        folder: An empty one.
        requests: How many to send in all.
        clients: How many at the same time.

    Raises:
        ServerError: A verdict is not shown within seconds.
    """
    records = folder / "records"
    environment = RecordSettings(records=records).to_environment()
    repository = build_repository(exported, folder / "models")
    settings = ServerSettings.on_free_ports(folder / "log.txt")
    pixels = draw_image(*_IMAGE_HW)
    own_list: list[str] = []
    with TritonServer(repository, settings, environment=environment) as server:
        running = RunningConsole(records, "--metrics", server.metrics_address)
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


def _requests_of(running: RunningConsole) -> list[str]:
    found: list[str] = []
    query = {"most": "500"}
    while True:
        page = json.loads(running.get(f"/api/inspections?{urlencode(query)}"))
        found += [one["request_id"] for one in page["inspections"]]
        if page["next"] is None:
            return found
        query["after"] = page["next"]
