"""What a person says of a part: into the archive, and into the product's inbox with its image."""

from collections.abc import Sequence
from pathlib import Path

from runtime.errors import OptionError
from runtime.feedback.inbox import Inbox
from runtime.feedback.reviewed_part import Box, Review, ReviewedPart
from triton_repo.console.archive.inspections import Inspections, Row


def say_of(
    inspections: Inspections,
    inboxes: Path,
    number: int,
    review: Review,
    *,
    who: str,
    boxes: Sequence[Box] = (),
) -> bool:
    """Write down what somebody says of an inspected part.

    Args:
        inspections: The archive's.
        inboxes: Folder of all products' inboxes.
        number: Of the inspection.
        review: What it is.
        who: Who says so.
        boxes: Where the defect is.

    Returns:
        Whether its image was kept by the server, so that the product can learn from it.

    Raises:
        OptionError: There is no such inspection, or a box lies outside.
        ModelError: The inbox is damaged.
    """
    row = inspections.one(number)
    if boxes and review == "good":
        raise OptionError("boxes mark defects, and the part is said to be good; remove them first")
    for x, y, width, height in boxes:
        inside = 0 <= x < x + width <= row["width_px"] and 0 <= y < y + height <= row["height_px"]
        if not inside:
            raise OptionError(
                f"box {x} {y} {width} {height} does not lie in the image, which has "
                f"{row['width_px']} x {row['height_px']} px"
            )
    is_kept = False
    if (inboxes / row["product"]).is_dir():
        with Inbox(inboxes, row["product"]) as inbox:
            part = _kept(inbox, row)
            if part is not None:
                content = inbox.content(part)
                if part.review is not None and part.kept is not None:
                    inbox.take_back(part)
                inbox.add(content, name=part.name, review=review, who=who, boxes=boxes)
                is_kept = True
    inspections.review(number, review, who=who, boxes=boxes)
    return is_kept


def take_back(inspections: Inspections, inboxes: Path, number: int) -> None:
    """Take back what was said of an inspected part.

    Raises:
        OptionError: There is no such inspection.
        ModelError: The inbox is damaged.
    """
    row = inspections.one(number)
    if (inboxes / row["product"]).is_dir():
        with Inbox(inboxes, row["product"]) as inbox:
            part = _kept(inbox, row)
            if part is not None and part.kept is not None:
                inbox.take_back(part)
    inspections.review(number, None, who="")


def _kept(inbox: Inbox, row: Row) -> ReviewedPart | None:
    return inbox.find_kept(sha256=row["image_sha256"], name=row["request_id"])
