"""What overlapping is worth: a stream of files beside one after the other, and the bare network."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.drawn_image import draw_image, encode
from benchmarks.machine import cores
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
        streams: Images that the network sees at the same time in the last two ways.
        bare_streams: The network alone with so many at the same time, as a multiple of that.
        one_by_one: Whole inspections of JPEG files, likewise.
        overlapped: The same as a stream, one image in the network at a time.
        overlapped_streams: The same with `streams` of them.
    """

    name: str
    network_ms: float
    streams: int
    bare_streams: Ratio
    one_by_one: Ratio
    overlapped: Ratio
    overlapped_streams: Ratio


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
    streams = cores()
    engine = OpenVINOEngine(exported.onnx_path)
    several = OpenVINOEngine(exported.onnx_path, streams=streams)
    with (
        Detector(model) as detector,
        Detector(model, streams=streams) as parallel,
        ThreadPoolExecutor(streams) as pool,
    ):
        geometry = detector.read_card(product=product).geometry.for_image(height, width)
        tiles = np.zeros((geometry.tiles, *exported.manifest.tile_wh[::-1], 3), np.uint8)

        def bare() -> None:
            for _ in files:
                engine.infer(tiles)

        def bare_streams() -> None:
            deque(pool.map(lambda _: several.infer(tiles), files), maxlen=0)

        def one_by_one() -> None:
            for file in files:
                detector.inspect(file, product=product, want_map=False)

        def overlapped(inspector: Detector) -> None:
            deque(inspector.inspect_many(files, product=product, want_map=False), maxlen=0)

        times = take_turns(
            {
                "bare": bare,
                "bare streams": bare_streams,
                "one by one": one_by_one,
                "overlapped": lambda: overlapped(detector),
                "overlapped streams": lambda: overlapped(parallel),
            },
            repetitions=turns,
            progress="pipelining",
        )
    engine.close()
    several.close()
    bare_ms = times["bare"]
    return Pipelining(
        name=f"{width:,} x {height:,} px, {geometry.settings.describe()}",
        network_ms=float(np.median(bare_ms)) / len(files),
        streams=streams,
        bare_streams=Ratio.of(times["bare streams"], bare_ms),
        one_by_one=Ratio.of(times["one by one"], bare_ms),
        overlapped=Ratio.of(times["overlapped"], bare_ms),
        overlapped_streams=Ratio.of(times["overlapped streams"], bare_ms),
    )


def pipelining_table(found: tuple[Pipelining, ...]) -> str:
    """As Markdown."""
    head = ["images", "bare network, ms an image", "one by one, times that", "overlapped"]
    head += ["streams", "bare network with streams", "overlapped with streams"]
    rows = [
        [
            one.name,
            f"{one.network_ms:.0f}",
            str(one.one_by_one),
            str(one.overlapped),
            str(one.streams),
            str(one.bare_streams),
            str(one.overlapped_streams),
        ]
        for one in found
    ]
    return table(head, rows)
