"""Wrong verdicts that were nearly right, and what they share: where the next step lies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from benchmarks.evaluation.metrics.results import ImageResult
from benchmarks.evaluation.report.pictures import Thumbnail, Trait

MOST_SHOWN = 12
# What lies nearer to the image's border than this share of its shorter side is "at the border".
BORDER_SHARE = 0.06


@dataclass(frozen=True, kw_only=True)
class NearMiss:
    """An image that was judged wrongly.

    Attributes:
        thumbnail: Its picture.
        distance: How far its score lies on the wrong side of the threshold, as a share of it.
        trait: Where it shows what.
    """

    thumbnail: Thumbnail
    distance: float
    trait: Trait = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class NearMisses:
    """Those of one kind.

    Attributes:
        shown: The nearest, the nearest first.
        shared: Sentences on what all of the kind share.
    """

    shown: tuple[NearMiss, ...]
    shared: tuple[str, ...]


def near_misses(
    images: Sequence[ImageResult],
    thumbnails: Sequence[Thumbnail],
    traits: Mapping[str, Trait],
    threshold: float,
    *,
    defective: bool,
) -> NearMisses:
    """Missed defective images, or good ones that were rejected, the nearest to the threshold first.

    Args:
        images: All test images.
        thumbnails: Pictures of those that were judged wrongly, and of others.
        traits: Of all test images, by name.
        threshold: The product's.
        defective: Which kind.
    """
    pictures = {one.row.name: one for one in thumbnails}
    wrong = [row for row in images if row.is_defective is defective and not row.is_right]
    right = [row for row in images if row.is_defective is defective and row.is_right]
    found = sorted(
        (
            NearMiss(
                thumbnail=pictures[row.name],
                distance=abs(row.score - threshold) / max(abs(threshold), 1e-12),
                trait=traits[row.name],
            )
            for row in wrong
        ),
        key=lambda one: one.distance,
    )
    return NearMisses(
        shown=tuple(found[:MOST_SHOWN]),
        shared=tuple(
            _shared(
                [traits[row.name] for row in wrong],
                [traits[row.name] for row in right],
                defective=defective,
            )
        ),
    )


def _shared(wrong: Sequence[Trait], right: Sequence[Trait], *, defective: bool) -> list[str]:
    if not wrong:
        return []
    what = "the largest defect lies" if defective else "the map is highest"
    width = f"within {100 * BORDER_SHARE:.0f} % of its shorter side"
    rightly = f"; of those judged rightly in {_at_border(right)}" if right else ""
    words = [f"In {_at_border(wrong)} {what} at the image's border ({width}){rightly}"]
    sizes = [[one.size_px for one in group if one.size_px is not None] for group in (wrong, right)]
    if sizes[0]:
        words.append(
            f"Half of them have no defect larger than {median(sizes[0]):,.0f} px"
            + (f"; of those found it is {median(sizes[1]):,.0f} px" if sizes[1] else "")
        )
    return [f"{one}." for one in words]


def _at_border(traits: Sequence[Trait]) -> str:
    near = sum(one.border_share < BORDER_SHARE for one in traits)
    return f"{near} of {len(traits)}"
