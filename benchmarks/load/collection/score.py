"""Is an image of a collection lost or scored twice, and what does sharing the work out cost?

    l2bt benchmark score exported/plate --images 20000

Images of the drawn product are made small and many, one of them cut. The same command scores them
in one process and on Ray, with a worker on each of one and of two nodes, in turns. Then a run over
all of them is killed again and again, each time in the middle of shards: a worker, a node, the
driver, everything at once. What the table holds in the end is counted. All processes are on this
machine.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.load.collection.drawn_collection import draw_collection
from benchmarks.load.collection.ray_nodes import RayNodes
from benchmarks.machine.machine import describe_machine, library_versions
from benchmarks.machine.result_files import results_folder, table, write_result
from runtime.extras import require
from runtime.scoring.statistics import open_rows
from runtime.scoring.table import SHARDS

_SCHEMA = "l2bt.score_benchmark/1"
_WITHIN_S = 1800.0


@dataclass(frozen=True, kw_only=True)
class TimedRun:
    """One run of the command over a collection that nobody kills.

    Attributes:
        way: Who did the work.
        images: How many images.
        wall_s: From its start to its end, with the start of Ray's connection and of the workers.
        scoring_s: From its first shard to its end.
        driver_cpu_s: Processor time of the command's own process.
    """

    way: str
    images: int
    wall_s: float
    scoring_s: float
    driver_cpu_s: float


@dataclass(frozen=True, kw_only=True)
class ScoreBenchmark:
    """All that was measured.

    Attributes:
        machine: What it ran on.
        versions: Versions of the libraries.
        timed: Runs that nobody killed.
        images: Images of the run that was killed.
        faults: What was killed, and how many images were done by then.
        rows: Rows of its table.
        numbers: Different numbers of images in it.
        sum_of_numbers: Their sum.
        expected_sum: What it should be.
        failed: Rows with an error; one image is cut.
        other_scores: Rows whose score is not the one that the single process found.
        schema: Version of this file's layout.
    """

    machine: str
    versions: dict[str, str]
    timed: tuple[TimedRun, ...]
    images: int
    faults: tuple[tuple[int, str], ...]
    rows: int
    numbers: int
    sum_of_numbers: int
    expected_sum: int
    failed: int
    other_scores: int
    schema: str = _SCHEMA


def score(
    model: Path,
    *,
    images: int = 20_000,
    timed_images: int = 4_000,
    rounds: int = 2,
    out: Path | None = None,
) -> None:
    """Score a large collection on Ray, kill what does it, count; write JSON and Markdown.

    Args:
        model: Exported model of the drawn product (`l2bt demo` or `l2bt synthesize`).
        images: How many images the run that is killed has.
        timed_images: How many the runs have that are timed.
        rounds: How often each way is timed.
        out: Folder of all machines' results; benchmarks/results by default.
    """
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        draw_collection(folder / "timed", timed_images)
        draw_collection(folder / "all", images)
        timed = tuple(_timed(folder, model, timed_images, rounds))
        run = KilledRun(folder / "killed", folder / "all", model, images=images)
        faults = run.run()
        command = _command(folder / "all", model, folder / "alone")
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        counted = count_rows(folder / "killed", folder / "alone", images)
    result = ScoreBenchmark(
        machine=describe_machine(),
        versions=library_versions(),
        timed=timed,
        images=images,
        faults=tuple(faults),
        **counted,  # type: ignore[arg-type]
    )
    write_result(results_folder("score", out), result, to_markdown(result))
    print(to_markdown(result))


def count_rows(folder: Path, alone: Path, images: int) -> dict[str, int]:
    """Hold a table against what one process found.

    Args:
        folder: The table.
        alone: The same collection's, by one process.
        images: How many images there are.
    """
    rows = open_rows(folder).to_table(columns=["id", "score", "error"]).to_pydict()
    right = open_rows(alone).to_table(columns=["id", "score"]).to_pydict()
    scores = dict(zip(right["id"], right["score"], strict=True))
    return {
        "rows": len(rows["id"]),
        "numbers": len(set(rows["id"])),
        "sum_of_numbers": sum(rows["id"]),
        "expected_sum": images * (images - 1) // 2,
        "failed": sum(error is not None for error in rows["error"]),
        "other_scores": sum(
            found != scores.get(number)
            for number, found in zip(rows["id"], rows["score"], strict=True)
        ),
    }


@dataclass
class KilledRun:
    """A run over a collection that is killed in every way.

    Attributes:
        table: Where its table comes.
        collection: The images.
        model: The exported model.
        images: How many images there are.
        shard_images: How many of them a shard has.
    """

    table: Path
    collection: Path
    model: Path
    images: int
    shard_images: int = 100
    _driver: "subprocess.Popen[bytes] | None" = field(default=None, init=False)

    def run(self) -> list[tuple[int, str]]:
        """Run it to its end; what was killed, and after how many images."""
        faults: list[tuple[int, str]] = []
        shares = iter((0.15, 0.35, 0.55, 0.75))
        with RayNodes() as nodes:
            nodes.add()
            self._start(nodes)

            def kill(what: str, end: Callable[[], Any]) -> None:
                self._wait(next(shares))
                faults.append((self._done(), what))
                end()

            kill("a worker", lambda: _kill(next(nodes.workers())))
            kill("a node (its raylet)", lambda: _kill(list(nodes.raylets())[-1]))
            nodes.add()
            kill("the driver", self._kill_driver)
            self._start(nodes)

            def everything() -> None:
                nodes.kill_all()
                self._kill_driver()

            kill("everything: driver, workers, both nodes", everything)
        with RayNodes() as nodes:
            nodes.add()
            self._start(nodes)
            assert self._driver is not None
            if self._driver.wait(_WITHIN_S) != 0:
                raise AssertionError("the last run has failed")
        return faults

    def _start(self, nodes: RayNodes) -> None:
        command = _command(self.collection, self.model, self.table, "--ray", nodes.address)
        command += ["--shard-images", str(self.shard_images)]
        self._driver = subprocess.Popen(
            command,
            env=os.environ | nodes.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def _kill_driver(self) -> None:
        assert self._driver is not None
        self._driver.kill()
        self._driver.wait()

    def _done(self) -> int:
        return self.shard_images * len(list((self.table / SHARDS).glob("shard-*.parquet")))

    def _wait(self, share: float) -> None:
        """Until so many images are done, and others half."""
        end_s = time.monotonic() + _WITHIN_S
        while self._done() < share * self.images or not self._is_writing():
            assert self._driver is not None
            if self._driver.poll() is not None or time.monotonic() > end_s:
                raise AssertionError(f"the run ended at {self._done()} images")
            time.sleep(0.02)

    def _is_writing(self) -> bool:
        return any((self.table / SHARDS).glob(".shard-*"))


def _kill(number: int) -> None:
    require("psutil").Process(number).kill()


def _timed(folder: Path, model: Path, images: int, rounds: int) -> Iterator[TimedRun]:
    with _nodes(1) as one, _nodes(2) as two:
        ways: dict[str, tuple[str, ...]] = {
            "one process, all cores": (),
            "Ray, one worker": ("--ray", one.address),
            "Ray, two workers": ("--ray", two.address),
        }
        for number in range(rounds):
            for index, (way, options) in enumerate(ways.items()):
                place = folder / f"timed-{number}-{index}"
                command = _command(folder / "timed", model, place, *options)
                environment = (one, one, two)[index].environment
                yield _time(way, images, command, place, environment)


def _time(
    way: str, images: int, command: list[str], place: Path, environment: dict[str, str]
) -> TimedRun:
    start_s, first_s = time.monotonic(), 0.0
    driver = subprocess.Popen(
        command, env=os.environ | environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while True:
        # Its processor time is had where it is waited for itself.
        number, status, usage = os.wait4(driver.pid, os.WNOHANG)
        if number:
            break
        if not first_s and any((place / SHARDS).glob(".shard-*")):
            first_s = time.monotonic()
        time.sleep(0.02)
    if status != 0:
        raise AssertionError(f"{way}: {' '.join(command)} has failed")
    end_s = time.monotonic()
    return TimedRun(
        way=way,
        images=images,
        wall_s=end_s - start_s,
        scoring_s=end_s - first_s,
        driver_cpu_s=usage.ru_utime + usage.ru_stime,
    )


@contextmanager
def _nodes(count: int) -> Iterator[RayNodes]:
    with RayNodes() as nodes:
        for _ in range(count - 1):
            nodes.add()
        yield nodes


def _command(collection: Path, model: Path, place: Path, *options: str) -> list[str]:
    command = [sys.executable, "-m", "l2bt", "score", str(collection), "--model", str(model)]
    return [*command, "--out", str(place), *options]


def to_markdown(result: ScoreBenchmark) -> str:
    """What was measured, as tables."""
    ways: dict[str, list[TimedRun]] = {}
    for run in result.timed:
        ways.setdefault(run.way, []).append(run)
    base = min(run.scoring_s for run in result.timed if run.way.startswith("one process"))
    rows = []
    for way, runs in ways.items():
        best = min(runs, key=lambda run: run.scoring_s)
        rows.append(
            [
                way,
                f"{best.images / best.scoring_s:.1f}",
                f"{best.scoring_s / base:.2f}",
                f"{best.wall_s - best.scoring_s:.1f}",
                f"{1e3 * best.driver_cpu_s / best.images:.2f}",
            ]
        )
    head = ["", "images/s", "its time over one process's", "start, s", "driver's CPU, ms an image"]
    counts = [
        ["images", str(result.images)],
        ["rows", str(result.rows)],
        ["different numbers", str(result.numbers)],
        ["sum of the numbers", str(result.sum_of_numbers)],
        ["what it should be", str(result.expected_sum)],
        ["rows with an error (one image is cut)", str(result.failed)],
        ["scores other than the single process's", str(result.other_scores)],
    ]
    faults = "; ".join(f"after {done} images {what}" for done, what in result.faults)
    return (
        f"{table(head, rows)}\nKilled: {faults}.\n\n{table(['', ''], counts)}\n{result.machine}.\n"
    )
