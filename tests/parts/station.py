"""A station under test, with a plant's parts around it."""

import asyncio
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

from runtime.images.decode import ImageArray
from runtime.station.parts.counters import Counters
from runtime.station.parts.frame import Frame
from runtime.station.parts.ledger import Ledger
from runtime.station.parts.outcome import Outcome
from runtime.station.settings.station_file import read_station
from runtime.station.signals.signalling import Signalling
from runtime.station.station import Station
from tests.parts.small import random_image

Result = TypeVar("Result")


def outcome(number: int = 1, **changes: Any) -> Outcome:
    values: dict[str, Any] = {
        "station": "press3",
        "sequence": number,
        "part": number,
        "source": "side",
        "frame_id": str(number),
        "request": "",
        "at_s": 1_790_000_000.25,
        "camera_time_ns": None,
        "product": "plate",
        "version": 2,
        "verdict": "defective",
        "action": "reject",
        "reason": "",
        "score": 0.4,
        "threshold": 0.3,
        "review_threshold": None,
        "regions": (),
        "latency_ms": 33.0,
        "waited_ms": 1.0,
        "inspected_ms": 30.0,
        "request_id": "",
        "pixel_rule": "",
    }
    return Outcome(**{**values, **changes})


def frame(number: int = 1, **changes: object) -> Frame:
    values = {"source": "side", "frame_id": str(number), "image": random_image(4, 4), **changes}
    return Frame(**values)  # type: ignore[arg-type]


def finish(ledger: Ledger, part: int, **changes: object) -> int:
    return ledger.finish(part, lambda n: outcome(n, part=part, **changes)).sequence


def drawn(count: int, pause_s: float = 0.0) -> Iterator[ImageArray]:
    """What a station's source of the kind "python" calls here: images without a part."""
    for number in range(count):
        yield random_image(240, 360, number % 7)
        time.sleep(pause_s)


class Commanded:
    """Notes what machines ask for, and refuses the product "nut"."""

    def __init__(self) -> None:
        self.products: list[str] = []
        self.triggers: list[tuple[str, str]] = []

    def change_product(self, product: str) -> None:
        from runtime.errors import UnknownProductError

        if product == "nut":
            raise UnknownProductError("unknown product 'nut'")
        self.products.append(product)

    def trigger(self, source: str, *, request: str = "") -> None:
        self.triggers.append((source, request))


def station_text(model: Path, *tables: str, inspection: str = "", top: str = "") -> str:
    """A station file with an inspection, and a signal that writes to lines.jsonl."""
    return f"""
name = "press3"
{top}
[inspection]
model = "{model}"
not_inspected = "reject"
{inspection or 'when_full = "drop-oldest"'}
[[signals]]
kind = "json-lines"
name = "lines"
path = "lines.jsonl"
""" + "\n".join(tables)


DRAWN = """
[[sources]]
kind = "python"
name = "drawn"
call = "tests.parts.station:drawn"
waits = true
arguments = {{ count = {count}, pause_s = {pause_s} }}
"""
FOLDER = """
[[sources]]
kind = "folder"
name = "in"
folder = "incoming"
poll_s = 0.1
settle_s = 0.3
"""


def write_station(folder: Path, text: str) -> Path:
    path = folder / "station.toml"
    path.write_text(text)
    return path


@contextmanager
def running(file: Path) -> Iterator[Station]:
    """The station of a file, at work in a thread; it is stopped in the end."""
    station = Station(read_station(file))
    is_ready = threading.Event()
    failed: list[BaseException] = []

    def work() -> None:
        try:
            station.run(is_ready.set)
        except BaseException as error:
            failed.append(error)
        finally:
            is_ready.set()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert is_ready.wait(60)
        if failed:
            raise failed[0]
        yield station
    finally:
        station.stop()
        thread.join(60)
    if failed:
        raise failed[0]


def run_to_its_end(file: Path) -> Station:
    """The station of a file whose sources come to their end."""
    station = Station(read_station(file))
    station.run()
    return station


def lines_of(folder: Path) -> list[dict[str, Any]]:
    path = folder / "lines.jsonl"
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def started(file: Path, **options: Any) -> "subprocess.Popen[str]":
    """The command `l2bt line` in a process of its own, once it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-m", "l2bt", "line", str(file)],
        cwd=Path(__file__).parents[2],
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "is ready" in line:
            threading.Thread(target=process.stderr.read, daemon=True).start()
            return process
    raise AssertionError(f"the station has ended with {process.wait()}")


LINES = '[[signals]]\nkind = "json-lines"\nname = "lines"\npath = "lines.jsonl"\n'


SIGNALS_HEAD = """
name = "press3"
[inspection]
model = "m"
not_inspected = "reject"
when_full = "refuse"
[[sources]]
kind = "camera"
name = "side"
device = 0
"""


@contextmanager
def signalling(folder: Path, tables: str) -> Iterator[tuple[Signalling, Ledger, Counters]]:
    """The signals of a file, with a ledger and nothing else."""
    file = folder / "station.toml"
    file.write_text(SIGNALS_HEAD + tables)
    settings = read_station(file)
    messages = [one.name for one in settings.signals if one.name != "state"]
    ledger, counters = Ledger(folder / "station", messages), Counters()
    with Signalling(settings, ledger, counters, Commanded(), product="plate") as opened:
        yield opened, ledger, counters
    ledger.close()


def decide(opened: Signalling, ledger: Ledger, count: int = 1, **changes: Any) -> None:
    for _ in range(count):
        part = ledger.begin(frame())
        opened.tell(ledger.finish(part, lambda n: outcome(n, part=n, **changes)), 0.0)


def run_alone(work: Coroutine[Any, Any, Result]) -> Result:
    """Run it in a thread of its own: this one has an event loop already where a browser is open."""
    with ThreadPoolExecutor(1) as own:
        return own.submit(asyncio.run, work).result()  # noqa: TID251


def ask_modbus(port: int, work: Any) -> Any:
    from pymodbus.client import AsyncModbusTcpClient

    async def run() -> Any:
        client = AsyncModbusTcpClient("127.0.0.1", port=port)
        assert await client.connect()
        try:
            return await work(client)
        finally:
            client.close()

    return run_alone(run())


with_broker = pytest.mark.skipif(
    shutil.which("mosquitto") is None, reason="needs mosquitto (Debian: apt install mosquitto)"
)


def _cannot_grab() -> str:
    if shutil.which("arv-fake-gv-camera-0.8") is None:
        return "arv-fake-gv-camera-0.8 (Debian: apt install aravis-tools)"
    script = "import gi; gi.require_version('Aravis', '0.8'); from gi.repository import Aravis"
    found = subprocess.run(["/usr/bin/python3", "-c", script], capture_output=True, check=False)
    return "Aravis in /usr/bin/python3 (Debian: gir1.2-aravis-0.8)" if found.returncode else ""


CANNOT_GRAB = _cannot_grab()
with_camera = pytest.mark.skipif(bool(CANNOT_GRAB), reason=f"needs {CANNOT_GRAB}")


def ean13(code: str, *, module_px: int = 4, height_px: int = 120) -> ImageArray:
    """An image with a barcode of the standard GS1 EAN-13, drawn from its tables."""
    odd = [
        "0001101",
        "0011001",
        "0010011",
        "0111101",
        "0100011",
        "0110001",
        "0101111",
        "0111011",
        "0110111",
        "0001011",
    ]
    parity = [
        "OOOOOO",
        "OOEOEE",
        "OOEEOE",
        "OOEEEO",
        "OEOOEE",
        "OEEOOE",
        "OEEEOO",
        "OEOEOE",
        "OEOEEO",
        "OEEOEO",
    ]

    def digit(number: int, kind: str) -> str:
        right = "".join("10"[int(bit)] for bit in odd[number])
        return {"O": odd[number], "R": right, "E": right[::-1]}[kind]

    digits = [int(character) for character in code]
    left = "".join(
        digit(number, kind) for number, kind in zip(digits[1:7], parity[digits[0]], strict=True)
    )
    right = "".join(digit(number, "R") for number in digits[7:])
    bits = "0" * 12 + "101" + left + "01010" + right + "101" + "0" * 12
    row = np.repeat(np.array([0 if bit == "1" else 255 for bit in bits], np.uint8), module_px)
    image = np.full((height_px + 80, len(row)), 255, np.uint8)
    image[40:-40] = row
    return np.repeat(image[..., None], 3, axis=2)
