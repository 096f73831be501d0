"""Opening all ways, letting them take turns, and holding what they find against the labels."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from safetensors.torch import save_file
from tqdm import tqdm

from benchmarks.machine.machine import (
    Conditions,
    cores,
    describe_machine,
    library_versions,
    read_conditions,
)
from benchmarks.machine.timing import Ratio, Timing, take_turns
from benchmarks.peers.accuracy import measure_accuracy, measure_agreement
from benchmarks.peers.connection import ENVIRONMENT, PeerError, PeerWorker
from benchmarks.peers.explicit import ExplicitPipeline
from benchmarks.peers.lead import AurocLead, auroc_lead
from benchmarks.peers.result import RANDOM, Accuracy, PeersResult, WayResult
from benchmarks.peers.ways import (
    EXPLICIT,
    OURS,
    OURS_BF16,
    OURS_FITTED,
    OURS_FITTED_BF16,
    PEERS,
    Answer,
    Way,
    explicit_way,
    limited_threads,
    our_way,
)
from benchmarks.peers.weights import anomalib_state, write_papers_bundle
from export.fuse import export_product
from runtime.detector import Detector
from runtime.errors import OptionError
from runtime.images.decode import ImageArray
from train.data.dataset import Dataset, Sample
from train.reference import load_network
from train.students.bundle import ProductBundle, open_bundle
from train.students.network import PatchMapNetwork

# Kept in memory, so that nothing is decoded while ways take turns.
_TIMED_IMAGES = 8
_MEMORY_BANK_IMAGES = 5


@dataclass(frozen=True, kw_only=True)
class PeersSettings:
    """What can be chosen.

    Attributes:
        bundle: The product; None for a network of the paper's size with random weights.
        fitted: The same product trained for an input of its images' shape, measured too.
        teacher_weights: The local file of their teacher, if they were trained with one.
        images: Test images for accuracy, evenly spaced; all if None.
        repetitions: Turns.
        threads: CPU threads of each way; all cores of the process if None.
        environment: Where anomalib is installed.
    """

    bundle: Path | None
    fitted: Path | None = None
    teacher_weights: Path | None = None
    images: int | None = None
    repetitions: int = 50
    threads: int | None = None
    environment: Path = ENVIRONMENT

    def __post_init__(self) -> None:
        if self.images is not None and self.images < 1:
            raise OptionError(f"images is {self.images}; expected at least 1")
        if self.repetitions < 1:
            raise OptionError(f"repetitions is {self.repetitions}; expected at least 1")
        if self.threads is not None and not 1 <= self.threads <= cores():
            raise OptionError(
                f"threads is {self.threads}; this process may use 1 to {cores()} cores"
            )


def run_peers(settings: PeersSettings, dataset: Dataset) -> PeersResult:
    """Measure all ways in one run.

    Raises:
        OptionError: The environment with anomalib is missing, there are no images, or a product
            is looked at in another way than expected.
        ModelError: A bundle is not whole, or its teacher cannot be had.
    """
    samples = _evenly(dataset.test, settings.images)
    conditions = read_conditions()
    with ExitStack() as stack:
        threads = settings.threads or cores()
        stack.enter_context(limited_threads(threads))
        scratch = Path(stack.enter_context(TemporaryDirectory()))
        bundle, weights = _open(settings, scratch)
        fitted = _open_fitted(settings.fitted, bundle) if settings.fitted else None
        # Before what takes long, since its environment may be missing.
        worker = stack.enter_context(
            PeerWorker(settings.environment, scratch / "worker", threads=threads)
        )
        network = load_network(bundle, teacher_weights=weights)
        exported = export_product(
            bundle, scratch / "exported", precision="fp32", teacher_weights=weights
        )
        detector = stack.enter_context(Detector(exported.folder, threads=threads))
        is_trained = settings.bundle is not None
        ways = [
            our_way(detector, is_trained=is_trained),
            our_way(detector, want_map=False, is_trained=is_trained),
        ]
        in_bf16 = {OURS_BF16: exported.folder}
        if fitted is not None:
            shaped = export_product(
                fitted, scratch / "fitted", precision="fp32", teacher_weights=weights
            )
            detector = stack.enter_context(Detector(shaped.folder, threads=threads))
            ways.append(our_way(detector, is_trained=True, name=OURS_FITTED))
            in_bf16[OURS_FITTED_BF16] = shaped.folder
        ours_in_bf16, failures = _bf16_ways(in_bf16, stack, threads, is_trained=is_trained)
        ways += [*ours_in_bf16, explicit_way(ExplicitPipeline(network), is_trained=is_trained)]
        training = _evenly(dataset.train, _MEMORY_BANK_IMAGES)
        _describe_to(worker, network, training, scratch / "worker", threads=threads)
        wanted = [key for key in PEERS if ours_in_bf16 or not key.endswith("bf16")]
        peers, notes, peer_failures = _prepare(worker, wanted, is_trained=is_trained)
        ways += peers
        failures |= peer_failures
        return _measure(
            ways,
            samples,
            network=network,
            notes=notes,
            failures=failures,
            repetitions=settings.repetitions,
            threads=threads,
            conditions=conditions,
            peer_versions=worker.versions,
            data=f"{dataset.product}, {len(samples)} of {len(dataset.test)} test images",
            fitted_wh=fitted.card.geometry.tile_wh if fitted else None,
            memory_bank_images=len(training),
        )


def _measure(
    ways: list[Way],
    samples: Sequence[Sample],
    *,
    network: PatchMapNetwork,
    notes: dict[str, int],
    failures: dict[str, str],
    repetitions: int,
    threads: int,
    conditions: Conditions,
    peer_versions: dict[str, str],
    data: str,
    fitted_wh: tuple[int, int] | None,
    memory_bank_images: int,
) -> PeersResult:
    timed = [sample.pixels() for sample in _evenly(samples, _TIMED_IMAGES)]
    times_ms = time_ways(ways, timed, repetitions=repetitions)
    accuracies = {
        way.name: measure_accuracy(way, samples)
        for way in tqdm(ways, "accuracy", unit="way")
        if way.is_trained
    }
    by_name = {way.name: way for way in ways}
    same = [OURS, *(PEERS[key] for key in ("l2bt-torch", "l2bt-openvino"))]
    image_size, _ = network.teacher.tile_wh
    card = network.teacher.card
    return PeersResult(
        network=f"{card.name}, blocks {card.layers[0]} and {card.layers[1]}, padded square of "
        f"{image_size} px",
        data=f"{data}; {_sizes(timed)}.",
        threads=threads,
        turns=repetitions,
        machine=describe_machine(),
        conditions=conditions,
        versions=library_versions(),
        peer_versions=peer_versions,
        ways=tuple(
            WayResult(
                name=way.name,
                gives=way.gives,
                weights="the product's" if way.is_trained else RANDOM,
                timing=Timing.of(times_ms[way.name]),
                ratio=Ratio.of(times_ms[way.name], times_ms[OURS]),
                fitted_ratio=(
                    Ratio.of(times_ms[way.name], times_ms[OURS_FITTED])
                    if OURS_FITTED in times_ms
                    else None
                ),
                accuracy=accuracies.get(way.name),
                lead=_lead(accuracies.get(way.name), accuracies.get(PEERS["l2bt-torch"])),
            )
            for way in ways
        ),
        agreements=tuple(
            measure_agreement(by_name[name], by_name[EXPLICIT], timed[0], image_size=image_size)
            for name in same
            if name in by_name
        ),
        blocks=notes.get("blocks"),
        blocks_needed=card.layers[1],
        blocks_computed=notes.get("blocks_computed"),
        blocks_exported=notes.get("blocks_exported"),
        memory_bank=notes.get("memory_bank"),
        memory_bank_images=memory_bank_images,
        fitted_wh=fitted_wh,
        failures=failures,
    )


def _lead(ours: Accuracy | None, others: Accuracy | None) -> AurocLead | None:
    if ours is None or others is None or ours is others:
        return None
    return auroc_lead(ours.scores, others.scores, ours.defective)


def time_ways(
    ways: Sequence[Way], images: Sequence[ImageArray], *, repetitions: int
) -> dict[str, list[float]]:
    """Let ways take turns; in each turn, all inspect the same image.

    Returns:
        The milliseconds that each says by itself, by its name: so that asking another process does
        not count.
    """
    own_ms: dict[str, list[float]] = {way.name: [] for way in ways}

    def step_of(way: Way) -> Callable[[], None]:
        turns = cycle(images)
        return lambda: own_ms[way.name].append(way.inspect(next(turns), False).ms)

    take_turns(
        {way.name: step_of(way) for way in ways},
        repetitions=repetitions,
        progress="taking turns",
    )
    return {name: samples[-repetitions:] for name, samples in own_ms.items()}


def _open(settings: PeersSettings, scratch: Path) -> tuple[ProductBundle, Path | None]:
    if settings.bundle is None:
        return write_papers_bundle(scratch / "papers-size")
    bundle = open_bundle(settings.bundle)
    if bundle.card.geometry.kind != "square" or bundle.card.area is not None:
        raise OptionError(
            f"{settings.bundle} is not looked at as a whole padded square, which is all that the "
            "others can do; train it with --geometry square, and without l2bt area"
        )
    if bundle.students.forward_judge is not None:
        raise OptionError(
            f"{settings.bundle} has a judge of its own, which the others have not; train it with "
            "--recipe paper (what --fitted names may have one)"
        )
    return bundle, settings.teacher_weights


def _open_fitted(folder: Path, square: ProductBundle) -> ProductBundle:
    fitted = open_bundle(folder)
    if fitted.card.geometry.kind != "fitted" or fitted.card.area is not None:
        raise OptionError(
            f"{folder} is not looked at whole in the shape of its images; train it with "
            "--geometry fitted, and without l2bt area"
        )
    known, found = square.card, fitted.card
    if (known.teacher, known.training.get("data_sha256")) != (
        found.teacher,
        found.training.get("data_sha256"),
    ):
        raise OptionError(
            f"{folder} and {square.folder} have different teachers or training images; train both "
            "with the same"
        )
    return fitted


def _bf16_ways(
    folders: dict[str, Path], stack: ExitStack, threads: int, *, is_trained: bool
) -> tuple[list[Way], dict[str, str]]:
    """Ours in bf16, by name; and why there are none on a CPU that does not compute in it."""
    ways = []
    for name, folder in folders.items():
        try:
            detector = Detector(folder, threads=threads, precision="bf16")
        except OptionError as error:
            return [], dict.fromkeys(folders, str(error))
        stack.enter_context(detector)
        ways.append(our_way(detector, is_trained=is_trained, name=name))
    return ways, {}


def _describe_to(
    worker: PeerWorker,
    network: PatchMapNetwork,
    training: Sequence[Sample],
    folder: Path,
    *,
    threads: int,
) -> None:
    weights = folder / "weights.safetensors"
    save_file(anomalib_state(network), weights)
    paths = []
    for number, sample in enumerate(training):
        path = folder / f"training{number}.npy"
        np.save(path, sample.pixels())
        paths.append(str(path))
    teacher = network.teacher
    worker.ask(
        "settings",
        image_size=teacher.tile_wh[0],
        threads=threads,
        backbone=teacher.trunk.pretrained_cfg["architecture"],
        blocks=[layer - 1 for layer in teacher.card.layers],
        weights=str(weights),
        training=paths,
    )


def _prepare(
    worker: PeerWorker, wanted: Sequence[str], *, is_trained: bool
) -> tuple[list[Way], dict[str, int], dict[str, str]]:
    ways: list[Way] = []
    notes: dict[str, int] = {}
    failures: dict[str, str] = {}
    for key in tqdm(wanted, "building anomalib's models", unit="model"):
        try:
            notes |= worker.ask("prepare", way=key)
        except PeerError as error:
            failures[PEERS[key]] = str(error)
            continue
        ways.append(peer_way(worker, key, is_trained=is_trained and key.startswith("l2bt")))
    return ways, notes, failures


def peer_way(worker: PeerWorker, key: str, *, is_trained: bool) -> Way:
    """One of anomalib's ways that the worker has prepared."""

    def inspect(image: ImageArray, want_map: bool) -> Answer:
        return worker.inspect(key, image, want_map=want_map)

    return Way(
        name=PEERS[key],
        gives="score, map at the network's size",
        inspect=inspect,
        is_trained=is_trained,
    )


def _evenly(samples: Sequence[Sample], wanted: int | None) -> list[Sample]:
    if not samples:
        raise OptionError("the data set has no training or no test images to measure with")
    wanted = len(samples) if wanted is None else min(wanted, len(samples))
    return [samples[index * len(samples) // wanted] for index in range(wanted)]


def _sizes(images: Sequence[ImageArray]) -> str:
    sizes = sorted({image.shape[:2] for image in images})
    return ", ".join(f"{width:,} x {height:,} px" for height, width in sizes)
