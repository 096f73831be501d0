"""What was measured, and as a table for people."""

from dataclasses import dataclass

from benchmarks.machine.machine import Conditions
from benchmarks.machine.result_files import table
from benchmarks.machine.timing import Ratio, Timing
from benchmarks.peers.lead import AurocLead
from benchmarks.peers.ways import OURS, OURS_FITTED, PEERS
from runtime.geometry.tile_shape import describe_wh

_SCHEMA = "l2bt.peers_benchmark/3"
RANDOM = "random weights: speed alone"


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """How well a way tells good from defective, at the original resolution.

    Attributes:
        scores: Of the images, in their order.
        defective: Their labels.
        image_auroc: Over the image scores; None where good or defective images are missing.
        aupro_30: AU-PRO up to a false-positive rate of 30 %; None without masks or without a map.
    """

    scores: tuple[float, ...]
    defective: tuple[bool, ...]
    image_auroc: float | None
    aupro_30: float | None


@dataclass(frozen=True, kw_only=True)
class WayResult:
    """One way.

    Attributes:
        name: What it is.
        gives: What it leaves.
        weights: Where they come from.
        timing: From the decoded image to score and map, in milliseconds.
        ratio: How many times as long as ours with the map, turn by turn.
        fitted_ratio: How many times as long as ours with an input of the images' shape; None where
            that was not measured.
        accuracy: None for random weights.
        lead: Its I-AUROC over that of anomalib's L2BT in PyTorch; None where one of them was not
            measured.
    """

    name: str
    gives: str
    weights: str
    timing: Timing
    ratio: Ratio
    fitted_ratio: Ratio | None
    accuracy: Accuracy | None
    lead: AurocLead | None


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How far a way of the same method is from the explicit pipeline where both must be the same.

    That is on an image of the network's own size, which nobody pads, resizes or upsamples.

    Attributes:
        name: The way.
        map_difference: Largest of all pixels.
        score_difference: Of the score.
        map_peak: The explicit pipeline's highest value, to judge them by.
    """

    name: str
    map_difference: float
    score_difference: float
    map_peak: float


@dataclass(frozen=True, kw_only=True)
class PeersResult:
    """One run.

    Attributes:
        network: Teacher, blocks and input size of the L2BT ways.
        data: The images, in words.
        threads: CPU threads of each way.
        turns: How often each way inspected an image.
        machine: What it ran on.
        conditions: The machine's state.
        versions: Of this process's libraries.
        peer_versions: Of those in anomalib's environment.
        ways: Each of them, ours first.
        agreements: Of the ways of the same method with the explicit pipeline.
        blocks: Of the teacher.
        blocks_needed: Those up to the deeper of the two.
        blocks_computed: Those that anomalib's extractor computes in PyTorch; None if it could not
            be run.
        blocks_exported: Those that are left in its export; None if it could not be exported.
        memory_bank: Patches in PatchCore's; None if it could not be run.
        memory_bank_images: Training images that they are from.
        fitted_wh: Width and height in px of the input that has the images' shape; None if no
            network has.
        failures: Ways that could not be run, with the reason.
        schema: Version of this file's layout.
    """

    network: str
    data: str
    threads: int
    turns: int
    machine: str
    conditions: Conditions
    versions: dict[str, str]
    peer_versions: dict[str, str]
    ways: tuple[WayResult, ...]
    agreements: tuple[Agreement, ...]
    blocks: int | None
    blocks_needed: int
    blocks_computed: int | None
    blocks_exported: int | None
    memory_bank: int | None
    memory_bank_images: int
    fitted_wh: tuple[int, int] | None
    failures: dict[str, str]
    schema: str = _SCHEMA


def to_markdown(result: PeersResult) -> str:
    """The measurements as a table, with what must be known to read it."""
    fitted = ["times fitted"] if result.fitted_wh is not None else []
    head = ["way", "what it gives", "weights", "p50", "p99", f"times {OURS}", *fitted]
    head += ["I-AUROC", f"I-AUROC over {PEERS['l2bt-torch']}", "AU-PRO 30 %"]
    rows = [_row(way) for way in result.ways]
    notes = "\n".join(f"* {note}" for note in _notes(result))
    return f"{result.network}. {result.data}\n\n{table(head, rows)}\n{notes}\n"


def _row(way: WayResult) -> list[str]:
    accuracy = way.accuracy
    return [
        way.name,
        way.gives,
        way.weights,
        f"{way.timing.p50_ms:,.0f} ms",
        f"{way.timing.p99_ms:,.0f} ms",
        str(way.ratio),
        *([str(way.fitted_ratio)] if way.fitted_ratio is not None else []),
        _number(accuracy.image_auroc if accuracy else None),
        "" if way.lead is None else str(way.lead),
        _number(accuracy.aupro_30 if accuracy else None),
    ]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _notes(result: PeersResult) -> list[str]:
    versions = result.peer_versions
    notes = [
        f"All begin at the decoded image in memory, with {result.threads} threads, and took "
        f"{result.turns} turns image by image, one computing at a time; the ratio is the median of "
        "the turns, with its quartiles.",
        "Anomalib's maps have the network's size: it does less than the ways that give one at the "
        "image's size. For AU-PRO they are upsampled bilinearly to the side of the padded square, "
        "and cropped. It blurs at the network's size, and takes its score from the whole square "
        "with the padding.",
        "Anomalib's exported model resizes without antialiasing; in PyTorch it was run with its "
        "antialiased transform, as its Engine tests.",
        "PatchCore and EfficientAD squash the image to the square, without padding.",
    ]
    if any(way.lead is not None for way in result.ways):
        notes.append(
            "In brackets behind a difference of I-AUROC: its 95 % interval, by a paired bootstrap "
            "over the test images. The weights are the same in all draws: what another training "
            "would give is not in it."
        )
    if result.fitted_wh is not None:
        notes.append(
            f"The input of {OURS_FITTED} is {describe_wh(result.fitted_wh)}, the shape of the "
            "images; its students are its own, trained on the same images. All others see the "
            "square."
        )
    if result.blocks_computed is not None:
        notes.append(
            f"In PyTorch anomalib computes {result.blocks_computed} of the teacher's "
            f"{result.blocks} blocks; {result.blocks_needed} are needed, and ours computes those."
        )
    if result.blocks_exported is not None:
        notes.append(f"Anomalib's export holds {result.blocks_exported} of the teacher's blocks.")
    if any(way.weights == RANDOM for way in result.ways):
        notes.append(
            "Ways with random weights were measured for speed alone: their accuracy says nothing."
        )
    if result.memory_bank is not None:
        notes.append(
            f"PatchCore's memory bank holds {result.memory_bank:,} patches of "
            f"{result.memory_bank_images} training images; a whole training set's is larger, and "
            "slower to search. Its export takes batches of two exactly; here it was asked for one."
        )
    notes += [
        f"On an image of the network's own size, {one.name} differs from the paper's pipeline by "
        f"at most {one.map_difference:.1e} in the map, whose highest value is {one.map_peak:.3g}, "
        f"and by {one.score_difference:.1e} in the score."
        for one in result.agreements
    ]
    notes += [f"{name} could not be run: {why}" for name, why in result.failures.items()]
    notes.append(
        f"{result.machine}; load {result.conditions.load_average:.1f} before it began. "
        f"OpenVINO {result.versions.get('openvino', '')} and PyTorch "
        f"{result.versions.get('torch', '')}; anomalib {versions.get('anomalib', '')} with "
        f"OpenVINO {versions.get('openvino', '')} and PyTorch {versions.get('torch', '')}. "
        "All in FP32 but for what is named bf16."
    )
    return notes
