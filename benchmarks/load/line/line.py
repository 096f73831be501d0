"""How long a station takes from a part's trigger to its signals, by parts a second.

    l2bt benchmark line exported/macaroni1 --images parts/test/good

`l2bt line` runs in a process of its own with a real MQTT broker, a webhook's receiver and a Modbus
server; images come at a steady pace whatever becomes of them. Beside it, in the same run, the same
images through the detector alone. Traffic goes to loopback only.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import cv2
import numpy as np
from cyclopts import Parameter

from benchmarks.load.line.plant import Broker, Listener, Receiver, free_port, require_program
from benchmarks.machine.machine import describe_machine, library_versions, read_conditions
from benchmarks.machine.result_files import results_folder, table, write_result
from runtime.detector import Detector
from runtime.errors import OptionError
from runtime.images.decode import ImageArray, read_image
from runtime.inspections.files import find_images

_SCHEMA = "l2bt.line/1"
_MOST_IMAGES = 20
_WARM_UP = 3


@dataclass(frozen=True, kw_only=True)
class Times:
    """Times of one stage in milliseconds.

    Attributes:
        p50_ms: The middle one.
        p99_ms: Of a hundred, one is longer.
    """

    p50_ms: float
    p99_ms: float

    @classmethod
    def of(cls, ms: list[float]) -> "Times | None":
        """Of all times; None if there are none."""
        if not ms:
            return None
        p50, p99 = np.percentile(ms, [50, 99])
        return cls(p50_ms=round(float(p50), 2), p99_ms=round(float(p99), 2))


@dataclass(frozen=True, kw_only=True)
class Pace:
    """What became of parts at one pace.

    Attributes:
        parts_per_s: How many came a second.
        parts: How many came in all.
        inspected: How many of them were inspected within the deadline.
        left_out: How many were not inspected, for want of room or time.
        told: How many outcomes the MQTT listener got.
        inspection: Of inspected parts, inspection alone.
        decided: Of inspected parts, from trigger to outcome.
        mqtt: Of inspected parts, from trigger until the listener at the broker had it.
        decided_left_out: Of parts that were not inspected, from trigger to outcome.
        stages: As the station timed its signals itself: p50 and p99 by signal, of all parts.
    """

    parts_per_s: float
    parts: int
    inspected: int
    left_out: int
    told: int
    inspection: Times | None
    decided: Times | None
    mqtt: Times | None
    decided_left_out: Times | None
    stages: dict[str, Times]


@dataclass(frozen=True, kw_only=True)
class LineResult:
    """All that was measured.

    Attributes:
        machine: What it ran on.
        conditions: What else ran there.
        versions: Versions of the libraries.
        model: The model's product.
        network: The network alone, in the detector.
        detector: The whole detector, alone.
        deadline_ms: Each part's.
        waiting: How many parts might wait.
        paces: One each.
        schema: Version of this file's layout.
    """

    machine: str
    conditions: Any
    versions: dict[str, str]
    model: str
    network: Times | None
    detector: Times | None
    deadline_ms: float
    waiting: int
    paces: tuple[Pace, ...]
    schema: str = _SCHEMA


def line(
    model: Path,
    *,
    images: Path,
    parts_per_s: Annotated[list[float] | None, Parameter(consume_multiple=True)] = None,
    seconds: float = 60.0,
    deadline_ms: float = 1000.0,
    waiting: int = 8,
    out: Path | None = None,
) -> None:
    """Measure a station from trigger to signal, at several paces; write JSON and Markdown.

    Args:
        model: Exported model.
        images: Folder of images; the first twenty are taken.
        parts_per_s: How many parts come a second; 1, 5 and 20 by default.
        seconds: How long each pace is kept.
        deadline_ms: Each part's.
        waiting: How many parts may wait.
        out: Folder of all machines' results; benchmarks/results by default.
    """
    require_program("mosquitto", "mosquitto")
    files = find_images([images])[:_MOST_IMAGES]
    if not files:
        raise OptionError(f"{images} holds no images")
    pixels = [read_image(path) for path in files]
    conditions = read_conditions()
    product, network, detector = _alone(model, pixels)
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        drawn = folder / "images"
        drawn.mkdir()
        for number, image in enumerate(pixels):
            cv2.imwrite(str(drawn / f"{number:03}.png"), image[..., ::-1])
        paces = []
        for pace in parts_per_s or [1.0, 5.0, 20.0]:
            count = round(pace * seconds)
            paces.append(_run(model, folder, drawn, pace, count, deadline_ms, waiting))
            print(f"{pace:g} a second: {paces[-1]}", file=sys.stderr)
    result = LineResult(
        machine=describe_machine(),
        conditions=conditions,
        versions=library_versions(),
        model=product,
        network=network,
        detector=detector,
        deadline_ms=deadline_ms,
        waiting=waiting,
        paces=tuple(paces),
    )
    where = results_folder("line", out)
    write_result(where, result, to_markdown(result))
    print(to_markdown(result))
    print(where)


def to_markdown(result: LineResult) -> str:
    """The paces as a table."""
    head = ["parts a second", "parts", "inspected", "left out", "told", "inspection alone"]
    head += ["trigger to outcome", "trigger to MQTT listener", "left out: trigger to outcome"]
    rows = [
        [
            f"{one.parts_per_s:g}",
            *(f"{count}" for count in (one.parts, one.inspected, one.left_out, one.told)),
            *(_said(times) for times in (one.inspection, one.decided, one.mqtt)),
            _said(one.decided_left_out),
        ]
        for one in result.paces
    ]
    return (
        f"Times in ms: p50, p99. {result.model}, deadline {result.deadline_ms:g} ms, at most "
        f"{result.waiting} parts wait, the oldest is left out.\n\n"
        f"{table(head, rows)}\n"
        f"Alone, one image after the other: the network {_said(result.network)}; the whole "
        f"detector {_said(result.detector)}. {result.machine}.\n"
    )


def _said(times: Times | None) -> str:
    return "" if times is None else f"{times.p50_ms:.1f}, {times.p99_ms:.1f}"


def _alone(model: Path, images: list[ImageArray]) -> tuple[str, Times | None, Times | None]:
    """The product, and the network's and the detector's times without a station."""
    network, whole, product = [], [], ""
    with Detector(model) as detector:
        for number, image in enumerate([*images[:_WARM_UP], *images, *images]):
            found = detector.inspect(image, want_map=False)
            product = found.product
            if number >= _WARM_UP:
                network.append(found.stage_ms["network"])
                whole.append(found.stage_ms["total"])
    return product, Times.of(network), Times.of(whole)


def _run(
    model: Path,
    scratch: Path,
    images: Path,
    parts_per_s: float,
    count: int,
    deadline_ms: float,
    waiting: int,
) -> Pace:
    folder = scratch / f"pace-{parts_per_s:g}"
    folder.mkdir()
    port, receiver = free_port(), Receiver()
    (folder / "secret").write_text("a secret of this benchmark and of nobody else")
    (folder / "station.toml").write_text(f"""
name = "press3"
[inspection]
model = {json.dumps(str(model.resolve()))}
not_inspected = "reject"
when_full = "drop-oldest"
waiting = {waiting}
deadline_ms = {deadline_ms}
[[sources]]
kind = "python"
name = "paced"
call = "benchmarks.load.line.paced:parts"
arguments = {{ folder = {json.dumps(str(images))}, parts_per_s = {parts_per_s}, count = {count} }}
[[signals]]
kind = "mqtt"
name = "mqtt"
broker = "127.0.0.1:{port}"
topic = "plant/press3"
[[signals]]
kind = "webhook"
name = "webhook"
url = "{receiver.url}"
secret_file = "secret"
[[signals]]
kind = "modbus"
name = "modbus"
listen = "127.0.0.1:{free_port()}"
[[signals]]
kind = "json-lines"
name = "lines"
path = "lines.jsonl"
""")
    try:
        with Broker(folder, port), Listener(port) as listener:
            subprocess.run(
                [sys.executable, "-m", "l2bt", "line", str(folder / "station.toml")], check=True
            )
            told = [
                (content, at_s)
                for topic, content, _, at_s in listener.messages
                if topic.endswith("/outcome")
            ]
    finally:
        receiver.shutdown()
        receiver.server_close()
    outcomes = [json.loads(line) for line in (folder / "lines.jsonl").read_text().splitlines()]
    state = json.loads((folder / "station" / "state.json").read_text())
    done = [one for one in outcomes if one["verdict"] != "not inspected"]
    rest = [one for one in outcomes if one["verdict"] == "not inspected"]
    return Pace(
        parts_per_s=parts_per_s,
        parts=count,
        inspected=len(done),
        left_out=len(rest),
        told=len({content["sequence"] for content, _ in told}),
        inspection=Times.of([one["inspected_ms"] for one in done]),
        decided=Times.of([one["latency_ms"] for one in done]),
        mqtt=Times.of(
            [
                1e3 * (at_s - content["at_s"])
                for content, at_s in told
                if content["verdict"] != "not inspected"
            ]
        ),
        decided_left_out=Times.of([one["latency_ms"] for one in rest]),
        stages={
            stage: Times(p50_ms=found["p50_ms"], p99_ms=found["p99_ms"])
            for stage, found in state["timings"].items()
        },
    )
