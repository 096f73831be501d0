"""A station, and what stands around it: one thing after the other fails."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.load.endurance.plant import Service, end_service, start_service
from benchmarks.load.line.counted import Row, read_ledger
from benchmarks.load.line.plant import Broker, Listener, Receiver, fake_camera, free_port, wait_for
from runtime.models.exported_model import ExportedModel
from triton_repo.configuration.build import build_repository

_CAMERA = "SOAK"
_DISK_KIB = 400_000
_CLOCK_STEP_S = -3600
_BURST_S = 4


@dataclass(frozen=True, kw_only=True)
class Counted:
    """What was counted around a station.

    Attributes:
        seconds: How long it took.
        faults: What was done, and when, in seconds since the start.
        files: That came into the folder.
        answered: Triggers that the station answered with yes or no.
        rows: The ledger's.
        messages: Numbers of parts by signal, as they were told.
    """

    seconds: float
    faults: tuple[tuple[float, str], ...]
    files: int
    answered: int
    rows: list[Row]
    messages: dict[str, list[int]]


class FailingPlant:
    """A station and what stands around it, of which one thing after the other fails.

    Args:
        folder: For all files.
        model: Exported model of one product.
        parts: How many parts come in all.
        files_per_s: How many come into the folder a second.
        triggers_per_s: How often the camera is triggered a second.
        broker_away_s: How long the broker is away, in seconds.
    """

    def __init__(
        self,
        folder: Path,
        model: Path,
        parts: int,
        files_per_s: float,
        triggers_per_s: float,
        broker_away_s: float,
    ) -> None:
        self._folder = folder
        self._model = model
        self._files_wanted = round(parts * files_per_s / (files_per_s + triggers_per_s))
        self._triggers_wanted = parts - self._files_wanted
        self._files_per_s, self._triggers_per_s = files_per_s, triggers_per_s
        self._broker_away_s = broker_away_s
        self._files = 0
        self._burst = False
        self._faults: list[tuple[float, str]] = []
        self._stack = ExitStack()
        self._began_s = time.monotonic()

    def run(self) -> Counted:
        """Have all parts come, and everything fail; what was counted."""
        with self._stack:
            self._set_up()
            feeding = [
                threading.Thread(target=work, daemon=True)
                for work in (self._write_files, self._send_triggers)
            ]
            for thread in feeding:
                thread.start()
            self._do_faults(lambda: not all(thread.is_alive() for thread in feeding))
            for thread in feeding:
                thread.join()
            self._wait_until_all_is_told()
            self._station.terminate()
            self._station.wait()
            return self._count()

    def keep_log(self, folder: Path) -> None:
        """Leave the station's log beside the results, where git does not see it."""
        folder.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            shutil.copy(self._folder / "station.log", folder / "station.log")

    def _set_up(self) -> None:
        folder = self._folder
        self._incoming, self._own = folder / "incoming", folder / "own"
        for path in (self._incoming, self._own):
            path.mkdir()
        repository = build_repository(ExportedModel.open(self._model), folder / "models")
        self._service: Service = start_service(repository, folder, "--most-pause-s", "0.5")
        self._stack.callback(end_service, self._service)
        port = free_port()
        kept = ("persistence true", f"persistence_location {folder}/", *_KEEPS_ALL)
        self._broker = self._stack.enter_context(Broker(folder, port, *kept))
        self._listener = self._stack.enter_context(Listener(port))
        self._receiver = Receiver()
        self._stack.callback(self._receiver.shutdown)
        self._camera = self._stack.enter_context(ExitStack())
        self._camera_process = self._camera.enter_context(fake_camera(_CAMERA))
        (folder / "secret").write_text("a secret of this benchmark and of nobody else")
        (folder / "station.toml").write_text(
            _STATION.format(
                own=self._own,
                server=self._service.address,
                incoming=self._incoming,
                camera=f"Aravis-{_CAMERA}",
                port=port,
                url=self._receiver.url,
                modbus=free_port(),
            )
        )
        # What Python tells the station of the time of day; the machine's own clock is not touched.
        self._clock = folder / "clock" / "offset_s"
        self._clock.parent.mkdir()
        self._clock.write_text("0")
        (self._clock.parent / "sitecustomize.py").write_text(_CLOCK.format(path=str(self._clock)))
        self._holder = _hold_small_disk(self._own, _DISK_KIB)
        self._stack.callback(_end, self._holder)
        self._start_station()
        self._stack.callback(lambda: _end(self._station))

    def _start_station(self) -> None:
        paths = (str(self._clock.parent), os.environ.get("PYTHONPATH", ""))
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
        self._station = subprocess.Popen(
            [
                *("nsenter", f"--user=/proc/{self._holder.pid}/ns/user", "--preserve-credentials"),
                f"--mount=/proc/{self._holder.pid}/ns/mnt",
                *(f"--wd={Path.cwd()}", sys.executable, "-m", "l2bt", "line"),
                str(self._folder / "station.toml"),
            ],
            env=environment,
            stderr=(self._folder / "station.log").open("ab"),
        )
        state = self._inside(self._own / "station" / "state.json")
        began_s = time.time()
        try:
            wait_for(
                lambda: state.exists() and state.stat().st_mtime > began_s, "the station works", 60
            )
        except TimeoutError as error:
            said = (self._folder / "station.log").read_text(errors="replace")[-2000:]
            events = "\n".join(map(str, self._service.events[-20:]))
            raise TimeoutError(f"{error}; it said:\n{said}\nthe server:\n{events}") from error

    def _inside(self, path: Path) -> Path:
        """A path as the station sees it, whose disk is a small one of its own."""
        return Path(f"/proc/{self._holder.pid}/root{path}")

    def _count(self) -> Counted:
        lines = self._inside(self._own / "lines.jsonl").read_text().splitlines()
        return Counted(
            seconds=round(time.monotonic() - self._began_s, 1),
            faults=tuple((round(at_s, 1), what) for at_s, what in self._faults),
            files=self._files,
            # A broker that was away may bring an answer twice.
            answered=len({one["asked"] for one in self._listener.of("answer")}),
            rows=read_ledger(self._inside(self._own / "station" / "ledger.sqlite")),
            messages={
                "mqtt": [one["part"] for one in self._listener.of("outcome")],
                "webhook": [json.loads(body)["part"] for _, body in self._receiver.requests],
                "lines": [json.loads(line)["part"] for line in lines],
            },
        )

    def _write_files(self) -> None:
        images = [_image(number) for number in range(8)]
        due_s = time.monotonic()
        for number in range(self._files_wanted):
            due_s += 1 / (self._files_per_s * (10 if self._burst else 1))
            time.sleep(max(0.0, due_s - time.monotonic()))
            hidden = self._incoming / f".{number:06}.png"
            hidden.write_bytes(images[number % len(images)])
            hidden.rename(self._incoming / f"{number:06}.png")
            self._files = number + 1

    def _send_triggers(self) -> None:
        number = 0
        due_s = time.monotonic()
        while number < self._triggers_wanted:
            due_s = max(due_s + 1 / self._triggers_per_s, time.monotonic() - 1)
            time.sleep(max(0.0, due_s - time.monotonic()))
            wish = json.dumps({"source": "side", "part": f"T{number}"})
            # A message that the broker did not take is none; it is not counted, and sent no more.
            self._listener.send("command/trigger", wish)
            number += 1

    def _do_faults(self, is_over: Callable[[], bool]) -> None:
        """One fault after the other, spread over the time that the parts take."""
        total_s = self._files_wanted / self._files_per_s - 9 * _BURST_S
        steps = [
            ("a burst of files, ten times as fast", self._do_burst),
            (f"the broker is away for {self._broker_away_s:g} s", self._do_broker),
            ("the camera is unplugged for 20 s", self._do_camera),
            ("tritonserver is killed", self._do_server),
            ("the station's disk is full for 15 s", self._do_disk),
            ("the station's clock is set back an hour", self._do_clock),
            ("the station is killed and started again", self._do_station),
            ("the broker and the station are killed", self._do_both),
        ]
        for place, (what, do) in enumerate(steps):
            at_s = self._began_s + total_s * (place + 0.5) / (len(steps) + 0.5)
            time.sleep(max(0.0, at_s - time.monotonic()))
            if is_over():
                what += " (after the last part)"
            self._faults.append((time.monotonic() - self._began_s, what))
            print(f"{self._faults[-1][0]:.0f} s: {what}", file=sys.stderr, flush=True)
            do()

    def _do_burst(self) -> None:
        self._burst = True
        time.sleep(_BURST_S)
        self._burst = False

    def _do_broker(self) -> None:
        self._broker.terminate()
        time.sleep(self._broker_away_s)
        self._broker.start()

    def _do_camera(self) -> None:
        self._camera.close()
        time.sleep(20)
        self._camera_process = self._camera.enter_context(fake_camera(_CAMERA))

    def _do_server(self) -> None:
        os.kill(self._service.server_pid, signal.SIGKILL)

    def _do_disk(self) -> None:
        filler = self._inside(self._own / "filler")
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(65536))
        with filler.open("ab", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(64))
        time.sleep(15)
        filler.unlink()

    def _do_clock(self) -> None:
        self._clock.write_text(str(_CLOCK_STEP_S))

    def _do_station(self) -> None:
        self._station.kill()
        self._station.wait()
        time.sleep(2)
        self._start_station()

    def _do_both(self) -> None:
        self._broker.terminate()
        time.sleep(3)
        self._do_station()
        time.sleep(3)
        self._broker.start()

    def _wait_until_all_is_told(self) -> None:
        def is_done() -> bool:
            try:
                rows = read_ledger(self._inside(self._own / "station" / "ledger.sqlite"))
            except sqlite3.DatabaseError:
                # Copied while it was written.
                return False
            known = sum(source == "in" for _, source, *_ in rows)
            decided = {row[3] for row in rows if row[3] is not None}
            told = {one["sequence"] for one in self._listener.of("outcome")}
            return known >= self._files and len(decided) == len(rows) and decided <= told

        with suppress(TimeoutError):
            wait_for(is_done, "word of each part", 180)


def _image(seed: int) -> bytes:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 9, 3), np.uint8)
    pixels = cv2.resize(coarse, (180, 120), interpolation=cv2.INTER_NEAREST)
    return bytes(cv2.imencode(".png", pixels)[1].tobytes())


def _hold_small_disk(folder: Path, kib: int) -> "subprocess.Popen[bytes]":
    """A process whose mount namespace has a small disk at a folder, for others to enter."""
    script = f'mount -t tmpfs -o size={kib}k tmpfs "{folder}" && echo ready && exec sleep 86400'
    holder = subprocess.Popen(
        ["unshare", "-rm", "sh", "-c", script], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    assert holder.stdout is not None
    if holder.stdout.readline().strip() != b"ready":
        raise OSError("a mount namespace of its own cannot be had, and so no disk that is full")
    return holder


def _end(process: "subprocess.Popen[Any]") -> None:
    process.kill()
    process.wait()


_CLOCK = """
import sys
import time
from pathlib import Path

_whole = time.time


def _time():
    # gRPC reckons deadlines by it and has its own core compare them with the machine's clock.
    if sys._getframe(1).f_globals.get("__name__", "").startswith("grpc"):
        return _whole()
    try:
        return _whole() + float(Path({path!r}).read_text())
    except ValueError:
        return _whole()


time.time = _time
"""

# The broker keeps what its listener has not got, as long as it takes.
_KEEPS_ALL = (
    "allow_anonymous true",
    "max_queued_messages 0",
    "autosave_interval 1",
    "autosave_on_changes true",
)

_STATION = """
name = "press3"
folder = "{own}/station"
[inspection]
server = "{server}"
not_inspected = "reject"
when_full = "drop-oldest"
waiting = 16
workers = 2
deadline_ms = 5000
[[sources]]
kind = "folder"
name = "in"
folder = "{incoming}"
after = "delete"
[[sources]]
kind = "genicam"
name = "side"
camera = "{camera}"
pixels = "Mono8"
trigger = "message"
answers_within_s = 2.0
[[signals]]
kind = "mqtt"
name = "mqtt"
broker = "127.0.0.1:{port}"
topic = "plant/press3"
commands = true
[[signals]]
kind = "webhook"
name = "webhook"
url = "{url}"
secret_file = "secret"
[[signals]]
kind = "json-lines"
name = "lines"
path = "{own}/lines.jsonl"
[[signals]]
kind = "modbus"
name = "modbus"
listen = "127.0.0.1:{modbus}"
[archive]
images = "rejected"
images_limit_gb = 0.02
"""
