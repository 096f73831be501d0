"""The command `l2bt benchmark int8`: 8 bits on a CPU, held against f32 in speed and in answers."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from benchmarks.compute.int8.recipes import (
    RECIPES,
    Quantized,
    count_products,
    quantize,
    require_nncf,
)
from benchmarks.compute.int8.results import Int8Result, VariantResult, judge_variant, to_markdown
from benchmarks.compute.int8.watched_inspector import WatchedInspector
from benchmarks.evaluation.parity.compare import ParityResult, compare
from benchmarks.evaluation.parity.run import evenly
from benchmarks.machine.machine import describe_machine, library_versions, read_conditions
from benchmarks.machine.result_files import results_folder, write_result
from benchmarks.machine.timing import Ratio, Timing, take_turns
from runtime.detector import EngineDetector
from runtime.engines.bank_weights import Tensors
from runtime.engines.openvino_engine import OpenVINOEngine
from runtime.errors import ModelError, OptionError
from runtime.models.exported_model import ExportedModel
from runtime.products.catalogue import ServedProduct
from train.data.dataset import Dataset, Sample
from train.data.open_dataset import open_dataset

_MIB = 1 << 20
_F32, _BF16 = "f32", "bf16"
Tile = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Extent:
    """How much is measured.

    Attributes:
        images: Test images, evenly spaced, to hold answers against each other.
        calibration: Training images, evenly spaced, with one tile of each, to calibrate with.
        repetitions: Turns in which each network takes one tile.
        threads: CPU threads of each network; all cores if None.
    """

    images: int
    calibration: int
    repetitions: int
    threads: int | None


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    """A network in 8 bits, and what the rest of it is computed in."""

    made: Quantized
    rest: str

    @property
    def name(self) -> str:
        return self.made.recipe.name + ("" if self.rest == _F32 else f", rest in {self.rest}")

    @property
    def about(self) -> str:
        rest = "" if self.rest == _F32 else f"; what is not in 8 bits in {self.rest}"
        return self.made.recipe.about + rest


def int8(
    model: Path,
    *,
    data: str,
    product: str | None = None,
    layout: str = "auto",
    images: int = 100,
    calibration: int = 64,
    repetitions: int = 20,
    threads: int | None = None,
    out: Path | None = None,
) -> None:
    """Put a network into 8 bits in several ways; measure speed, answers, and which are kept.

    Where the CPU has bf16, each way is tried with the rest of the network in f32 and in bf16.

    A way is kept where parity holds it for the same as f32, it is 1.5 times as fast as the fastest
    that the CPU has otherwise (bf16, or f32 where it has none), and products can be replaced in it.

    Args:
        model: Exported model of one product.
        data: Root folder of the data set, or "synthetic".
        product: Class or product; needed in the layouts visa, visa-prepared and mvtec.
        layout: visa, visa-prepared, mvtec, folder or synthetic; "auto" tells it by its folders.
        images: How many test images, evenly spaced.
        calibration: How many training images, evenly spaced; one tile of each.
        repetitions: Turns in which each network takes one tile.
        threads: CPU threads; all cores by default.
        out: Folder of all machines' results; benchmarks/results by default.
    """
    # Before anything takes time.
    require_nncf()
    extent = Extent(
        images=images, calibration=calibration, repetitions=repetitions, threads=threads
    )
    dataset = open_dataset(data, product=product, layout=layout)
    result = measure(ExportedModel.open(model), dataset, extent)
    folder = results_folder("int8", out)
    write_result(folder, result, to_markdown(result))
    print(to_markdown(result))
    print(folder)


def measure(exported: ExportedModel, dataset: Dataset, extent: Extent) -> Int8Result:
    """Quantize a network by each recipe, and hold all against f32.

    Raises:
        MissingExtraError: NNCF is not installed.
        OptionError: There are no images to test or to calibrate on.
        UnknownProductError: The model holds several products, or none.
    """
    conditions = read_conditions()
    served = exported.written_products().serving()
    tiles = _tiles(served, dataset, extent.calibration)
    samples = evenly(dataset.test, extent.images)
    with TemporaryDirectory() as scratch, ExitStack() as stack:
        made = [
            quantize(
                exported.onnx_path,
                recipe,
                tiles,
                Path(scratch) / f"{recipe.name}.xml",
                slot=served.slot,
            )
            for recipe in tqdm(RECIPES, "quantizing", unit="way")
        ]
        engines = {_F32: OpenVINOEngine(exported.onnx_path, threads=extent.threads)}
        bf16, bf16_missing = _bf16_engine(exported.onnx_path, extent.threads)
        rests = (_F32,) if bf16 is None else (_F32, _BF16)
        ways = [_Candidate(made=one, rest=rest) for one in made for rest in rests]
        for way in tqdm(ways, "loading", unit="network"):
            engines[way.name] = OpenVINOEngine(
                way.made.path, precision=way.rest, threads=extent.threads
            )
        timed = engines if bf16 is None else {**engines, _BF16: bf16}
        for engine in timed.values():
            stack.callback(engine.close)
        times = _time(timed, tiles[0], served.slot, extent.repetitions)
        watched = {
            name: WatchedInspector(EngineDetector(engine, exported.written_products()), samples)
            for name, engine in engines.items()
        }
        reference, *candidates = watched.values()
        parity = compare(
            reference,
            candidates,
            samples,
            progress=lambda items: iter(tqdm(items, "comparing", unit="image")),
        )
        assert served.version is not None, "an exported model's products have versions"
        students = exported.store.students(served.card.product, served.version)
        variants = tuple(
            _variant(
                way,
                times,
                watched[way.name],
                held,
                replaceable=_is_replaceable(engines[way.name], students, tiles[0], served),
            )
            for way, held in zip(ways, parity, strict=True)
        )
    card = served.card
    return Int8Result(
        network=f"{card.teacher.name}, {card.geometry.describe()}",
        product=card.product,
        calibration_tiles=len(tiles),
        test_images=len(samples),
        defective_images=sum(sample.is_defective for sample in samples),
        machine=describe_machine(),
        conditions=conditions,
        versions=library_versions(),
        threads=extent.threads,
        size_mib=exported.onnx_path.stat().st_size / _MIB,
        f32=Timing.of(times[_F32]),
        bf16=Timing.of(times[_BF16]) if _BF16 in times else None,
        bf16_missing=bf16_missing,
        quality=reference.quality(),
        variants=variants,
    )


def _bf16_engine(path: Path, threads: int | None) -> tuple[OpenVINOEngine | None, str]:
    """The network in bf16, or why there is none: the results say so, and leave its cells empty."""
    try:
        return OpenVINOEngine(path, precision=_BF16, threads=threads), ""
    except OptionError as error:
        return None, str(error)


def _tiles(served: ServedProduct, dataset: Dataset, wanted: int) -> list[Tile]:
    """One tile each of training images: of the first image the first, and so on around."""
    chosen: Sequence[Sample] = evenly(dataset.train, wanted)
    tiles = []
    for number, sample in enumerate(tqdm(chosen, "calibration images", unit="image")):
        pixels = sample.pixels()
        cut = served.card.geometry_of(*pixels.shape[:2]).cut(pixels)
        place = number % len(cut)
        tiles.append(cut[place : place + 1].copy())
    return tiles


def _time(
    engines: dict[str, OpenVINOEngine], tile: Tile, slot: int, repetitions: int
) -> dict[str, list[float]]:
    slots = np.array([slot], np.int32)

    def step(engine: OpenVINOEngine) -> object:
        return engine.infer(tile, slots)

    steps = {name: lambda engine=engine: step(engine) for name, engine in engines.items()}
    return take_turns(steps, repetitions=repetitions, warm_up=2, progress="timing")


def _is_replaceable(
    engine: OpenVINOEngine, students: Tensors, tile: Tile, served: ServedProduct
) -> bool:
    """Whether the product gives the same map from another slot, once it was put there."""
    spare = engine.capacity - 1 if served.slot != engine.capacity - 1 else 0
    try:
        engine.fill(max(spare, 0), students)
    except ModelError:
        return False
    own, other = (engine.infer(tile, np.array([slot], np.int32)) for slot in (served.slot, spare))
    return bool(np.allclose(own, other, rtol=1e-4))


def _variant(
    way: _Candidate,
    times: dict[str, list[float]],
    watched: WatchedInspector,
    parity: ParityResult,
    *,
    replaceable: bool,
) -> VariantResult:
    own, made = times[way.name], way.made
    over_f32 = Ratio.of(times[_F32], own)
    over_bf16 = Ratio.of(times[_BF16], own) if _BF16 in times else None
    eight_bit, products = count_products(made.path)
    return VariantResult(
        name=way.name,
        about=way.about,
        eight_bit_products=eight_bit,
        products=products,
        size_mib=made.size_mib,
        quantize_s=made.seconds,
        timing=Timing.of(own),
        speedup_over_f32=over_f32,
        speedup_over_bf16=over_bf16,
        replaceable=replaceable,
        parity=parity.to_dict(),
        quality=watched.quality(),
        verdict=judge_variant(
            parity_reasons=parity.reasons,
            speedup_over_f32=over_f32,
            speedup_over_bf16=over_bf16,
            replaceable=replaceable,
        ),
    )
