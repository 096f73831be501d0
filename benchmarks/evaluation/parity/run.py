"""Running the comparison over a data set, and writing what came out."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from benchmarks.evaluation.parity.compare import ParityLimits, ParityResult, compare
from benchmarks.evaluation.parity.contenders import Contender, Places
from benchmarks.machine.machine import describe_machine, library_versions
from benchmarks.machine.result_files import table
from runtime.errors import OptionError
from runtime.storage.atomic_write import atomic_write
from runtime.storage.json_files import write_json
from train.data.dataset import Dataset, Sample

if TYPE_CHECKING:
    from runtime.inspections.inspection import Inspector

JSON_NAME, TABLE_NAME = "parity.json", "parity.md"


def run_parity(
    reference: str,
    candidates: Sequence[str],
    dataset: Dataset,
    *,
    images: int | None = None,
    limits: ParityLimits | None = None,
    places: Places | None = None,
) -> list[ParityResult]:
    """Compare ways of running a product on a data set's test images.

    Args:
        reference: The way that is right; see `benchmarks.evaluation.parity.contenders`.
        candidates: The ways to hold against it.
        dataset: Its test images are used.
        images: How many of them, evenly spaced; all by default.
        limits: What counts as the same.
        places: Where weights and engines are, and how activations are enlarged.

    Raises:
        OptionError: A way is unknown or cannot be run here, or there are no test images.
    """
    if not candidates:
        raise OptionError("name at least one --candidate to hold against the reference")
    samples = evenly(dataset.test, images)
    ways = [Contender.parse(text) for text in (reference, *candidates)]
    with ExitStack() as stack:
        opened: list[Inspector] = []
        for way in tqdm(ways, "opening"):
            inspector = way.open(places)
            stack.callback(inspector.close)
            opened.append(inspector)
        return compare(
            opened[0],
            opened[1:],
            samples,
            limits=limits,
            progress=lambda items: iter(tqdm(items, "comparing", unit="image")),
        )


def evenly(samples: Sequence[Sample], wanted: int | None) -> list[Sample]:
    """Test images, evenly spaced.

    Args:
        samples: All of them.
        wanted: How many; all if None, or if there are fewer.

    Raises:
        OptionError: There are none, or less than one is wanted.
    """
    if not samples:
        raise OptionError("the data set has no test images to compare on")
    if wanted is None or wanted >= len(samples):
        return list(samples)
    if wanted < 1:
        raise OptionError(f"images is {wanted}; expected at least 1")
    return [samples[index * len(samples) // wanted] for index in range(wanted)]


def markdown_table(results: Sequence[ParityResult]) -> str:
    """One row a candidate."""
    head = ["candidate", "decision flips", "map error, mean / largest, of the map's spread"]
    head += ["largest pixel difference", "score error", "lowest cosine", "network, ms", "verdict"]
    rows = [
        [
            result.candidate,
            f"{result.decision_flips} of {len(result.images)}",
            f"{result.worst('mean_map_error'):.2g} / {result.worst('max_map_error'):.2g}",
            f"{result.worst('max_difference'):.2g}",
            f"{result.worst('score_error'):.2g}",
            f"{result.lowest_cosine:.7f}",
            f"{result.candidate_ms:.0f}",
            "same" if result else "; ".join(result.reasons),
        ]
        for result in results
    ]
    first = results[0]
    lines = [table(head, rows)]
    lines.append(
        f"Reference: {first.reference}, {first.reference_ms:.0f} ms. The worst of "
        f"{len(first.images)} images in each column; threshold {first.threshold:.4f}."
    )
    return "\n".join(lines)


def write_results(results: Sequence[ParityResult], out: Path, *, title: str) -> None:
    """Write `parity.md` and `parity.json` into a folder."""
    machine = describe_machine()
    page = f"# Parity: {title}\n\n{markdown_table(results)}\n\nMachine: {machine}\n"
    atomic_write(out / TABLE_NAME, page)
    write_json(
        out / JSON_NAME,
        {
            "machine": machine,
            "versions": library_versions(),
            "results": [result.to_dict() for result in results],
        },
    )
