"""`l2bt learn`: a bundle, its memory and its inbox to the bundle's next version."""

import logging
from collections.abc import Sequence
from pathlib import Path

from runtime.errors import OptionError
from runtime.feedback.inbox import Inbox
from runtime.products.card import ProductCard
from runtime.products.trust.signatures import SIGNATURE_NAME
from runtime.storage.atomic_write import locked
from train.learning.defect_lessons import (
    FEWEST_DEFECTS,
    MarkedDefect,
    describe_tried,
    lower_rate,
    mark_defects,
    why_it_passes,
)
from train.learning.memory import Memory
from train.learning.relearn import (
    KNOWN_DEFECTS,
    Relearned,
    digest_of,
    new_good_parts,
    relearn,
    see,
)
from train.learning.version import LearnedPart
from train.settings import RelearnSettings, WorkSettings
from train.students.bundle import open_bundle, write_bundle
from train.teacher.teacher import load_teacher, settings_of

logger = logging.getLogger("l2bt.train")


def learn_again(
    folder: Path,
    *,
    inboxes: Path,
    settings: RelearnSettings,
    work: WorkSettings | None = None,
    teacher_weights: Path | None = None,
    device: str = "cpu",
    force: bool = False,
) -> Relearned:
    """Learn from the new parts in a product's inbox, and replace its bundle.

    Good parts teach the students; from five defects on, of which it is known where they are, the
    judge learns what they look like, if that helps.

    Args:
        folder: The bundle's folder.
        inboxes: Folder of all products' inboxes.
        settings: How much is learned.
        work: Where training kept the features.
        teacher_weights: The local file that the bundle was trained with, if one was.
        device: Where the teacher runs.
        force: Replace the bundle even if the new version is worse.

    Returns:
        What came of it; if it is nothing new, or worse and not forced, the bundle is as it was.

    Raises:
        ModelError: The bundle or its memory is missing, damaged, or they do not belong together.
        OptionError: Nothing new is in the inbox, or another run is at work.
        BadImageError: The product does not look at images of that size.
    """
    bundle = open_bundle(folder)
    place = (work or WorkSettings()).folder_for(folder)
    memory = Memory((work or WorkSettings()).memory_of(folder))
    refusal = f"another training is at work in {place}; wait for it"
    with locked(place, refusal=refusal), Inbox(inboxes, bundle.card.product) as inbox:
        memory.check(bundle.card)
        parts = new_good_parts(inbox, memory)
        defects = inbox.parts(review="defect")
        logger.info(
            "%d new good images, %d remembered; %d known defects",
            len(parts),
            len(memory.images),
            len(defects),
        )
        card = bundle.card
        if not parts:
            _check_defects(card, inbox)
        teacher = load_teacher(
            settings_of(card.teacher, weights=teacher_weights, device=device),
            image_size=card.geometry.image_size,
            image_wh=card.geometry.image_wh,
            expected=card.teacher,
        )
        good = see(teacher, card, inbox, parts, desc="new images")
        bad = see(teacher, card, inbox, defects, desc="defects")
        marked = mark_defects(card, inbox, bad)
        found = relearn(card, bundle.students, memory, good, bad, settings, marked=marked)
        _tell_of_defects(found, inbox, bad, marked)
        if not found.is_new or (found.comparison.reasons and not force):
            return found
        _tell_what_ends(folder, card, memory)
        written = write_bundle(folder, found.card, found.version.students, overwrite=True)
        # After the bundle: if this is cut off, the same images are learned from again.
        memory.add(
            found.images,
            found.tokens,
            fold_students=found.version.fold_students,
            students_sha256=written.card.students_sha256,
        )
    return found


def _check_defects(card: ProductCard, inbox: Inbox) -> None:
    """Refuse to learn where nothing is new.

    Raises:
        OptionError: There are no new good parts, and no other defects than before.
    """
    defects = [part for part in inbox.parts(review="defect") if part.boxes or part.mask_sha256]
    known = card.training.get(KNOWN_DEFECTS)
    if len(defects) < FEWEST_DEFECTS or digest_of(defects) == known:
        raise OptionError(
            f"the inbox of {card.product} holds no good image that the product has not learned "
            f"from, and no {FEWEST_DEFECTS} defects with a box or mask that are others than "
            f"before; add some: l2bt feedback add {card.product} IMAGES --good"
        )


def _tell_of_defects(
    found: Relearned,
    inbox: Inbox,
    defects: Sequence[LearnedPart],
    marked: Sequence[MarkedDefect],
) -> None:
    """Say what was tried with known defects, which of them pass, and why."""
    if len(found.tried) > 1:
        logger.info("%s", describe_tried(found.tried, found.taken))
    elif marked and found.version.students.forward_judge is None:
        logger.info("the look of known defects is not learned: the product has no judge of its own")
    elif defects:
        logger.info(
            "the look of known defects is not learned: %d of %d are marked by a box or mask where "
            "the product looks, and it takes %d",
            len(marked),
            len(defects),
            FEWEST_DEFECTS,
        )
    threshold = found.card.threshold.image_score
    scores = found.version.score(defects)
    for one, score in zip(defects, scores, strict=True):
        if score <= threshold:
            why = why_it_passes(found.card, inbox, one, score=score)
            logger.warning("known defect %s passes: %s", one.part.name, why)
    if (rate := lower_rate(found.taken)) is not None:
        logger.info(
            "a false-alarm rate of %.3g finds as many of the %d marked defects: l2bt threshold",
            rate,
            len(marked),
        )


def _tell_what_ends(folder: Path, card: ProductCard, memory: Memory) -> None:
    """Say what the new version does not take over."""
    known = {image.name for image in memory.images}
    if card.calibration is not None and not known.issuperset(card.calibration.images):
        logger.warning(
            "the thresholds rested on other images (l2bt threshold --good), and rest on those that "
            "%s remembers now",
            card.product,
        )
    if (folder / SIGNATURE_NAME).exists():
        logger.warning("the bundle's signature was of the version before; sign it again")
