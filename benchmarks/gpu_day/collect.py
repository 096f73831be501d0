"""Putting together what the parts left: one JSON for programs, tables for people."""

from pathlib import Path
from typing import Any

import msgspec

from benchmarks.gpu_day.journal import SCHEMA
from benchmarks.gpu_day.run import PARTS
from benchmarks.machine.result_files import RESULTS, table, write_result
from runtime.errors import ModelError
from runtime.storage.json_files import decode_json, read_bytes


def collect(found: Path, *, out: Path | None = None) -> Path:
    """Write result.json and result.md of a day.

    Args:
        found: Folder with the parts' JSON files.
        out: Folder of all machines' results; benchmarks/results by default.

    Returns:
        The folder of the results.

    Raises:
        ModelError: There is no file of a part, or one is damaged or of another version.
    """
    paths = {name: found / f"{name}.json" for name in PARTS}
    parts = {name: _read(path) for name, path in paths.items() if path.is_file()}
    if not parts:
        raise ModelError(f"{found} holds no file of a part ({', '.join(PARTS)})")
    machine: str = next(iter(parts.values()))["machine_name"]
    folder = (out or RESULTS) / machine / "gpu_day"
    write_result(folder, {"schema": SCHEMA, "parts": parts}, to_markdown(parts))
    return folder


def to_markdown(parts: dict[str, dict[str, Any]]) -> str:
    """The tables of a day; what was not measured is not in them, and what failed is named."""
    first = next(iter(parts.values()))
    lines = [f"# A day with a GPU: {first['device']}", ""]
    for name, part in parts.items():
        found = part["measurements"]
        lines += [f"## {name}", "", f"{part['seconds']:.0f} s.", ""]
        lines += [_parity_table(found), _speed_table(found), _engine_table(found), _others(found)]
        for step, text in part["failures"].items():
            lines.append(f"- **failed**: {step}: {text.strip().splitlines()[-1]}")
        lines.append("")
    lines.append(f"{first['machine']}; PyTorch {first['versions'].get('torch', 'unknown')}.")
    return "\n".join(line for line in lines if line is not None) + "\n"


def _parity_table(found: dict[str, Any]) -> str:
    head = ["compared", "candidate", "decision flips", "map error, mean / largest, of the spread"]
    head += ["score error", "lowest cosine", "verdict"]
    rows = []
    for name, value in found.items():
        for one in value if isinstance(value, list) else [value]:
            if not isinstance(one, dict) or "decision_flips" not in one:
                continue
            rows.append(
                [
                    name,
                    one["candidate"],
                    f"{one['decision_flips']} of {len(one['images'])}",
                    f"{_number(one['mean_map_error'])} / {_number(one['max_map_error'])}",
                    _number(one["score_error"]),
                    _number(one["lowest_cosine"], ".7f"),
                    "same" if one["passed"] else "; ".join(one["reasons"]),
                ]
            )
    return table(head, rows) if rows else ""


def _speed_table(found: dict[str, Any]) -> str:
    head = [
        "px",
        "tiles",
        "products in",
        "way",
        "attention",
        "on the GPU, p50",
        "from host to host",
    ]
    head += ["images or tiles a second", "the limit", "times the limit"]
    rows = [
        [
            str(one["image_size"]),
            str(one["tiles"]),
            one["precision"],
            one["way"],
            one["attention"],
            f"{one['p50_ms']:.2f} ms",
            "" if one["whole_p50_ms"] is None else f"{one['whole_p50_ms']:.2f} ms",
            f"{1e3 * one['tiles'] / one['p50_ms']:.0f}",
            f"{one['limit_ms']:.2f} ms",
            f"{one['times_limit']:.2f}",
        ]
        for one in found.values()
        if isinstance(one, dict) and "times_limit" in one
    ]
    return table(head, rows) if rows else ""


def _engine_table(found: dict[str, Any]) -> str:
    head = ["network", "tiles", "way", "batches of", "from host to host, p50", "p90"]
    head += ["tiles a second"]
    rows = [
        [
            one["network"],
            str(one["tiles"]),
            one["way"],
            ", ".join(map(str, one["batch_sizes"])),
            f"{one['engine_p50_ms']:.2f} ms",
            f"{one['engine_p90_ms']:.2f} ms",
            f"{one['tiles_per_s']:.0f}",
        ]
        for one in found.values()
        if isinstance(one, dict) and "engine_p50_ms" in one
    ]
    return table(head, rows) if rows else ""


def _others(found: dict[str, Any]) -> str:
    """Whatever has no table of its own, as it stands in the JSON."""
    lines = []
    for name, value in found.items():
        is_parity = isinstance(value, list) or (
            isinstance(value, dict) and "decision_flips" in value
        )
        timed = ("times_limit", "engine_p50_ms")
        if is_parity or (isinstance(value, dict) and any(name in value for name in timed)):
            continue
        lines.append(f"- {name}: `{msgspec.json.encode(value).decode()[:600]}`")
    return "\n".join([*lines, ""]) if lines else ""


def _number(value: float | None, form: str = ".2g") -> str:
    return "none" if value is None else format(value, form)


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = decode_json(read_bytes(path), dict, source=str(path))
    if content.get("schema") != SCHEMA:
        raise ModelError(f"{path} has schema {content.get('schema')!r}; expected {SCHEMA!r}")
    return content
