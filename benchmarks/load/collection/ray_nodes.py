"""A real Ray cluster of nodes on this machine, whose parts may be killed."""

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.load.line.plant import free_port
from runtime.extras import require

_START_WITHIN_S = 180
_OBJECT_STORE_BYTES = 256 << 20


class RayNodes:
    """A head and further nodes, each with processes of its own; a context manager.

    Args:
        cpus: Cores that each node offers.
    """

    def __init__(self, *, cpus: int = 1) -> None:
        require("ray")
        self._cpus = cpus
        self._port = free_port()
        # Ray's sockets stand in it, and their paths must be short.
        self._folder = TemporaryDirectory(prefix="ray", dir="/tmp")
        self._nodes: list[subprocess.Popen[bytes]] = []
        # What nodes and drivers must have in their environment to trust each other.
        self.environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}

    @property
    def address(self) -> str:
        """Of the head."""
        return f"127.0.0.1:{self._port}"

    def __enter__(self) -> "RayNodes":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill_all()
        self._folder.cleanup()

    def start(self) -> None:
        """Start the head."""
        self._start("--head", "--port", str(self._port), "--include-dashboard=false")

    def add(self) -> None:
        """Start another node."""
        self._start("--address", self.address)

    def _start(self, *options: str) -> None:
        before = len(list(self.raylets()))
        command = [sys.executable, "-m", "runtime.cluster.silent_ray", "start", "--block", *options]
        command += ["--num-cpus", str(self._cpus), "--num-gpus", "0"]
        command += ["--node-ip-address", "127.0.0.1", "--disable-usage-stats"]
        command += ["--object-store-memory", str(_OBJECT_STORE_BYTES)]
        if "--head" in options:
            command += ["--temp-dir", self._folder.name]
        said = Path(self._folder.name, f"said-{len(self._nodes)}")
        with said.open("wb") as log:
            node = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=os.environ | self.environment,
            )
        self._nodes.append(node)
        end_s = time.monotonic() + _START_WITHIN_S
        while "Ray runtime started" not in said.read_text() or before == len(list(self.raylets())):
            if node.poll() is not None or time.monotonic() > end_s:
                raise AssertionError(f"ray has not started: {said.read_text()}")
            time.sleep(0.1)

    def raylets(self) -> Iterator[int]:
        """Process numbers of the nodes' raylets, the head's first."""
        for number, name, _ in self._processes():
            if name == "raylet":
                yield number

    def workers(self) -> Iterator[int]:
        """Process numbers of the workers that hold a detector."""
        for number, _, command in self._processes():
            if command.startswith("ray::_Holder"):
                yield number

    def kill_all(self) -> None:
        """Kill every process of every node at once."""
        psutil = require("psutil")
        for number, _, _ in list(self._processes()):
            with suppress(psutil.NoSuchProcess):
                psutil.Process(number).kill()
        for node in self._nodes:
            node.kill()
            node.wait()
        self._nodes.clear()

    def _processes(self) -> Iterator[tuple[int, str, str]]:
        psutil = require("psutil")
        for node in self._nodes:
            with suppress(psutil.NoSuchProcess):
                for child in psutil.Process(node.pid).children(recursive=True):
                    with suppress(psutil.NoSuchProcess):
                        yield child.pid, child.name(), " ".join(child.cmdline())
