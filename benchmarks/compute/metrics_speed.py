"""The pixel metrics' speed and memory beside a plain evaluator's, in one run.

    l2bt benchmark metrics --images 50 100 200

Each measurement is a process of its own, so that its peak of memory is its own. Both get the same
drawn maps and masks from disk; reading them is not part of the time. The two alternate, and the
plain evaluator is left out where its pooled pixels would not fit into memory, which the table says.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
import numpy.typing as npt
from cyclopts import App, Parameter
from tqdm import tqdm

from benchmarks.evaluation.metrics.pixel_metrics import PixelEvaluator
from benchmarks.evaluation.metrics.plain_evaluator import evaluate_plainly
from benchmarks.evaluation.metrics.pro import LIMITS
from benchmarks.machine.machine import available_memory_bytes, describe_machine, library_versions
from benchmarks.machine.result_files import results_folder, table, write_result

HEIGHT_PX, WIDTH_PX = 1000, 1500
# What scikit-learn needs to sort all pixels: measured at 60 bytes a pixel, and some more.
_PLAIN_BYTES_PER_PIXEL = 65
_SCHEMA = "l2bt.metrics_speed/1"
_LABEL = {"ours": "l2bt, exact, one pass", "plain": "plain: scikit-learn, 99 thresholds"}


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One evaluator over one test set.

    Attributes:
        evaluator: "ours" or "plain".
        images: Images in the set, every second one defective.
        seconds: Time in the evaluator.
        peak_megabytes: Highest resident memory of its process (10^6 bytes), libraries included.
        values: What it found, by name.
    """

    evaluator: str
    images: int
    seconds: float
    peak_megabytes: float
    values: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class SpeedResult:
    """All measurements of one run.

    Attributes:
        machine: What they ran on.
        versions: Versions of the libraries.
        measurements: In the order in which they ran.
        left_out: Why an evaluator is missing at a number of images.
        largest_difference: Between the two evaluators' numbers, over all that both give.
        schema: Version of this file's layout.
    """

    machine: str
    versions: dict[str, str]
    measurements: tuple[Measurement, ...]
    left_out: dict[str, str]
    largest_difference: float
    schema: str = _SCHEMA


def draw_image(number: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """A map as L2BT gives it (37 x 37 patches, upsampled and blurred) and a mask.

    Every second image has one to five round defects of 1 to 60 px, which the map answers to.
    """
    rng = np.random.default_rng(number)
    patches = np.exp(rng.normal(-3, 0.5, (37, 37))).astype(np.float32)
    square = cv2.resize(patches, (WIDTH_PX, WIDTH_PX), interpolation=cv2.INTER_LINEAR)
    top = (WIDTH_PX - HEIGHT_PX) // 2
    anomaly_map = cv2.GaussianBlur(square, (0, 0), 4.7)[top : top + HEIGHT_PX]
    mask = np.zeros((HEIGHT_PX, WIDTH_PX), np.uint8)
    if number % 2:
        for _ in range(rng.integers(1, 6)):
            centre = (int(rng.integers(0, WIDTH_PX)), int(rng.integers(0, HEIGHT_PX)))
            cv2.circle(mask, centre, int(np.exp(rng.uniform(0, 3.4))), (1,), -1)
        anomaly_map = anomaly_map + 0.1 * cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 4)
    return np.ascontiguousarray(anomaly_map, np.float32), mask > 0


def measure_ours(folder: Path, images: int) -> tuple[float, dict[str, float]]:
    """Seconds in the streaming evaluator, and its numbers."""
    evaluator = PixelEvaluator(good_images=(images + 1) // 2)
    seconds = 0.0
    for number in range(images):
        anomaly_map, mask = _load(folder, number)
        start = time.perf_counter()
        evaluator.add(str(number), anomaly_map, mask, is_defective=bool(number % 2))
        seconds += time.perf_counter() - start
    start = time.perf_counter()
    result = evaluator.result()
    seconds += time.perf_counter() - start
    assert result is not None, "the drawn set has defects"
    metrics = result.metrics
    values = {"P-AUROC": metrics.auroc, "P-AP": metrics.average_precision, "P-F1": metrics.best_f1}
    for number, size_bin in enumerate(metrics.overlap.cumulative, start=1):
        assert size_bin.aupro is not None
        for limit in LIMITS:
            label = f"{limit:.0%}"
            values[f"AU-PRO Q{number} {label}"] = size_bin.aupro["paper"][label]
    return seconds, values


def measure_plain(folder: Path, images: int) -> tuple[float, dict[str, float]]:
    """Seconds in the plain evaluator, and its numbers."""
    held = [_load(folder, number) for number in range(images)]
    start = time.perf_counter()
    values = evaluate_plainly(held)
    return time.perf_counter() - start, values


def metrics(
    *,
    images: Annotated[list[int], Parameter(consume_multiple=True)] = [50, 100, 200],  # noqa: B006
    out: Path | None = None,
) -> None:
    """Measure our evaluator beside a plain one; write JSON, Markdown and a plot.

    Args:
        images: Numbers of images.
        out: Folder of all machines' results; benchmarks/results by default.
    """
    left_out: dict[str, str] = {}
    measurements: list[Measurement] = []
    with tempfile.TemporaryDirectory(prefix="metrics_speed.") as name:
        folder = Path(name)
        for number in tqdm(range(max(images)), desc="drawing", unit="image"):
            anomaly_map, mask = draw_image(number)
            np.save(folder / f"{number}.map.npy", anomaly_map)
            np.save(folder / f"{number}.mask.npy", np.packbits(mask))
        for count in images:
            for evaluator in ("ours", "plain"):
                needed = count * HEIGHT_PX * WIDTH_PX * _PLAIN_BYTES_PER_PIXEL
                if evaluator == "plain" and needed > available_memory_bytes():
                    left_out[str(count)] = (
                        f"the plain evaluator needs about {needed / 1e9:.0f} GB for {count} "
                        f"images, and {available_memory_bytes() / 1e9:.0f} GB are free"
                    )
                    continue
                print(f"{count} images, {_LABEL[evaluator]}", flush=True)
                measurements.append(_measure_in_process(evaluator, folder, count))
                print(f"  {measurements[-1].seconds:.1f} s", flush=True)
    result = SpeedResult(
        machine=describe_machine(),
        versions=library_versions(),
        measurements=tuple(measurements),
        left_out=left_out,
        largest_difference=_largest_difference(measurements),
    )
    folder, text = results_folder("metrics", out), to_markdown(result)
    write_result(folder, result, text)
    _plot(result, folder / "growth.svg")
    print(text)


def to_markdown(result: SpeedResult) -> str:
    """The measurements as a table, with the ratio of the two."""
    by_key = {(one.evaluator, one.images): one for one in result.measurements}
    head = ["images of 1,500 x 1,000 px", "ours", "plain", "ratio", "ours, peak", "plain, peak"]
    rows = []
    for count in sorted({one.images for one in result.measurements}):
        ours, plain = by_key.get(("ours", count)), by_key.get(("plain", count))
        row = [
            f"{count}",
            f"{ours.seconds:.1f} s" if ours else "",
            f"{plain.seconds:.0f} s" if plain else "",
            f"{plain.seconds / ours.seconds:.0f}" if ours and plain else "",
            f"{ours.peak_megabytes:.0f} MB" if ours else "",
            f"{plain.peak_megabytes:,.0f} MB" if plain else "",
        ]
        rows.append(row)
    lines = [table(head, rows).rstrip()]
    lines += ["", *(f"{count} images: {reason}." for count, reason in result.left_out.items())]
    lines.append(
        f"The largest difference between the numbers that both give: "
        f"{result.largest_difference:.1e}. Ours also gives the exact AU-PRO, the disjoint sizes "
        f"and AUPIMO. {result.machine}."
    )
    return "\n".join(lines) + "\n"


def _load(folder: Path, number: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    anomaly_map = np.load(folder / f"{number}.map.npy", allow_pickle=False)
    packed = np.load(folder / f"{number}.mask.npy", allow_pickle=False)
    mask = np.unpackbits(packed)[: anomaly_map.size].reshape(anomaly_map.shape)
    return anomaly_map, mask.astype(bool)


def _measure_in_process(evaluator: str, folder: Path, images: int) -> Measurement:
    command = [sys.executable, "-m", "benchmarks.compute.metrics_speed", "one", evaluator]
    done = subprocess.run(
        [*command, str(folder), str(images)], stdout=subprocess.PIPE, text=True, check=True
    )
    return Measurement(**json.loads(done.stdout))


def _print_one(evaluator: str, folder: Path, images: int) -> None:
    """Measure one evaluator in this process, and print the measurement as JSON.

    Args:
        evaluator: "ours" or "plain".
        folder: Where the maps are.
        images: How many to take.
    """
    measure = {"ours": measure_ours, "plain": measure_plain}[evaluator]
    seconds, values = measure(folder, images)
    # Linux counts in KiB.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    measurement = Measurement(
        evaluator=evaluator, images=images, seconds=seconds, peak_megabytes=peak, values=values
    )
    print(json.dumps(asdict(measurement)))


def _largest_difference(measurements: list[Measurement]) -> float:
    values: dict[int, list[dict[str, float]]] = {}
    for one in measurements:
        values.setdefault(one.images, []).append(one.values)
    return max(
        (
            abs(both[0][name] - both[1][name])
            for both in values.values()
            if len(both) == 2
            for name in both[0]
        ),
        default=0.0,
    )


def _plot(result: SpeedResult, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    seconds, memory = figure.subplots(1, 2)
    for evaluator, colour in (("ours", "#1f7a4d"), ("plain", "#b22222")):
        own = [one for one in result.measurements if one.evaluator == evaluator]
        counts = [one.images for one in own]
        label: Any = _LABEL[evaluator]
        seconds.plot(counts, [one.seconds for one in own], "o-", color=colour, label=label)
        memory.plot(counts, [one.peak_megabytes for one in own], "o-", color=colour, label=label)
    for axes, title in ((seconds, "seconds"), (memory, "peak memory in MB")):
        axes.set_yscale("log")
        axes.set_xlabel("images of 1,500 x 1,000 px")
        axes.set_title(title)
        axes.grid(alpha=0.3)
    seconds.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """What `metrics` starts in a process of its own, whose memory is measured."""
    app = App()
    app.command(_print_one, name="one")
    app()


if __name__ == "__main__":
    main()
