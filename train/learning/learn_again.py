"""`l2bt learn`: a bundle, its memory and its inbox to the bundle's next version."""

import logging
from pathlib import Path

from runtime.feedback.inbox import Inbox
from runtime.products.card import ProductCard
from runtime.products.trust.signatures import SIGNATURE_NAME
from runtime.storage.atomic_write import locked
from train.learning.memory import Memory
from train.learning.relearn import Relearned, new_good_parts, relearn, see
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
    """Learn from the new good parts in a product's inbox, and replace its bundle.

    Args:
        folder: The bundle's folder.
        inboxes: Folder of all products' inboxes.
        settings: How much is learned.
        work: Where training kept the features.
        teacher_weights: The local file that the bundle was trained with, if one was.
        device: Where the teacher runs.
        force: Replace the bundle even if the new version is worse.

    Returns:
        What came of it; if it is worse and not forced, the bundle is as it was.

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
            "%d new good images, %d remembered; %d known defects to compare with",
            len(parts),
            len(memory.images),
            len(defects),
        )
        card = bundle.card
        teacher = load_teacher(
            settings_of(card.teacher, weights=teacher_weights, device=device),
            image_size=card.geometry.image_size,
            image_wh=card.geometry.image_wh,
            expected=card.teacher,
        )
        good = see(teacher, card, inbox, parts, desc="new images")
        bad = see(teacher, card, inbox, defects, desc="defects")
        found = relearn(card, bundle.students, memory, good, bad, settings)
        if found.comparison.reasons and not force:
            return found
        _tell_what_ends(folder, card, memory)
        written = write_bundle(folder, found.card, found.students, overwrite=True)
        # After the bundle: if this is cut off, the same images are learned from again.
        memory.add(
            found.images,
            found.tokens,
            fold_students=found.fold_students,
            students_sha256=written.card.students_sha256,
        )
    return found


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
