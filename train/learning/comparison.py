"""Two versions of a product, held against each other by all that is known of its parts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

Evidence: TypeAlias = tuple[str, float, float, float]
"""Name, score, highest map value and mean residual of a good image."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two versions of a product, by all that is known: each at its own threshold.

    Attributes:
        good_images: Of the memory and new ones.
        false_alarms: Of them, before and after.
        defects: Known ones.
        misses: Of them, before and after.
        lost: Names of the defects that were found before and are not after.
        thresholds: Before and after.
    """

    good_images: int
    false_alarms: tuple[int, int]
    defects: int
    misses: tuple[int, int]
    lost: tuple[str, ...]
    thresholds: tuple[float, float]

    @classmethod
    def of(
        cls,
        thresholds: tuple[float, float],
        *,
        good: tuple[Sequence[Evidence], Sequence[Evidence]],
        defects: Sequence[Sequence[float]],
        names: Sequence[str],
    ) -> "Comparison":
        """Compare what both versions make of the same images.

        Args:
            thresholds: Of the version before, and of the one after.
            good: What good images score by each, by students that have not seen them.
            defects: The scores of known defects by each.
            names: Of the defects.
        """
        alarms = [
            sum(score > threshold for _, score, _, _ in scored)
            for threshold, scored in zip(thresholds, good, strict=True)
        ]
        found, finds = (
            [score > threshold for score in scores]
            for threshold, scores in zip(thresholds, defects, strict=True)
        )
        return cls(
            good_images=len(good[0]),
            false_alarms=(alarms[0], alarms[1]),
            defects=len(names),
            misses=(found.count(False), finds.count(False)),
            lost=tuple(
                name
                for name, was, still in zip(names, found, finds, strict=True)
                if was and not still
            ),
            thresholds=thresholds,
        )

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the new version is worse; empty if it is not."""
        found = []
        if self.lost:
            found.append(f"it misses what was found before: {', '.join(self.lost)}")
        if self.misses[1] > self.misses[0]:
            found.append(f"it misses {self.misses[1]} known defects, and {self.misses[0]} before")
        if self.false_alarms[1] > self.false_alarms[0]:
            found.append(f"{self.false_alarms[1]} false alarms, and {self.false_alarms[0]} before")
        return tuple(found)

    def describe(self) -> str:
        """The comparison as a table."""
        return "\n".join(
            (
                f"{'':24}{'before':>10}{'after':>10}",
                f"{'threshold':24}{self.thresholds[0]:>10.4g}{self.thresholds[1]:>10.4g}",
                f"{f'false alarms of {self.good_images}':24}"
                f"{self.false_alarms[0]:>10}{self.false_alarms[1]:>10}",
                f"{f'misses of {self.defects}':24}{self.misses[0]:>10}{self.misses[1]:>10}",
            )
        )
