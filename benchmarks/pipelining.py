"""What overlapping is worth: a stream of files beside one after the other, and the bare network."""

from collections import deque
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.drawn_image import draw_image, encode
from benchmarks.result_files import table
from benchmarks.timing import Ratio, take_turns
from runtime.detector import Detector
from runtime.exported_model import ExportedModel
from runtime.openvino_engine import OpenVINOEngine

_IMAGES = 8


@dataclass(frozen=True, kw_only=True)
class Pipelining:
    """A few images in each of three ways, in turns.

    Attributes:
        name: What was inspected.
        network_ms: An image's tiles through the network and nothing else, median.
        one_by_one: Whole inspections of JPEG files, as a multiple of that.
        overlapped: The same as a stream.
    """

    name: str
    network_ms: float
    one_by_one: Ratio
    overlapped: Ratio


def measure_pipelining(
    model: Path, product: str | None, *, height: int = 1000, width: int = 1500, turns: int = 7
) -> Pipelining:
    """Measure on the CPU, in f32, without float maps.

    Args:
        model: Exported model.
        product: Its product.
        height: Of the images in px.
        width: Of the images in px.
        turns: How often all images are inspected in each way.
    """
    files = [encode(draw_image(height, width, seed)) for seed in range(_IMAGES)]
    exported = ExportedModel.open(model)
    engine = OpenVINOEngine(exported.onnx_path)
    with Detector(model) as detector:
        geometry = detector.read_card(product=product).geometry.for_image(height, width)
        tiles = np.zeros((geometry.tiles, *exported.manifest.tile_wh[::-1], 3), np.uint8)

        def bare() -> None:
            for _ in files:
                engine.infer(tiles)

        def one_by_one() -> None:
            for file in files:
                detector.inspect(file, product=product, want_map=False)

        def overlapped() -> None:
            deque(detector.inspect_many(files, product=product, want_map=False), maxlen=0)

        times = take_turns(
            {"bare": bare, "one by one": one_by_one, "overlapped": overlapped},
            repetitions=turns,
            progress="pipelining",
        )
    engine.close()
    return Pipelining(
        name=f"{width:,} x {height:,} px, {geometry.settings.describe()}",
        network_ms=float(np.median(times["bare"])) / len(files),
        one_by_one=Ratio.of(times["one by one"], times["bare"]),
        overlapped=Ratio.of(times["overlapped"], times["bare"]),
    )


def pipelining_table(found: tuple[Pipelining, ...]) -> str:
    """As Markdown."""
    head = ["images", "bare network, ms", "one by one, times that", "overlapped, times that"]
    rows = [
        [one.name, f"{one.network_ms:.0f}", str(one.one_by_one), str(one.overlapped)]
        for one in found
    ]
    return table(head, rows)
