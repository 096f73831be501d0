"""What a server shall keep by itself, and how its processes know."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.errors import OptionError
from runtime.feedback.reviewed_part import KEPT, Kept

if TYPE_CHECKING:
    from runtime.inspections.inspection import Inspection

DEFAULT_INBOXES = Path("feedback")
"""Folder of all products' inboxes."""
VARIABLE = "L2BT_KEEP"
"""Environment variable by which a server's processes know what to keep."""
BORDERLINE_SHARE = 0.9
"""A good part is nearly rejected from this share of the threshold on."""
SPOOL = ".spool"
"""Folder beside the inboxes, for images whose verdict is not known yet."""


@dataclass(frozen=True, kw_only=True)
class KeepSettings:
    """What a server keeps by itself.

    Attributes:
        keep: Which images: rejected; borderline, which are those for review, and others above nine
            tenths of the threshold; drifted, which are some of those that are accepted while drift
            is raised. None by default.
        keep_limit_gb: Room for the images of a product that nobody has reviewed, in gigabytes; the
            oldest go first, reviewed ones never.
        inboxes: Folder of all products' inboxes.
    """

    keep: tuple[Kept, ...] = ()
    keep_limit_gb: float = 5.0
    inboxes: Path = DEFAULT_INBOXES

    def __post_init__(self) -> None:
        if unknown := [one for one in self.keep if one not in KEPT]:
            raise OptionError(f"keep {unknown[0]!r}: expected {', '.join(KEPT)}")
        if not 0 < self.keep_limit_gb < float("inf"):
            raise OptionError(f"keep_limit_gb is {self.keep_limit_gb}; expected more than 0")

    @property
    def spool(self) -> Path:
        """Where images lie whose verdict is not known yet."""
        return self.inboxes / SPOOL

    def to_environment(self) -> dict[str, str]:
        """What a server's processes find in their environment; empty if nothing is kept."""
        if not self.keep:
            return {}
        inboxes = self.inboxes.resolve()
        try:
            (inboxes / SPOOL).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OptionError(
                f"{inboxes} cannot be written ({error.strerror or error}); name another folder for "
                "what is kept with --inboxes"
            ) from error
        return {VARIABLE: json.dumps([self.keep, self.keep_limit_gb, str(inboxes)])}

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "KeepSettings | None":
        """What `to_environment` said; None if nothing is kept."""
        text = environment.get(VARIABLE)
        if not text:
            return None
        keep, limit_gb, inboxes = json.loads(text)
        return cls(keep=tuple(keep), keep_limit_gb=limit_gb, inboxes=Path(inboxes))

    def kept_as(self, inspection: "Inspection", *, has_drifted: bool = False) -> Kept | None:
        """As what an image is kept, if it is.

        Args:
            inspection: What came of it.
            has_drifted: Whether drift is raised.
        """
        kind: Kept | None = None
        if inspection.is_defective:
            kind = "rejected"
        elif inspection.is_for_review or inspection.score > BORDERLINE_SHARE * inspection.threshold:
            kind = "borderline"
        if has_drifted and kind != "rejected" and kind not in self.keep:
            kind = "drifted"
        return kind if kind in self.keep else None
