"""Learning from more good images in seconds: the students go on from where they were.

Each update takes half of its patches from the new images and half from those that are remembered,
so that nothing is forgotten. The judge is learned anew from both. What calibrates stays unseen: of
held-out images by all students, of a fold's images by the students of that fold, who learn from the
new images of all other folds. New parts are learned from and compared on, but a threshold rests on
those alone that were taken by chance: false alarms are the worst of many good parts, and would have
it far too high, and what is left without them would have it too low. From five known defects on,
what they look like is tried as well, and kept if it helps.
"""

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from tqdm import tqdm

from runtime.errors import OptionError
from runtime.feedback.inbox import Inbox
from runtime.feedback.reviewed_part import ReviewedPart
from runtime.images.decode import decode_image
from runtime.products.card import Calibration, ProductCard, Threshold
from runtime.products.conformal import calibrate, choose_threshold, lowest_rate
from runtime.products.trained_images import EVIDENCE, evidence_of, image_digest
from train.fitting.features import TILES_AT_ONCE, teacher_tokens
from train.fitting.fit import update_students
from train.fitting.learn_judge import JudgeEffort, learn_judge
from train.fitting.patches import Patches, Tokens
from train.learning.comparison import Comparison
from train.learning.defect_lessons import MarkedDefect, Tried, choose, try_looks
from train.learning.memory import (
    HELD_OUT,
    STUDENTS_BEFORE,
    TRAINED,
    Memory,
    RememberedImage,
)
from train.learning.version import GoodParts, LearnedPart, Scored, Version
from train.settings import FitSettings, Recipe, RelearnSettings
from train.students.students import Students
from train.teacher.teacher import Teacher

_REPLAYED_PATCHES = 100_000
_JUDGE = JudgeEffort(patches=50_000, steps=300)
KNOWN_DEFECTS = "known_defects"
"""In a card's training: a name of the marked defects that were known, learned from or not."""

LOOK_STRENGTH = "known_defects_strength"
"""In a card's training: how much their look counts; 0 where it is not known."""


@dataclass(frozen=True, kw_only=True)
class Relearned:
    """What came of it.

    Attributes:
        card: Of the new version; its students' checksum is still the old one's.
        version: The students of the new version.
        images: The new images, as the memory takes them.
        tokens: Theirs, one after the other; None where there are none.
        comparison: With the version before.
        tried: Without and with the look of known defects.
        taken: That of them which the new version is.
        is_new: Whether there is a new version: none where only defects were new, and their look is
            not taken.
    """

    card: ProductCard
    version: Version
    images: tuple[RememberedImage, ...]
    tokens: Tokens | None
    comparison: Comparison
    tried: tuple[Tried, ...]
    taken: Tried
    is_new: bool


def new_good_parts(inbox: Inbox, memory: Memory) -> list[ReviewedPart]:
    """Good parts of the inbox that the product has not learned from."""
    known = {image.sha256 for image in memory.images}
    return [part for part in inbox.parts(review="good") if part.sha256 not in known]


def see(
    teacher: Teacher, card: ProductCard, inbox: Inbox, parts: Sequence[ReviewedPart], *, desc: str
) -> list[LearnedPart]:
    """Let the teacher see images of the inbox.

    Raises:
        BadImageError: The product does not look at images of this size.
        ModelError: An image is not as it was added.
    """
    found = []
    for part in tqdm(parts, desc=desc, unit="image"):
        content = inbox.content(part)
        pixels = decode_image(content, name=part.name)
        height, width = pixels.shape[:2]
        tiles = card.geometry_of(height, width).cut(pixels)
        tokens = [
            teacher_tokens(teacher, tiles[start : start + TILES_AT_ONCE]).half().cpu().numpy()
            for start in range(0, len(tiles), TILES_AT_ONCE)
        ]
        found.append(
            LearnedPart(
                part=part,
                digest=image_digest(content),
                height=height,
                width=width,
                tokens=np.concatenate(tokens),
            )
        )
    return found


def relearn(
    card: ProductCard,
    students: Students,
    memory: Memory,
    good: Sequence[LearnedPart],
    defects: Sequence[LearnedPart],
    settings: RelearnSettings,
    *,
    marked: Sequence[MarkedDefect] = (),
) -> Relearned:
    """Learn from new good images, calibrate anew, and compare with the version before.

    Args:
        card: The product's.
        students: Its students.
        memory: What it remembers.
        good: New good images.
        defects: Known defects; no students learn from them.
        settings: How much is learned.
        marked: Those of the defects of which it is known where they are; the judge may learn what
            they look like.

    Raises:
        ModelError: The memory is damaged.
        OptionError: The card's thresholds keep no rate that could be kept again, or its area has
            changed since it was trained.
    """
    _check_known(card, memory)
    rng = np.random.default_rng(settings.seed)
    parts = GoodParts(memory=memory, new=good, images=_dealt(good, memory, rng))
    folds = range(1, memory.folds + 1)
    before = Version(
        card=card,
        students=students,
        fold_students={fold: memory.students_of(fold, students) for fold in folds},
    )
    learned = before.changed(lambda students, fold: _learn(card, students, parts, fold, settings))

    def thresholds(scored: Sequence[Scored]) -> tuple[Calibration, Threshold]:
        evidence = [found for image, found in scored if image.by_chance]
        old = card.threshold
        calibration = calibrate(evidence, folds=memory.folds or None)
        return calibration, choose_threshold(
            calibration,
            false_alarm_rate=_possible(old.false_alarm_rate, len(evidence)),
            region_false_alarm_rate=_possible(old.region_false_alarm_rate, len(evidence)),
            review_rate=_possible(old.review_rate, len(evidence)),
        )

    tried = try_looks(learned, parts, marked, thresholds)
    taken = choose(tried)
    threshold = taken.threshold
    comparison = Comparison.of(
        (card.threshold.image_score, threshold.image_score),
        good=(
            [found for _, found in before.score_good(parts)],
            [found for _, found in taken.good],
        ),
        defects=[before.score(defects), taken.version.score(defects)],
        names=[one.part.name for one in defects],
    )
    return Relearned(
        card=replace(
            card,
            threshold=threshold,
            calibration=taken.calibration,
            training={
                **card.training,
                "good_images": len(memory.images) + len(good),
                STUDENTS_BEFORE: card.students_sha256,
                "learned_again": int(card.training.get("learned_again") or 0) + 1,
                KNOWN_DEFECTS: digest_of([one.part for one in defects]),
                LOOK_STRENGTH: taken.strength,
                **_with_digests(card, [one.digest for one in good]),
            },
        ),
        version=taken.version,
        images=tuple(parts.images),
        tokens=np.concatenate([one.tokens for one in good]) if good else None,
        comparison=comparison,
        tried=tuple(tried),
        taken=taken,
        is_new=bool(good) or taken.strength > 0 or _knows_look(card),
    )


def digest_of(defects: Sequence[ReviewedPart]) -> str:
    """A short name of those known defects that are marked, and of where; empty of none."""
    marked = [part for part in defects if part.boxes or part.mask_sha256]
    if not marked:
        return ""
    said = sorted(f"{part.sha256} {part.mask_sha256} {part.boxes}" for part in marked)
    return hashlib.sha256("\n".join(said).encode()).hexdigest()[:16]


def _check_known(card: ProductCard, memory: Memory) -> None:
    if card.threshold.false_alarm_rate is None:
        raise OptionError(
            f"the thresholds of {card.product} keep no false-alarm rate ({card.threshold.method}), "
            "so none can be kept again; choose one first: l2bt threshold --false-alarm-rate"
        )
    for image in memory.images:
        if card.geometry_of(image.height, image.width).tiles != image.tiles:
            raise OptionError(
                f"{card.product} is looked at elsewhere than when it was trained (l2bt area), and "
                "its memory does not hold what it needs; train it again with --keep-features"
            )


def _knows_look(card: ProductCard) -> bool:
    return bool(card.training.get(LOOK_STRENGTH))


def _recipe_of(card: ProductCard) -> Recipe:
    return "paper" if card.training.get("recipe") == "paper" else "edge"


def _dealt(
    good: Sequence[LearnedPart], memory: Memory, rng: np.random.Generator
) -> tuple[RememberedImage, ...]:
    """The new images, each in a fold; where images are held out, every second one is."""
    places = range(1, memory.folds + 1) if memory.folds else (HELD_OUT, TRAINED)
    order = rng.permutation(len(good))
    fold_of = {int(number): places[at % len(places)] for at, number in enumerate(order)}
    file, first_tile = memory.next_file(), 0
    images = []
    for number, one in enumerate(good):
        images.append(
            RememberedImage(
                name=one.part.name,
                sha256=one.part.sha256,
                height=one.height,
                width=one.width,
                file=file,
                first_tile=first_tile,
                tiles=len(one.tokens),
                fold=fold_of[number],
                by_chance=one.part.by_chance,
            )
        )
        first_tile += len(one.tokens)
    return tuple(images)


def _learn(
    card: ProductCard,
    students: Students,
    parts: GoodParts,
    fold: int,
    settings: RelearnSettings,
) -> Students:
    """Students that go on learning; those that are given stay as they are."""
    remembered, new = parts.trained_on(fold)
    learned = copy.deepcopy(students)
    if not new and not _knows_look(card):
        return learned
    rng = np.random.default_rng(settings.seed)
    old_patches = parts.memory.some_patches(remembered, most=_REPLAYED_PATCHES, rng=rng)
    judged_by = old_patches
    if new:
        new_patches = np.concatenate([tokens.reshape(-1, *tokens.shape[2:]) for tokens in new])
        desc = "students" if fold == HELD_OUT else f"fold {fold}"
        _update(learned, old_patches, new_patches, settings, _recipe_of(card), rng, desc=desc)
        share = min(len(new_patches), len(old_patches))
        judged_by = np.concatenate([old_patches, _some(new_patches, share, rng)])
    if learned.forward_judge is not None:
        # Anew even where nothing is new, if it knows the look of defects that were known then.
        patches = Patches.of(rng.permutation(judged_by)[None])
        learn_judge(learned, patches, seed=settings.seed, effort=_JUDGE)
    return learned


def _update(
    students: Students,
    old_patches: Tokens,
    new_patches: Tokens,
    settings: RelearnSettings,
    recipe: Recipe,
    rng: np.random.Generator,
    *,
    desc: str,
) -> None:
    as_trained = FitSettings(recipe=recipe, steps=settings.updates, lr=settings.lr)
    half = as_trained.batch_patches // 2
    parameters = [value for value in students.parameters() if value.requires_grad]
    optimiser = torch.optim.Adam(parameters, lr=settings.lr)
    students.train()
    for step in tqdm(range(settings.updates), desc=desc, unit="step"):
        for group in optimiser.param_groups:
            group["lr"] = as_trained.lr_at(step, settings.updates)
        batch = np.concatenate([_some(old_patches, half, rng), _some(new_patches, half, rng)])
        tokens = torch.from_numpy(batch.astype(np.float32))
        update_students(students, optimiser, tokens[:, 0], tokens[:, 1], hardest=as_trained.hardest)
    students.eval()


def _some(patches: Tokens, count: int, rng: np.random.Generator) -> Tokens:
    return np.asarray(patches[rng.integers(0, len(patches), count)])


def _possible(rate: float | None, images: int) -> float | None:
    """The rate that was kept before, or the lowest that so many images can keep."""
    return None if rate is None else max(rate, float(lowest_rate(images)))


def _with_digests(card: ProductCard, digests: Sequence[str]) -> dict[str, str | int | float | None]:
    if not digests:
        return {}
    known = str(card.training.get(EVIDENCE, ""))
    size = len(digests[0])
    before = [known[at : at + size] for at in range(0, len(known), size)]
    return evidence_of([*before, *digests]) if before else {}
