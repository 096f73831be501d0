"""Learning from more good images in seconds: the students go on from where they were.

Each update takes half of its patches from the new images and half from those that are remembered,
so that nothing is forgotten. The judge is learned anew from both. What calibrates stays unseen: of
held-out images by all students, of a fold's images by the students of that fold, who learn from the
new images of all other folds. New parts are learned from and compared on, but a threshold rests on
those alone that were taken by chance: false alarms are the worst of many good parts, and would have
it far too high, and what is left without them would have it too low.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from runtime.errors import OptionError
from runtime.feedback.inbox import Inbox
from runtime.feedback.reviewed_part import ReviewedPart
from runtime.images.decode import decode_image
from runtime.products.card import ProductCard
from runtime.products.conformal import calibrate, choose_threshold, lowest_rate
from runtime.products.trained_images import EVIDENCE, evidence_of, image_digest
from train.fitting.features import TILES_AT_ONCE, teacher_tokens
from train.fitting.fit import update_students
from train.fitting.good_features import cached_patch_maps
from train.fitting.learn_judge import JudgeEffort, learn_judge
from train.fitting.patches import Patches, Tokens
from train.learning.comparison import Comparison, Evidence
from train.learning.memory import (
    HELD_OUT,
    STUDENTS_BEFORE,
    TRAINED,
    Memory,
    RememberedImage,
)
from train.settings import FitSettings, Recipe, RelearnSettings
from train.students.students import Students
from train.teacher.teacher import Teacher

_REPLAYED_PATCHES = 100_000
_JUDGE = JudgeEffort(patches=50_000, steps=300)


Scored: TypeAlias = tuple[RememberedImage, Evidence]
"""A good image, and what students say of it that have not seen it."""


@dataclass(frozen=True, kw_only=True)
class LearnedPart:
    """An image with what the teacher says of it.

    Attributes:
        part: Of the inbox.
        digest: The part of its digest that cards keep.
        height: In px.
        width: In px.
        tokens: (tiles, T, 2, D) float16.
    """

    part: ReviewedPart
    digest: str
    height: int
    width: int
    tokens: Tokens


@dataclass(frozen=True, kw_only=True)
class Relearned:
    """What came of it.

    Attributes:
        card: Of the new version; its students' checksum is still the old one's.
        students: Of the new version.
        fold_students: Of each fold.
        images: The new images, as the memory takes them.
        tokens: Theirs, one after the other.
        comparison: With the version before.
    """

    card: ProductCard
    students: Students
    fold_students: dict[int, Students]
    images: tuple[RememberedImage, ...]
    tokens: Tokens
    comparison: Comparison


def new_good_parts(inbox: Inbox, memory: Memory) -> list[ReviewedPart]:
    """Good parts of the inbox that the product has not learned from.

    Raises:
        OptionError: There is none.
    """
    known = {image.sha256 for image in memory.images}
    found = [part for part in inbox.parts(review="good") if part.sha256 not in known]
    if not found:
        raise OptionError(
            f"the inbox of {inbox.product} holds no good image that the product has not learned "
            f"from; add some: l2bt feedback add {inbox.product} IMAGES --good"
        )
    return found


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
) -> Relearned:
    """Learn from new good images, calibrate anew, and compare with the version before.

    Args:
        card: The product's.
        students: Its students.
        memory: What it remembers.
        good: New good images.
        defects: Known defects; nothing is learned from them.
        settings: How much is learned.

    Raises:
        ModelError: The memory is damaged.
        OptionError: The card's thresholds keep no rate that could be kept again, or its area has
            changed since it was trained.
    """
    _check_known(card, memory)
    recipe = _recipe_of(card)
    rng = np.random.default_rng(settings.seed)
    images = _dealt(good, memory, rng)
    before: list[Scored] = []
    after: list[Scored] = []
    fold_students: dict[int, Students] = {}
    for fold in range(1, memory.folds + 1):
        others = [one for one in memory.images if one.fold != fold]
        new = [one.tokens for one, image in zip(good, images, strict=True) if image.fold != fold]
        of_fold = memory.students_of(fold, students)
        learned = _learn(of_fold, memory, others, new, settings, recipe, desc=f"fold {fold}")
        fold_students[fold] = learned
        before += _of_fold(card, of_fold, memory, images, good, fold)
        after += _of_fold(card, learned, memory, images, good, fold)
    trained = [one for one in memory.images if one.fold != HELD_OUT]
    new = [one.tokens for one, image in zip(good, images, strict=True) if image.fold != HELD_OUT]
    final = _learn(students, memory, trained, new, settings, recipe, desc="students")
    if not memory.folds:
        before = _of_fold(card, students, memory, images, good, HELD_OUT)
        after = _of_fold(card, final, memory, images, good, HELD_OUT)
    evidence = [found for image, found in after if image.by_chance]
    calibration = calibrate(evidence, folds=memory.folds or None)
    old = card.threshold
    threshold = choose_threshold(
        calibration,
        false_alarm_rate=_possible(old.false_alarm_rate, len(evidence)),
        region_false_alarm_rate=_possible(old.region_false_alarm_rate, len(evidence)),
        review_rate=_possible(old.review_rate, len(evidence)),
    )
    comparison = Comparison.of(
        (card.threshold.image_score, threshold.image_score),
        good=([found for _, found in before], [found for _, found in after]),
        defects=([_scored(card, one, defects) for one in (students, final)]),
        names=[one.part.name for one in defects],
    )
    digests = [one.digest for one in good]
    return Relearned(
        card=replace(
            card,
            threshold=threshold,
            calibration=calibration,
            training={
                **card.training,
                "good_images": len(memory.images) + len(good),
                STUDENTS_BEFORE: card.students_sha256,
                "learned_again": int(card.training.get("learned_again") or 0) + 1,
                **_with_digests(card, digests),
            },
        ),
        students=final,
        fold_students=fold_students,
        images=images,
        tokens=np.concatenate([one.tokens for one in good]),
        comparison=comparison,
    )


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
    students: Students,
    memory: Memory,
    remembered: Sequence[RememberedImage],
    new: Sequence[Tokens],
    settings: RelearnSettings,
    recipe: Recipe,
    *,
    desc: str,
) -> Students:
    """Students that go on learning; those that are given stay as they are."""
    learned = copy.deepcopy(students)
    if not new:
        return learned
    rng = np.random.default_rng(settings.seed)
    old_patches = memory.some_patches(remembered, most=_REPLAYED_PATCHES, rng=rng)
    new_patches = np.concatenate([tokens.reshape(-1, *tokens.shape[2:]) for tokens in new])
    as_trained = FitSettings(recipe=recipe, steps=settings.updates, lr=settings.lr)
    half = as_trained.batch_patches // 2
    parameters = [value for value in learned.parameters() if value.requires_grad]
    optimiser = torch.optim.Adam(parameters, lr=settings.lr)
    learned.train()
    for step in tqdm(range(settings.updates), desc=desc, unit="step"):
        for group in optimiser.param_groups:
            group["lr"] = as_trained.lr_at(step, settings.updates)
        batch = np.concatenate([_some(old_patches, half, rng), _some(new_patches, half, rng)])
        tokens = torch.from_numpy(batch.astype(np.float32))
        update_students(learned, optimiser, tokens[:, 0], tokens[:, 1], hardest=as_trained.hardest)
    learned.eval()
    if learned.forward_judge is not None:
        share = min(len(new_patches), len(old_patches))
        both = np.concatenate([old_patches, _some(new_patches, share, rng)])
        patches = Patches.of(rng.permutation(both)[None])
        learn_judge(learned, patches, seed=settings.seed, effort=_JUDGE)
    return learned


def _some(patches: Tokens, count: int, rng: np.random.Generator) -> Tokens:
    return np.asarray(patches[rng.integers(0, len(patches), count)])


def _of_fold(
    card: ProductCard,
    students: Students,
    memory: Memory,
    images: Sequence[RememberedImage],
    good: Sequence[LearnedPart],
    fold: int,
) -> list[Scored]:
    """What the images of a fold score, remembered ones and new ones."""
    tokens: list[tuple[RememberedImage, npt.NDArray[np.float16]]] = [
        (image, memory.tokens_of(image)) for image in memory.images if image.fold == fold
    ]
    tokens += [
        (image, one.tokens) for image, one in zip(images, good, strict=True) if image.fold == fold
    ]
    return [
        (image, (image.name, *_score(card, students, found, image.height, image.width)))
        for image, found in tokens
    ]


def _score(
    card: ProductCard, students: Students, tokens: Tokens, height: int, width: int
) -> tuple[float, float, float]:
    patch_maps = cached_patch_maps(tokens, students, card.geometry.grid_wh)
    pixel_map = card.geometry_of(height, width).pixel_map(patch_maps)
    return pixel_map.score(), pixel_map.peak(), float(patch_maps.mean())


def _possible(rate: float | None, images: int) -> float | None:
    """The rate that was kept before, or the lowest that so many images can keep."""
    return None if rate is None else max(rate, float(lowest_rate(images)))


def _scored(card: ProductCard, students: Students, parts: Sequence[LearnedPart]) -> list[float]:
    return [_score(card, students, one.tokens, one.height, one.width)[0] for one in parts]


def _with_digests(card: ProductCard, digests: Sequence[str]) -> dict[str, str | int | float | None]:
    known = str(card.training.get(EVIDENCE, ""))
    size = len(digests[0])
    before = [known[at : at + size] for at in range(0, len(known), size)]
    return evidence_of([*before, *digests]) if before else {}
