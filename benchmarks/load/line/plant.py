"""What stands around a station: a broker, a camera that is none, receivers that keep count.

The tests use them too. All of it listens on loopback alone.
"""

import asyncio
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from runtime.errors import OptionError

WITHIN_S = 30.0
OPEN = ("allow_anonymous true",)


def free_port() -> int:
    """A port of loopback that nobody listens at."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def wait_for(condition: Callable[[], Any], what: str, within_s: float = WITHIN_S) -> Any:
    """Wait until a condition holds; what it gives.

    Raises:
        TimeoutError: It does not within `within_s` seconds.
    """
    end_s = time.monotonic() + within_s
    while not (found := condition()):
        if time.monotonic() > end_s:
            raise TimeoutError(f"not within {within_s:g} s: {what}")
        time.sleep(0.02)
    return found


def require_program(name: str, package: str) -> None:
    """Raise `OptionError` where a program of a Debian package is not installed."""
    if shutil.which(name) is None:
        raise OptionError(f"{name} is not installed; on Debian: apt install {package}")


class Broker:
    """A real mosquitto, which may be ended and started again; a context manager.

    Args:
        folder: For its files.
        port: Where it listens.
        settings: Lines of its configuration; by default anybody may come.
    """

    def __init__(self, folder: Path, port: int, *settings: str) -> None:
        self._file = folder / f"mosquitto-{port}.conf"
        self._port = port
        lines = (f"listener {port} 127.0.0.1", "user root", *(settings or OPEN))
        self._file.write_text("\n".join(lines) + "\n")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self._process = subprocess.Popen(
            ["mosquitto", "-c", str(self._file)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_for(lambda: _listens(self._port), "the broker listens")

    def terminate(self) -> None:
        """Let it write what it has to its disk, and end."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait()

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> "Broker":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


@contextmanager
def fake_camera(serial: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Aravis's own GigE Vision camera that is none; it is named Aravis-SERIAL."""
    process = subprocess.Popen(
        ["arv-fake-gv-camera-0.8", "-i", "127.0.0.1", "-s", serial],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        time.sleep(0.5)
        yield process
    finally:
        process.kill()
        process.wait()


class Receiver(ThreadingHTTPServer):
    """A webhook's receiver, which answers as it is told and keeps what it got."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[int] = []
        self.requests: list[tuple[dict[str, str], bytes]] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Where it receives."""
        return f"http://127.0.0.1:{self.server_address[1]}/outcomes"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        """Keep a request, and answer."""
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.requests.append(({k.lower(): v for k, v in self.headers.items()}, body))
        self.send_response(self.server.answers.pop(0) if self.server.answers else 204)
        self.send_header("location", "http://127.0.0.1:1/elsewhere")
        self.send_header("content-length", "0")
        self.end_headers()

    do_GET = do_POST  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Listener:
    """Somebody at the broker who notes all of a station's messages, and may send some.

    It comes back when the broker does, and gets what the broker kept for it; a context manager.

    Args:
        port: The broker's.
        topic: The station's prefix.
        name: By which the broker knows it again.
    """

    def __init__(self, port: int, topic: str = "plant/press3", *, name: str = "listener") -> None:
        self.messages: list[tuple[str, dict[str, Any], bool, float]] = []
        self._port = port
        self._topic = topic
        self._name = name
        self._loop = asyncio.new_event_loop()
        self._is_there = threading.Event()
        self._client: Any = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def of(self, word: str) -> list[dict[str, Any]]:
        """The contents of all messages of a topic below the prefix."""
        topic = f"{self._topic}/{word}"
        return [content for at, content, *_ in list(self.messages) if at == topic]

    def send(self, word: str, content: str, **options: Any) -> bool:
        """Send a message; whether the broker has taken it."""
        if not self._is_there.is_set():
            return False

        async def publish() -> None:
            await self._client.publish(f"{self._topic}/{word}", content, qos=1, **options)

        try:
            asyncio.run_coroutine_threadsafe(publish(), self._loop).result(10)
        except Exception:
            # The broker is gone in the middle of it.
            return False
        return True

    def __enter__(self) -> "Listener":
        self._thread.start()
        if not self._is_there.wait(WITHIN_S):
            raise TimeoutError("the listener is not at the broker")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(WITHIN_S)

    def _run(self) -> None:
        self._task = self._loop.create_task(self._listen())
        try:
            self._loop.run_until_complete(self._task)
        except asyncio.CancelledError:
            return

    async def _listen(self) -> None:
        import aiomqtt
        from paho.mqtt.packettypes import PacketTypes
        from paho.mqtt.properties import Properties

        kept = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        kept.SessionExpiryInterval = 3600
        while True:
            client = aiomqtt.Client(
                "127.0.0.1",
                self._port,
                protocol=aiomqtt.ProtocolVersion.V5,
                identifier=self._name,
                clean_start=False,
                properties=kept,
            )
            try:
                async with client as self._client:
                    await self._client.subscribe(f"{self._topic}/#", qos=1)
                    self._is_there.set()
                    async for message in self._client.messages:
                        self._note(message)
            except aiomqtt.MqttError:
                self._is_there.clear()
                await asyncio.sleep(0.2)

    def _note(self, message: Any) -> None:
        try:
            content = json.loads(message.payload)
        except ValueError:
            # A command, which is no JSON.
            return
        self.messages.append((str(message.topic), content, bool(message.retain), time.time()))


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 0.2):
            return True
    except OSError:
        return False
