"""Where a benchmark leaves what it measured: JSON for programs, Markdown and SVG for people."""

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.machine.machine import machine_name
from runtime.storage.atomic_write import atomic_write
from runtime.storage.json_files import write_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RESULTS = Path(__file__).parents[1] / "results"


def results_folder(benchmark: str, out: Path | None = None) -> Path:
    """The folder of a benchmark's results on this class of machine.

    Args:
        benchmark: Its name, such as "latency".
        out: Folder of all machines' results; benchmarks/results by default.
    """
    return (out or RESULTS) / machine_name() / benchmark


def write_result(folder: Path, result: Any, markdown: str, **figures: "Figure") -> None:
    """Write result.json, result.md and NAME.svg for each figure.

    Args:
        folder: Made if it is not there.
        result: A dataclass.
        markdown: The same for people.
        figures: Matplotlib figures by name.
    """
    write_json(folder / "result.json", result)
    atomic_write(folder / "result.md", markdown)
    for name, figure in figures.items():
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
        atomic_write(folder / f"{name}.svg", buffer.getvalue())


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
