"""The console under load: a large archive's pages, and a line's inspections as they are shown.

    l2bt benchmark console exported/macaroni1 --inspections 1000000 --requests 10000

An archive is filled with made-up inspections, and its pages are asked for by HTTP. Then a server
that writes down what it inspects is sent images, while the live page's stream is read: told are
the time from an answer to its verdict in the stream, and whether each request of the clients' own
list is in the archive, once.
"""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.load.console.large_archive import LargeArchive, time_pages
from benchmarks.load.console.watched_line import WatchedLine, watch_line
from benchmarks.machine.machine import describe_machine, library_versions
from benchmarks.machine.result_files import results_folder, table, write_result
from runtime.models.exported_model import ExportedModel

_SCHEMA = "l2bt.console/1"


@dataclass(frozen=True, kw_only=True)
class ConsoleResult:
    """All that was measured.

    Attributes:
        machine: What it ran on.
        versions: Versions of the libraries.
        archive: A large archive's pages.
        line: A line that is watched.
        schema: Version of this file's layout.
    """

    machine: str
    versions: dict[str, str]
    archive: LargeArchive
    line: WatchedLine
    schema: str = _SCHEMA


def console(
    model: Path,
    *,
    inspections: int = 100_000,
    requests: int = 2000,
    clients: int = 2,
    out: Path | None = None,
) -> None:
    """Measure the console's pages over a large archive, and the live page behind a real server.

    Args:
        model: Exported model, whose server is asked.
        inspections: Made-up ones in the archive.
        requests: How many the clients send in all.
        clients: How many at the same time.
        out: Folder of all machines' results; benchmarks/results by default.
    """
    exported = ExportedModel.open(model)
    with TemporaryDirectory() as scratch:
        large = time_pages(Path(scratch), inspections)
    with TemporaryDirectory() as scratch:
        watched = watch_line(exported, Path(scratch), requests, clients)
    result = ConsoleResult(
        machine=describe_machine(), versions=library_versions(), archive=large, line=watched
    )
    folder = results_folder("console", out)
    write_result(folder, result, to_markdown(result))
    print(to_markdown(result))


def to_markdown(result: ConsoleResult) -> str:
    """Tables and a sentence."""
    archive, line = result.archive, result.line
    rows = [
        [one.page, f"{one.p50_ms:,.0f} ms", f"{one.longest_ms:,.0f} ms"] for one in archive.pages
    ]
    lines = [
        table([f"of {archive.inspections:,} inspections", "median of 20", "longest"], rows),
        f"The archive has {archive.size_mb:,.0f} MB, and was filled in {archive.fill_s:,.0f} s.",
        f"From an answer to its verdict in the live page's stream: median "
        f"{line.shown_p50_ms:,.0f} ms, 99 of 100 within {line.shown_p99_ms:,.0f} ms.",
        f"{line.requests:,} requests at {line.rate_hz:.0f} a second, with the live page open: "
        f"{line.missing} missing in the archive, {line.twice} twice. {result.machine}.",
    ]
    return "\n".join(lines) + "\n"
