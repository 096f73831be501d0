"""Whether a product is better with what known defects look like: tried, and kept only if so."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from runtime.feedback.inbox import Inbox
from runtime.feedback.reviewed_part import ReviewedPart
from runtime.images.decode import decode_image
from runtime.products.card import Calibration, ProductCard, Threshold
from runtime.products.conformal import choose_threshold
from train.fitting.patches import Tokens
from train.learning.defect_look import DefectLook, patches_of_defect
from train.learning.memory import HELD_OUT
from train.learning.version import GoodParts, LearnedPart, Scored, Version
from train.students.students import Students

FEWEST_DEFECTS = 5
STRENGTHS = (0.25,)
_PARTS = 5
_MOST_PATCHES = 100_000

Calibrate = Callable[[Sequence[Scored]], tuple[Calibration, Threshold]]
"""From what good images score to the thresholds that keep the product's rates."""


@dataclass(frozen=True, kw_only=True, eq=False)
class MarkedDefect:
    """A known defect, and where it is.

    Attributes:
        part: The image.
        shows: (tiles, T), the patches that show it.
    """

    part: LearnedPart
    shows: npt.NDArray[np.bool_]

    @property
    def patches(self) -> Tokens:
        """(N, 2, D) float16."""
        found: Tokens = self.part.tokens[self.shows]
        return found


@dataclass(frozen=True, kw_only=True)
class Tried:
    """One strength that was tried.

    Attributes:
        strength: How much the look of known defects counts; 0 is without.
        version: With it.
        good: What good images score.
        calibration: Of those that were taken by chance.
        threshold: From it.
        false_alarms: Of all good images.
        unseen: What each marked defect scores where it was not learned from.
    """

    strength: float
    version: Version
    good: tuple[Scored, ...]
    calibration: Calibration
    threshold: Threshold
    false_alarms: int
    unseen: tuple[float, ...]

    @property
    def found(self) -> int:
        """How many marked defects are found."""
        return sum(score > self.threshold.image_score for score in self.unseen)

    @property
    def distance(self) -> float:
        """Mean logarithm of how far the marked defects are above the threshold; 0 of none."""
        if not self.unseen:
            return 0.0
        least = np.finfo(np.float32).tiny
        scores = np.maximum(self.unseen, least) / max(self.threshold.image_score, least)
        return float(np.log(scores).mean())


def mark_defects(
    card: ProductCard, inbox: Inbox, defects: Sequence[LearnedPart]
) -> list[MarkedDefect]:
    """Those known defects of which it was said where they are, and that the product looks at.

    Raises:
        ModelError: A mask is missing or was changed.
    """
    found = []
    for one in defects:
        mask = _mask_of(inbox, one.part)
        if mask is None:
            continue
        shows = patches_of_defect(card.geometry_of(one.height, one.width), mask)
        if shows.any():
            found.append(MarkedDefect(part=one, shows=shows))
    return found


def try_looks(
    version: Version, good: GoodParts, marked: Sequence[MarkedDefect], calibrate: Calibrate
) -> list[Tried]:
    """A version without, and with what known defects look like.

    Args:
        version: Without.
        good: All good images.
        marked: Known defects; fewer than five are not learned from.
        calibrate: How thresholds are found.

    Returns:
        What was tried, without first.
    """
    if len(marked) < FEWEST_DEFECTS or version.students.forward_judge is None:
        return [_try(0.0, version, good, marked, calibrate, [version] * len(marked))]

    def look(defects: Sequence[MarkedDefect], usual: Sequence[Tokens]) -> DefectLook:
        return DefectLook.learn([one.patches for one in defects], usual)

    # Those of a fold are gone before the next one's are read: they take a good part of a small
    # machine's memory.
    looks = {fold: look(marked, _usual(good, fold)) for fold in version.fold_students}
    usual = _usual(good, HELD_OUT)
    looks[HELD_OUT] = look(marked, usual)
    # Each defect is also looked for by a version that did not learn from it.
    parts = [list(marked[start::_PARTS]) for start in range(_PARTS)]
    others = [look([one for one in marked if one not in part], usual) for part in parts]
    tried = [_try(0.0, version, good, marked, calibrate, [version] * len(marked))]
    for strength in STRENGTHS:

        def change(students: Students, fold: int, by: float = strength) -> Students:
            return looks[fold].given_to(students, by)

        without = [
            Version(
                card=version.card,
                students=other.given_to(version.students, strength),
                fold_students={},
            )
            for other in others
        ]
        unseen_by = [without[number % _PARTS] for number in range(len(marked))]
        tried.append(_try(strength, version.changed(change), good, marked, calibrate, unseen_by))
    return tried


def choose(tried: Sequence[Tried]) -> Tried:
    """The one that has marked defects, which it did not learn from, furthest above the threshold.

    None that gives a false alarm more than the first, which is without. How many are found says
    less: there are few of them.
    """
    without = tried[0]
    allowed = [one for one in tried[1:] if one.false_alarms <= without.false_alarms]
    return max([without, *allowed], key=lambda one: one.distance)


def describe_tried(tried: Sequence[Tried], chosen: Tried) -> str:
    """What was tried, as a table."""
    defects, images = len(tried[0].unseen), len(tried[0].good)
    lines = [f"{'look of known defects':24}{f'misses of {defects}':>16}{'false alarms':>16}"]
    for one in tried:
        name = "without" if one.strength == 0 else f"strength {one.strength:g}"
        mark = "  <- taken" if one is chosen else ""
        lines.append(
            f"{name:24}{defects - one.found:>16}{f'{one.false_alarms} of {images}':>16}{mark}"
        )
    return "\n".join(lines)


def lower_rate(chosen: Tried) -> float | None:
    """The lowest false-alarm rate that finds as many marked defects; None if none is lower."""
    rate = chosen.threshold.false_alarm_rate
    if rate is None or not chosen.unseen:
        return None
    images = len(chosen.calibration.images)
    for count in range(1, images + 1):
        lower = count / (images + 1)
        if lower >= rate - 1e-9:
            return None
        threshold = choose_threshold(chosen.calibration, false_alarm_rate=lower)
        if sum(score > threshold.image_score for score in chosen.unseen) == chosen.found:
            return lower
    return None


def why_it_passes(card: ProductCard, inbox: Inbox, one: LearnedPart, *, score: float) -> str:
    """What is known of why a known defect is not found."""
    mask = _mask_of(inbox, one.part)
    scores = f"it scores {score / card.threshold.image_score:.0%} of the threshold"
    if mask is None:
        return f"{scores}; say where it is (--box or --mask), so that it can be learned from"
    geometry = card.geometry_of(one.height, one.width)
    area = card.area
    if area is not None and area.ignored(one.height, one.width)[mask].all():
        return f"{scores}; it lies where the product does not look (l2bt area)"
    patch_px = card.geometry.patch_size * max(
        axis.padded_length / axis.scaled_length for axis in (geometry.rows, geometry.columns)
    )
    if mask.sum() < 0.5 * patch_px**2:
        return (
            f"{scores}; it covers {int(mask.sum())} px, and a patch {patch_px:.0f} x "
            f"{patch_px:.0f}: train the product at a larger scale (--geometry joint or tiles)"
        )
    return f"{scores}; it looks like good parts to this teacher"


def _mask_of(inbox: Inbox, part: ReviewedPart) -> npt.NDArray[np.bool_] | None:
    """(H, W), True on the defect; None where nobody said where it is."""
    content = inbox.mask(part)
    if content is not None:
        marked: npt.NDArray[np.bool_] = decode_image(content, name=f"mask of {part.name}").any(2)
        return marked
    if not part.boxes:
        return None
    width, height = part.image_wh
    marked = np.zeros((height, width), bool)
    for x, y, box_width, box_height in part.boxes:
        marked[y : y + box_height, x : x + box_width] = True
    return marked


def _usual(good: GoodParts, fold: int) -> list[Tokens]:
    """Tokens of some good images that the students of a fold learned from."""
    remembered, new = good.trained_on(fold)
    tokens = [*map(good.memory.tokens_of, remembered), *new]
    order = np.random.default_rng(0).permutation(len(tokens))
    found: list[Tokens] = []
    room = _MOST_PATCHES
    for number in order:
        one = tokens[number]
        room -= one.shape[0] * one.shape[1]
        if found and room < 0:
            break
        found.append(np.asarray(one))
    return found


def _try(
    strength: float,
    version: Version,
    good: GoodParts,
    marked: Sequence[MarkedDefect],
    calibrate: Calibrate,
    unseen_by: Sequence[Version],
) -> Tried:
    scored = version.score_good(good)
    calibration, threshold = calibrate(scored)
    return Tried(
        strength=strength,
        version=version,
        good=tuple(scored),
        calibration=calibration,
        threshold=threshold,
        false_alarms=sum(score > threshold.image_score for _, (_, score, _, _) in scored),
        unseen=tuple(
            other.score([one.part])[0] for one, other in zip(marked, unseen_by, strict=True)
        ),
    )
