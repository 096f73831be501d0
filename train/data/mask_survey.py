"""What the masks of a test set mark, before anything is held against them."""

from collections.abc import Sequence
from dataclasses import dataclass

from runtime.errors import BadImageError
from train.data.dataset import FileSample, Sample

LARGEST_USUAL_SHARE = 0.5
_NAMED = 5


@dataclass(frozen=True, kw_only=True)
class MaskSurvey:
    """What was found.

    Attributes:
        masks: How many were read.
        marked_share: Share of their pixels that they mark.
        large: Masks that mark more than `LARGEST_USUAL_SHARE` of their image, with their share.
    """

    masks: int
    marked_share: float
    large: tuple[tuple[str, float], ...]

    def describe(self) -> str:
        """How they were read, as a sentence; empty without masks."""
        if not self.masks:
            return ""
        return (
            f"{self.masks} masks were read by colour, black being good; they mark "
            f"{100 * self.marked_share:.3g} % of their pixels."
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """Masks that may be inverted."""
        if not self.large:
            return ()
        shown = ", ".join(f"{name} {100 * share:.0f} %" for name, share in self.large[:_NAMED])
        return (
            f"{len(self.large)} masks mark more than {100 * LARGEST_USUAL_SHARE:.0f} % of their "
            f"image, so they may be inverted: {shown}",
        )


def survey_masks(samples: Sequence[Sample]) -> MaskSurvey:
    """Read the masks of files.

    Raises:
        DatasetError: A mask cannot be read, is not as large as its image, or marks everything.
    """
    masks = marked = pixels = 0
    large = []
    for sample in samples:
        if not isinstance(sample, FileSample) or sample.mask_path is None:
            continue
        try:
            mask = sample.mask(*sample.size())
        except BadImageError:
            # The image's own fault is told when its turn comes.
            continue
        if mask is None or not sample.is_defective:
            continue
        masks += 1
        marked += int(mask.sum())
        pixels += mask.size
        if mask.mean() > LARGEST_USUAL_SHARE:
            large.append((sample.name, float(mask.mean())))
    return MaskSurvey(
        masks=masks, marked_share=marked / pixels if pixels else 0.0, large=tuple(large)
    )
