"""Have the ratios moved? `l2bt benchmark quick`, in less than three minutes.

Times differ from day to day on a shared machine, ratios of ways that took turns hardly do. A few of
them are measured again, on a network without training, and held against the committed ones.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.machine.machine import (
    Conditions,
    describe_machine,
    library_versions,
    read_conditions,
)
from benchmarks.machine.result_files import results_folder, table, write_result
from benchmarks.machine.timing import Ratio, take_turns
from runtime.storage.json_files import read_json

_SCHEMA = "l2bt.quick/1"
# A ratio has moved if it is this much off, and the spreads of the two runs do not touch.
_TOLERANCE = 0.1


@dataclass(frozen=True, kw_only=True)
class QuickResult:
    """The ratios of one run.

    Attributes:
        machine: What it ran on.
        conditions: Its state before the run.
        versions: Versions of the libraries.
        ratios: By what is compared.
        schema: Version of this file's layout.
    """

    machine: str
    conditions: Conditions
    versions: dict[str, str]
    ratios: dict[str, Ratio]
    schema: str = _SCHEMA


def quick(*, update: bool = False, out: Path | None = None) -> None:
    """Measure a few ratios and hold them against the committed ones of this class of machine.

    The exit status is 1 if one has moved: by more than a tenth, with spreads that do not touch.

    Args:
        update: Write today's as the ones to hold against.
        out: Folder of all machines' results; benchmarks/results by default.
    """
    from runtime.errors import OptionError

    folder = results_folder("quick", out)
    committed = folder / "result.json"
    if not update and not committed.is_file():
        raise OptionError(
            f"{committed} is missing: there is nothing to hold this class of machine against; "
            "measure it with l2bt benchmark quick --update"
        )
    conditions = read_conditions()
    result = QuickResult(
        machine=describe_machine(),
        conditions=conditions,
        versions=library_versions(),
        ratios=measure_ratios(),
    )
    if update:
        rows = [[name, str(ratio)] for name, ratio in result.ratios.items()]
        page = f"{result.machine}\n\n{table(['ratio', 'median (quartiles)'], rows)}"
        write_result(folder, result, page)
        print(page)
        return
    before = read_json(committed, QuickResult)
    print(compare(before.ratios, result.ratios))
    changed = {
        name: f"{before.versions.get(name, 'none')} -> {version}"
        for name, version in result.versions.items()
        if before.versions.get(name) != version
    }
    if changed:
        print("Other versions than then:", ", ".join(f"{n} {v}" for n, v in changed.items()))
    moved = [
        name
        for name, ratio in result.ratios.items()
        if name in before.ratios and has_moved(before.ratios[name], ratio)
    ]
    if moved:
        sys.exit(f"l2bt: moved: {'; '.join(moved)}")


def has_moved(before: Ratio, now: Ratio) -> bool:
    """Whether a ratio is off by more than a tenth, and the quartiles of both runs do not touch."""
    is_off = abs(now.median / before.median - 1) > _TOLERANCE
    return is_off and (now.low > before.high or now.high < before.low)


def compare(before: dict[str, Ratio], now: dict[str, Ratio]) -> str:
    """Both runs side by side, as Markdown."""
    rows = []
    for name, ratio in now.items():
        old = before.get(name)
        verdict = "new" if old is None else "moved" if has_moved(old, ratio) else "as before"
        rows.append([name, str(old) if old else "", str(ratio), verdict])
    rows += [
        [name, str(old), "", "not measured any more"]
        for name, old in before.items()
        if name not in now
    ]
    return table(["ratio", "committed", "today", ""], rows)


def measure_ratios() -> dict[str, Ratio]:
    """Measure all of them; two minutes on two cores."""
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        return {**_surroundings(), **_inspections(folder), **_serving(folder)}


def _surroundings() -> dict[str, Ratio]:
    import torch

    from benchmarks.compute.geometry_speed import TILED, draw_patch_maps, explicit_map

    geometry = TILED.for_image(1500, 2000)
    patch_maps = draw_patch_maps(geometry)
    joined = torch.from_numpy(geometry.join(patch_maps))[None, None]
    edges = (geometry.rows.edge_before, geometry.columns.edge_before)

    def score() -> None:
        pixel_map = geometry.pixel_map(patch_maps)
        pixel_map.score()
        pixel_map.regions(0.2)

    times = take_turns(
        {
            "explicit": lambda: explicit_map(joined, 1500, 2000, edges),
            "ours": lambda: geometry.stitch(patch_maps),
            "score": score,
        },
        repetitions=9,
        progress="surroundings",
    )
    return {
        "explicit float map / ours, 3 MP": Ratio.of(times["explicit"], times["ours"]),
        "our float map / score and regions alone, 3 MP": Ratio.of(times["ours"], times["score"]),
    }


def _inspections(folder: Path) -> dict[str, Ratio]:
    from benchmarks.workload.models import untrained_bundle
    from export.fuse import export_product
    from runtime.detector import Detector
    from runtime.engines.openvino_engine import OpenVINOEngine
    from train.reference import ReferenceDetector

    bundle = untrained_bundle(folder / "untrained", image_size=224)
    exported = export_product(bundle, folder / "exported", precision="fp32", capacity=4)
    image = np.random.default_rng(0).integers(0, 256, (1000, 1500, 3), np.uint8)
    engine = OpenVINOEngine(exported.onnx_path)
    with Detector(exported.folder) as detector, ReferenceDetector(bundle.folder) as reference:
        tiles = np.zeros((1, 224, 224, 3), np.uint8)
        steps: dict[str, Callable[[], Any]] = {
            "inspect": lambda: detector.inspect(image, want_map=False),
            "network": lambda: engine.infer(tiles),
            "pytorch": lambda: reference.inspect(image, want_map=False),
            "four": lambda: list(detector.inspect_many([image] * 4, want_map=False)),
        }
        times = take_turns(steps, repetitions=25, warm_up=2, progress="inspections")
    engine.close()
    four_networks = [4 * one for one in times["network"]]
    return {
        "PyTorch / OpenVINO, 224 px": Ratio.of(times["pytorch"], times["inspect"]),
        "inspect / bare network, 224 px": Ratio.of(times["inspect"], times["network"]),
        "stream / bare network, 224 px": Ratio.of(times["four"], four_networks),
    }


def _serving(folder: Path) -> dict[str, Ratio]:
    from benchmarks.load.latency.serving_overhead import measure_overhead

    return {
        f"server / in process, no weight, {one.name}": Ratio.of(
            list(one.server.samples_ms), list(one.in_process.samples_ms)
        )
        for one in measure_overhead(folder / "light", repetitions=25)
    }
