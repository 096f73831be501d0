"""What overlapping is worth: a stream of files beside one after the other, and the bare network."""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.machine.machine import cores
from benchmarks.machine.result_files import table
from benchmarks.machine.timing import Ratio, take_turns
from benchmarks.workload.drawn_image import draw_image, encode
from runtime.detector import EngineDetector
from runtime.engines.openvino_engine import OpenVINOEngine
from runtime.models.exported_model import ExportedModel
from runtime.products.catalogue import ServedProduct, SingleProduct

# So many that what the first and the last of them do alone is little beside the rest.
_IMAGES = 12
_AROUND = ("decode", "preprocess", "postprocess")
Tiles = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What the network is given.

    Attributes:
        threads: CPU threads.
        streams: Images that it sees at the same time.
    """

    threads: int
    streams: int


@dataclass(frozen=True, kw_only=True)
class Stream:
    """A stream of images with the network in one setting.

    Attributes:
        setting: That.
        bare: The network and nothing else, as a multiple of what it takes on all cores.
        overlapped: Whole inspections as a stream, as a multiple of the same setting's bare network.
    """

    setting: Setting
    bare: Ratio
    overlapped: Ratio


@dataclass(frozen=True, kw_only=True)
class Pipelining:
    """A few images in each of several ways, in turns.

    Attributes:
        name: What was inspected.
        network_ms: An image's tiles through the network on all cores and nothing else, median.
        around_ms: What an image takes beside that, median, when nothing runs at the same time.
        one_by_one: Whole inspections of JPEG files, as a multiple of `network_ms`.
        streams: The same as streams.
    """

    name: str
    network_ms: float
    around_ms: float
    one_by_one: Ratio
    streams: tuple[Stream, ...]


def settings_for(threads: int) -> tuple[Setting, ...]:
    """All threads for one image, all for as many images, and all but one for one image."""
    found = [Setting(threads=threads, streams=1)]
    if threads > 1:
        found.append(Setting(threads=threads, streams=threads))
        found.append(Setting(threads=threads - 1, streams=1))
    return tuple(found)


def measure_pipelining(
    model: Path, product: str | None, *, height: int = 1000, width: int = 1500, turns: int = 5
) -> Pipelining:
    """Measure on the CPU, in f32, without float maps, images that pass.

    Args:
        model: Exported model.
        product: Its product.
        height: Of the images in px.
        width: Of the images in px.
        turns: How often all images are inspected in each way.
    """
    files = [encode(draw_image(height, width, seed)) for seed in range(_IMAGES)]
    exported = ExportedModel.open(model)
    products = _passing(exported.written_products().serving(product))
    settings = settings_for(cores())
    around_ms: list[float] = []
    with ExitStack() as stack:
        detectors, ways = {}, {}
        for setting in settings:
            threads, streams = setting.threads, setting.streams
            engine = OpenVINOEngine(exported.onnx_path, threads=threads, streams=streams)
            detector = EngineDetector(engine, products, streams=streams)
            detectors[setting] = stack.enter_context(detector)
            geometry = detector.read_card(product=product).geometry.for_image(height, width)
            tiles = np.zeros((geometry.tiles, *exported.manifest.tile_wh[::-1], 3), np.uint8)
            pool = stack.enter_context(ThreadPoolExecutor(streams))
            ways[f"bare {setting}"] = _bare(engine, tiles, pool)
            ways[f"overlapped {setting}"] = _overlapped(detector, files, product)

        def one_by_one() -> None:
            for file in files:
                inspection = detectors[settings[0]].inspect(file, product=product, want_map=False)
                around_ms.append(sum(inspection.stage_ms[stage] for stage in _AROUND))

        times = take_turns(
            {**ways, "one by one": one_by_one}, repetitions=turns, progress="pipelining"
        )
    on_all_ms = times[f"bare {settings[0]}"]
    return Pipelining(
        name=f"{width:,} x {height:,} px, {geometry.settings.describe()}",
        network_ms=float(np.median(on_all_ms)) / len(files),
        around_ms=float(np.median(around_ms)),
        one_by_one=Ratio.of(times["one by one"], on_all_ms),
        streams=tuple(
            Stream(
                setting=setting,
                bare=Ratio.of(times[f"bare {setting}"], on_all_ms),
                overlapped=Ratio.of(times[f"overlapped {setting}"], times[f"bare {setting}"]),
            )
            for setting in settings
        ),
    )


def _passing(served: ServedProduct) -> SingleProduct:
    """The product, with thresholds that let everything pass, as nearly all parts of a line do.

    The drawn images are anomalous from border to border for a trained product, and outlining that
    takes longer than all else beside the network.
    """
    threshold = replace(served.card.threshold, image_score=math.inf, pixel_value=math.inf)
    return SingleProduct(replace(served.card, threshold=threshold), slot=served.slot)


def _bare(engine: OpenVINOEngine, tiles: Tiles, pool: ThreadPoolExecutor) -> Callable[[], object]:
    return lambda: list(pool.map(lambda _: engine.infer(tiles), range(_IMAGES)))


def _overlapped(
    detector: EngineDetector, files: list[bytes], product: str | None
) -> Callable[[], object]:
    return lambda: list(detector.inspect_many(files, product=product, want_map=False))


def pipelining_table(found: tuple[Pipelining, ...]) -> str:
    """As Markdown."""
    head = ["images", "way", "network's threads", "images in it", "bare network, ms an image"]
    head += ["over the bare network of the same threads"]
    rows = []
    for one in found:
        all_threads = str(one.streams[0].setting.threads)
        around = f"one by one ({one.around_ms:.0f} ms beside the network)"
        alone = f"{one.network_ms:.0f}"
        rows.append([one.name, around, all_threads, "1", alone, str(one.one_by_one)])
        rows += [
            [
                one.name,
                "stream",
                str(stream.setting.threads),
                str(stream.setting.streams),
                f"{one.network_ms * stream.bare.median:.0f}",
                str(stream.overlapped),
            ]
            for stream in one.streams
        ]
    return table(head, rows)
