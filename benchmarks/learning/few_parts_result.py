"""What a product found that began with few parts, and what it finds since it learned more."""

from dataclasses import dataclass

from benchmarks.learning.asked_meanwhile import Asked
from benchmarks.machine.machine import Conditions
from benchmarks.machine.result_files import table

_SCHEMA = "l2bt.few_parts_benchmark/1"


@dataclass(frozen=True, kw_only=True)
class Verdicts:
    """What a version makes of parts that it has not learned from.

    Attributes:
        image_auroc: Over the test set.
        threshold: Of the version.
        false_alarms: Of the good test images.
        good: How many there are.
        misses: Of the defective test images.
        defective: How many there are.
        newly_rejected: Of further good images that were no false alarms before.
        further: How many of those there are.
    """

    image_auroc: float
    threshold: float
    false_alarms: int
    good: int
    misses: int
    defective: int
    newly_rejected: int = 0
    further: int = 0


@dataclass(frozen=True, kw_only=True)
class Step:
    """One thing that the product learned from.

    Attributes:
        words: From what.
        seconds: What it took, the teacher's look at new images included.
        is_better: Whether the command itself would have taken the new version.
        before: The version before, on parts that neither has learned from.
        after: The new version, on the same.
        asked: What a server answered meanwhile; None where none ran.
    """

    words: str
    seconds: float
    is_better: bool
    before: Verdicts
    after: Verdicts
    asked: Asked | None = None


@dataclass(frozen=True, kw_only=True)
class Draw:
    """One product that began with few parts.

    Attributes:
        images: Good images that it was trained on.
        seed: They were drawn with it.
        how: How the threshold was found.
        false_alarm_rate: Wished, or the lowest possible.
        seconds: That training took.
        trained: What it found then.
        steps: What it learned since.
    """

    images: int
    seed: int
    how: str
    false_alarm_rate: float
    seconds: float
    trained: Verdicts
    steps: tuple[Step, ...]


@dataclass(frozen=True, kw_only=True)
class FewPartsResult:
    """All draws.

    Attributes:
        machine: What it ran on.
        conditions: In which state that was.
        versions: Versions of the libraries.
        product: What was learned.
        teacher: Name of the frozen network.
        draws: One product each.
        schema: Version of this file's layout.
    """

    machine: str
    conditions: Conditions
    versions: dict[str, str]
    product: str
    teacher: str
    draws: tuple[Draw, ...]
    schema: str = _SCHEMA


def to_markdown(result: FewPartsResult) -> str:
    """The draws as tables."""
    head = ["good images", "draw", "threshold from", "wished rate", "trained in"]
    rows = [
        [
            f"{one.images}",
            f"{one.seed}",
            one.how,
            f"{one.false_alarm_rate:.2%}",
            f"{one.seconds:.0f} s",
            *_verdicts(one.trained),
        ]
        for one in result.draws
    ]
    sections = [
        f"{result.product}, {result.teacher}; {result.machine}; load before it "
        f"{result.conditions.load_average:.1f}.",
        table([*head, "I-AUROC", "false alarms", "misses"], rows),
    ]
    steps = [
        [
            f"{one.images}, {one.seed}",
            step.words,
            f"{step.seconds:.0f} s",
            " -> ".join((f"{step.before.image_auroc:.4f}", f"{step.after.image_auroc:.4f}")),
            f"{step.before.false_alarms} -> {step.after.false_alarms} of {step.after.good}",
            f"{step.before.misses} -> {step.after.misses} of {step.after.defective}",
            f"{step.after.newly_rejected} of {step.after.further}",
            "yes" if step.is_better else "no",
            "-" if step.asked is None else step.asked.describe(),
        ]
        for one in result.draws
        for step in one.steps
    ]
    if steps:
        names = ["good images, draw", "learned from", "in", "I-AUROC", "false alarms", "misses"]
        more = ["good parts newly rejected", "taken unforced", "server meanwhile"]
        sections.append(table([*names, *more], steps))
    return "\n\n".join(section.strip() for section in sections) + "\n"


def _verdicts(found: Verdicts) -> list[str]:
    return [
        f"{found.image_auroc:.4f}",
        f"{found.false_alarms} of {found.good}",
        f"{found.misses} of {found.defective}",
    ]
