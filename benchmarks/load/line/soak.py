"""Does a station lose a part? Its counts, while parts of its plant are killed around it.

    l2bt benchmark line-soak exported/macaroni1 --parts 24000

`l2bt line` asks a supervised tritonserver. Files come into a folder, and a GigE Vision camera that
is none is triggered by MQTT messages; both are counted here, outside the station. Outcomes go to a
broker, a webhook and a file of lines, whose messages are counted here too. Meanwhile: the broker is
away, the camera is unplugged, tritonserver and the station are killed, the station's disk is full,
its clock is set back an hour, and files come ten times as fast. Traffic goes to loopback only.
"""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.load.line.counted import count_out_of_order, without_numbers
from benchmarks.load.line.failing_plant import Counted, FailingPlant
from benchmarks.load.line.plant import require_program
from benchmarks.machine.machine import describe_machine, library_versions
from benchmarks.machine.result_files import results_folder, table, write_result

_SCHEMA = "l2bt.line_soak/1"


@dataclass(frozen=True, kw_only=True)
class LineSoakResult:
    """All that was counted.

    Attributes:
        machine: What it ran on.
        versions: Versions of the libraries.
        seconds: How long it took.
        faults: What was done, and when, in seconds since the start.
        files: That came into the folder.
        triggers: Messages that the station answered with yes or no.
        parts: In the ledger.
        verdicts: In the ledger.
        reasons: Why parts were not inspected, with their numbers taken out.
        undecided: Parts in the ledger without an outcome.
        missing: Files and triggers that the ledger does not have.
        told: Different parts of which each signal was told.
        repeated: Messages of a part that was told before, by signal.
        out_of_order: Messages with a lower number than one before, but for repeated ones.
        schema: Version of this file's layout.
    """

    machine: str
    versions: dict[str, str]
    seconds: float
    faults: tuple[tuple[float, str], ...]
    files: int
    triggers: int
    parts: int
    verdicts: dict[str, int]
    reasons: dict[str, int]
    undecided: int
    missing: int
    told: dict[str, int]
    repeated: dict[str, int]
    out_of_order: dict[str, int]
    schema: str = _SCHEMA


def line_soak(
    model: Path,
    *,
    parts: int = 24_000,
    files_per_s: float = 16.0,
    triggers_per_s: float = 4.0,
    broker_away_s: float = 60.0,
    out: Path | None = None,
) -> None:
    """Kill what stands around a station, and count its parts; write JSON and Markdown.

    Args:
        model: Exported model of one product.
        parts: How many parts come in all, from both sources.
        files_per_s: How many come into the folder a second.
        triggers_per_s: How often the camera is triggered a second.
        broker_away_s: How long the broker is away, in seconds.
        out: Folder of all machines' results; benchmarks/results by default.
    """
    require_program("mosquitto", "mosquitto")
    require_program("arv-fake-gv-camera-0.8", "aravis-tools")
    require_program("unshare", "util-linux")
    with TemporaryDirectory() as scratch:
        plant = FailingPlant(
            Path(scratch), model, parts, files_per_s, triggers_per_s, broker_away_s
        )
        try:
            result = to_result(plant.run())
        finally:
            plant.keep_log(results_folder("line_soak", out))
    write_result(results_folder("line_soak", out), result, to_markdown(result))
    print(to_markdown(result))


def to_result(counted: Counted) -> LineSoakResult:
    """Hold what was counted around the station against its ledger."""
    rows = counted.rows
    outcomes = [json.loads(row[4]) for row in rows if row[4] is not None]
    files = {frame for _, source, frame, *_ in rows if source == "in"}
    triggers = sum(source == "side" for _, source, *_ in rows)
    order = {one["part"]: one["sequence"] for one in outcomes}
    messages = counted.messages
    return LineSoakResult(
        machine=describe_machine(),
        versions=library_versions(),
        seconds=counted.seconds,
        faults=counted.faults,
        files=counted.files,
        triggers=counted.answered,
        parts=len(rows),
        verdicts=dict(Counter(one["verdict"] for one in outcomes)),
        reasons=dict(Counter(without_numbers(one["reason"]) for one in outcomes if one["reason"])),
        undecided=sum(row[3] is None for row in rows),
        missing=counted.files - len(files) + max(0, counted.answered - triggers),
        told={name: len(set(parts)) for name, parts in messages.items()},
        repeated={name: len(parts) - len(set(parts)) for name, parts in messages.items()},
        out_of_order={
            name: count_out_of_order([order.get(part, 0) for part in parts])
            for name, parts in messages.items()
        },
    )


def to_markdown(result: LineSoakResult) -> str:
    """The counts as a table."""
    inspected = sum(n for verdict, n in result.verdicts.items() if verdict != "not inspected")
    rows = [
        ["files that came", str(result.files)],
        ["triggers that were answered", str(result.triggers)],
        ["parts in the ledger", str(result.parts)],
        ["of them inspected", str(inspected)],
        ["not inspected, and said so", str(result.verdicts.get("not inspected", 0))],
        ["without an outcome", str(result.undecided)],
        ["files and triggers that the ledger lacks", str(result.missing)],
    ]
    for name, count in result.told.items():
        said = f"{count} ({result.repeated[name]} told again, "
        rows.append([f"parts told by {name}", f"{said}{result.out_of_order[name]} out of order)"])
    reasons = [[reason, str(count)] for reason, count in result.reasons.items()]
    faults = "; ".join(f"{at_s:.0f} s: {what}" for at_s, what in result.faults)
    return (
        f"{table(['', ''], rows)}\n{table(['not inspected, since', 'parts'], reasons)}\n"
        f"In {result.seconds:.0f} s. {faults}.\n\n{result.machine}.\n"
    )
