"""A server under load whose answers are known, to try faults on; the tests do so too."""

import json
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.load.endurance.tally import CountingThreads, Tally
from runtime.client.client import Client
from runtime.images.decode import ImageArray

_CLIENTS = 3
_MOST_REQUESTS = 2000


@dataclass
class Service:
    """A running `l2bt serve`, and the lines that it wrote.

    Attributes:
        process: Its process.
        folder: Where its state, log and token are.
        events: The lines, as they come.
    """

    process: "subprocess.Popen[str]"
    folder: Path
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def state(self) -> dict[str, Any]:
        """What its state's file says now."""
        found: dict[str, Any] = json.loads((self.folder / "state.json").read_text())
        return found

    @property
    def server_pid(self) -> int:
        """Process id of tritonserver."""
        return int(self.state["server_pid"])

    @property
    def address(self) -> str:
        """host:port of the gRPC interface."""
        return str(self.state["grpc"])

    def wait_for(self, event: str, *, count: int = 1, timeout_s: float = 60) -> dict[str, Any]:
        """The `count`-th event of a name, once it has come.

        Raises:
            TimeoutError: It did not come in time.
        """
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            found = [entry for entry in list(self.events) if entry["event"] == event]
            if len(found) >= count:
                return found[count - 1]
            time.sleep(0.02)
        raise TimeoutError(f"no event {event!r} within {timeout_s} s: {self.events}")

    def count(self, event: str) -> int:
        """How often an event has come."""
        return sum(entry["event"] == event for entry in list(self.events))


def start_service(repository: Path, folder: Path, *options: object) -> Service:
    """Run `l2bt serve` with files of its own and free ports, and wait until it is ready."""
    command = [sys.executable, "-m", "l2bt", "serve", str(repository)]
    command += ["--grpc-port", "0", "--http-port", "0", "--metrics-port", "0"]
    command += [
        "--log-path",
        str(folder / "server.log"),
        "--state-path",
        str(folder / "state.json"),
    ]
    command += ["--token-path", str(folder / "token"), *map(str, options)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    service = Service(process=process, folder=folder)

    def follow() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            service.events.append(json.loads(line))

    threading.Thread(target=follow, daemon=True).start()
    service.wait_for("ready")
    return service


def end_service(service: Service) -> None:
    """End it as a plant would, and wait."""
    if service.process.poll() is None:
        service.process.terminate()
    service.process.wait(60)


class CheckedLoad:
    """Clients that know what each image must score; bounded in number and time.

    Args:
        address: The server's.
        expected: Images, and what each must score.

    Attributes:
        tally: What became of the requests.
        longest_s: The longest that a client waited for an answer.
    """

    def __init__(self, address: str, expected: list[tuple[ImageArray, float]]) -> None:
        self.tally = Tally()
        self.longest_s = 0.0
        self._address = address
        self._expected = expected
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = CountingThreads([self._ask] * _CLIENTS)

    def __enter__(self) -> "CheckedLoad":
        self._threads.start()
        self.wait_for_more(5)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._threads.join(timeout_s=120)
        self.tally.check()

    def wait_for_more(self, answers: int) -> None:
        """Wait until there are so many more.

        Raises:
            TimeoutError: They did not come.
        """
        wanted, end_s = self.tally.answered + answers, time.monotonic() + 60
        while self.tally.answered < wanted and time.monotonic() < end_s:
            time.sleep(0.02)
        if self.tally.answered < wanted:
            raise TimeoutError(f"no {answers} more answers within 60 s: {self.tally.errors}")

    def _ask(self) -> None:
        with Client(self._address, patience_s=30) as client:
            for number in range(_MOST_REQUESTS):
                if self._stop.is_set():
                    return
                image, score = self._expected[number % len(self._expected)]
                self._ask_one(client, image, score, want_map=number % 2 == 0)

    def _ask_one(self, client: Client, image: ImageArray, score: float, *, want_map: bool) -> None:
        def request() -> bool:
            found = client.inspect(image, want_map=want_map)
            return abs(found.score - score) <= 1e-5 * abs(score)

        start = time.monotonic()
        self.tally.count(request)
        with self._lock:
            self.longest_s = max(self.longest_s, time.monotonic() - start)
