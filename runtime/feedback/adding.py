"""Adding image files to an inbox: scored, and refused where they contradict what is known."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import BadImageError, OptionError
from runtime.feedback.inbox import Inbox
from runtime.feedback.reviewed_part import Box, Review, ReviewedPart
from runtime.images.decode import encoded_size, read_encoded
from runtime.inspections.inspection import Inspection, Inspector
from runtime.products.card import Calibration
from runtime.products.unlike import unlike_bound


@dataclass(frozen=True, kw_only=True)
class Statement:
    """What somebody says of images.

    Attributes:
        review: What they are.
        who: Who says so.
        boxes: Where the defect is, on a single image.
        mask: File of the same size that is not black where the defect is, on a single image.
        by_chance: Good parts were taken by chance, whatever they scored.
        force: Take images too that contradict what is known.
    """

    review: Review
    who: str
    boxes: tuple[Box, ...] = ()
    mask: Path | None = None
    by_chance: bool = False
    force: bool = False

    def __post_init__(self) -> None:
        if not self.who.strip():
            raise OptionError("nobody is named who says so; name somebody with --who")
        if self.review == "good" and (self.boxes or self.mask is not None):
            raise OptionError("--box and --mask mark defects; they belong to --defect")
        if self.by_chance and self.review != "good":
            raise OptionError("--by-chance belongs to --good")
        if self.boxes and self.mask is not None:
            raise OptionError("--box and --mask exclude each other; give one")


def add_files(
    inbox: Inbox, paths: Sequence[Path], statement: Statement, *, inspector: Inspector | None
) -> Iterator[ReviewedPart | BadImageError | OptionError]:
    """Add image files one after the other.

    Args:
        inbox: The product's.
        paths: Of the files.
        statement: What they are.
        inspector: Scores them; without it they have no score, and nothing that a score would
            contradict is noticed.

    Yields:
        What was kept; in place of a file that cannot be taken, the error, which names it.

    Raises:
        OptionError: Boxes or a mask are given for several files.
    """
    if len(paths) > 1 and (statement.boxes or statement.mask is not None):
        raise OptionError(f"--box and --mask belong to one image, and {len(paths)} are given")
    mask = read_encoded(statement.mask) if statement.mask is not None else None
    usual_wh = _usual_wh(inbox.parts())
    calibration = None
    if inspector is not None:
        calibration = inspector.read_card(product=inbox.product).calibration
    for path in paths:
        try:
            content = read_encoded(path)
            _check_size(content, path, usual_wh, statement)
            found = None
            if inspector is not None:
                found = inspector.inspect(content, product=inbox.product, want_map=False)
                if statement.review == "good" and not statement.force:
                    _check_good(found, path, calibration)
            part = inbox.add(
                content,
                name=path.name,
                review=statement.review,
                who=statement.who,
                score=None if found is None else found.score,
                threshold=None if found is None else found.threshold,
                version=None if found is None else found.version,
                boxes=statement.boxes,
                mask=mask,
                by_chance=statement.by_chance,
            )
        except (BadImageError, OptionError) as error:
            yield error if str(path) in str(error) else type(error)(f"{path}: {error}")
            continue
        usual_wh = usual_wh or part.image_wh
        yield part


def _check_good(found: Inspection, path: Path, calibration: Calibration | None) -> None:
    if calibration is None:
        return
    bound = unlike_bound(calibration.scores)
    if found.score > bound:
        raise OptionError(
            f"{path} is said to be good and scores {found.score:.4g}, more than is like the "
            f"{len(calibration.scores)} good images that the thresholds rest on ({bound:.4g}): "
            "look at it again, and insist with --force if it is good"
        )


def _check_size(
    content: bytes, path: Path, usual_wh: tuple[int, int] | None, statement: Statement
) -> None:
    height, width = encoded_size(content, name=str(path))
    if usual_wh in (None, (width, height)) or statement.force:
        return
    assert usual_wh is not None
    raise OptionError(
        f"{path} has {width} x {height} px, and the product's other images have {usual_wh[0]} x "
        f"{usual_wh[1]}; insist with --force if the camera has changed"
    )


def _usual_wh(parts: Iterable[ReviewedPart]) -> tuple[int, int] | None:
    sizes = [part.image_wh for part in parts]
    return max(sizes, key=sizes.count) if sizes else None
