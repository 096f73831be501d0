"""Holding a product's present version against all that people have said of its parts."""

from collections.abc import Iterator
from dataclasses import dataclass

from runtime.errors import BadImageError
from runtime.feedback.inbox import Inbox
from runtime.feedback.reviewed_part import ReviewedPart
from runtime.inspections.inspection import Inspection, Inspector


@dataclass(frozen=True, kw_only=True)
class Checked:
    """One reviewed part, and what the present version says of it.

    Attributes:
        part: As it was reviewed.
        found: What is said now.
    """

    part: ReviewedPart
    found: Inspection

    @property
    def is_wrong(self) -> bool:
        """Whether a known defect passes, or a good part is rejected."""
        return self.found.is_defective != (self.part.review == "defect")

    def describe(self) -> str:
        """In words, for one that is wrong."""
        what = "known defect passes" if self.part.review == "defect" else "good part is rejected"
        before = ""
        if self.part.score is not None and self.part.threshold is not None:
            before = f"; when it was added {self.part.score / self.part.threshold:.0%}"
        return (
            f"{what}: {self.part.name} scores {self.found.score:.4g}, "
            f"{self.found.score / self.found.threshold:.0%} of the threshold{before}"
        )


def check_known(inbox: Inbox, inspector: Inspector) -> Iterator[Checked]:
    """Inspect all reviewed parts of an inbox.

    Args:
        inbox: The product's.
        inspector: Has the version that is to be checked.

    Raises:
        ModelError: An image is missing or was changed.
        BadImageError: The product does not look at images of that size.
    """
    for part in inbox.parts(is_reviewed=True):
        content = inbox.content(part)
        try:
            found = inspector.inspect(content, product=inbox.product, want_map=False)
        except BadImageError as error:
            raise BadImageError(f"{part.name}: {error}") from error
        yield Checked(part=part, found=found)
