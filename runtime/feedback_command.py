"""The commands `l2bt feedback ...`: what people say of a product's images."""

import getpass
import json
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from runtime.client.access import ConnectionOptions
from runtime.errors import OptionError
from runtime.feedback.keep_settings import DEFAULT_INBOXES
from runtime.feedback.reviewed_part import Review
from runtime.opening import InspectorOptions


def add(
    product: str,
    *images: Path,
    good: bool = False,
    defect: bool = False,
    box: tuple[int, int, int, int] | None = None,
    mask: Path | None = None,
    by_chance: bool = False,
    who: str | None = None,
    force: bool = False,
    inboxes: Path = DEFAULT_INBOXES,
    options: Annotated[InspectorOptions, Parameter(name="*")] = InspectorOptions(),
    connection: Annotated[ConnectionOptions, Parameter(name="*")] = ConnectionOptions(),
) -> None:
    """Say of images whether the part is good, and keep them in the product's inbox.

    Args:
        product: Its name.
        images: Image files, or folders of them.
        good: The parts are good.
        defect: They have a defect.
        box: Where it is, on a single image: x y width height in px.
        mask: The same as an image of the same size that is not black there.
        by_chance: The good parts were taken by chance, whatever they score, so that thresholds may
            rest on them; not so with parts that were looked at because they were rejected.
        who: Who says so; the user by default.
        force: Take an image too that has another size than the others, or that is said to be good
            and scores far beyond all good ones.
        inboxes: Folder of all products' inboxes.
        options: The model or the server that scores them; left out, they are kept without a score.
        connection: To the server.
    """
    from runtime.feedback.adding import Statement, add_files
    from runtime.feedback.inbox import SHORT, Inbox
    from runtime.feedback.reviewed_part import ReviewedPart
    from runtime.inspections.files import find_images

    if good == defect:
        raise OptionError("say what the parts are: give one of --good and --defect")
    review: Review = "good" if good else "defect"
    statement = Statement(
        review=review,
        who=getpass.getuser() if who is None else who,
        boxes=() if box is None else (box,),
        mask=mask,
        by_chance=by_chance,
        force=force,
    )
    if not images:
        raise OptionError("name at least one image or folder")
    paths = find_images(images)
    failures = 0
    with Inbox(inboxes, product) as inbox:
        scored = options.model is not None or options.server is not None
        inspector = options.open(connection) if scored else None
        try:
            for found in add_files(inbox, paths, statement, inspector=inspector):
                if isinstance(found, ReviewedPart):
                    score = "not scored" if found.score is None else f"score {found.score:.4g}"
                    print(f"{found.sha256[:SHORT]} {found.name}: {found.review}, {score}")
                else:
                    print(f"l2bt: {found}", file=sys.stderr)
                    failures += 1
        finally:
            if inspector is not None:
                inspector.close()
    if failures:
        sys.exit(f"l2bt: {failures} of {len(paths)} images were not taken")


def list_parts(
    product: str,
    *,
    review: Review | None = None,
    unreviewed: bool = False,
    inboxes: Path = DEFAULT_INBOXES,
) -> None:
    """List a product's inbox, one line of JSON an image.

    Args:
        product: Its name.
        review: Only what was said to be so.
        unreviewed: Only what a server kept, and nobody has reviewed.
        inboxes: Folder of all products' inboxes.
    """
    from runtime.feedback.inbox import Inbox

    if unreviewed and review is not None:
        raise OptionError("--unreviewed and --review exclude each other; give one")
    if not (inboxes / product).is_dir():
        raise OptionError(f"{inboxes} holds no inbox of {product!r}; fill one: l2bt feedback add")
    with Inbox(inboxes, product) as inbox:
        for part in inbox.parts(review=review, is_reviewed=False if unreviewed else None):
            print(json.dumps({**vars(part), "path": str(inbox.path(part))}))


def check(
    product: str,
    *,
    inboxes: Path = DEFAULT_INBOXES,
    options: Annotated[InspectorOptions, Parameter(name="*")] = InspectorOptions(),
    connection: Annotated[ConnectionOptions, Parameter(name="*")] = ConnectionOptions(),
) -> None:
    """Inspect all reviewed parts again; the exit status is 1 if a known defect passes.

    For a version that was trained, imported or given another threshold: l2bt learn does this by
    itself.

    Args:
        product: Its name.
        inboxes: Folder of all products' inboxes.
        options: The model or the server that has the version.
        connection: To the server.
    """
    from runtime.feedback.checking import check_known
    from runtime.feedback.inbox import Inbox

    if options.model is None and options.server is None:
        raise OptionError("give one of --model and --server, which has the version to be checked")
    if not (inboxes / product).is_dir():
        raise OptionError(f"{inboxes} holds no inbox of {product!r}; fill one: l2bt feedback add")
    counts = {"good": [0, 0], "defect": [0, 0]}
    with Inbox(inboxes, product) as inbox, options.open(connection) as inspector:
        for one in check_known(inbox, inspector):
            assert one.part.review is not None
            count = counts[one.part.review]
            count[0] += one.is_wrong
            count[1] += 1
            if one.is_wrong:
                print(one.describe())
    (rejected, good), (passed, defects) = counts["good"], counts["defect"]
    print(f"{passed} of {defects} known defects pass, {rejected} of {good} good parts are rejected")
    if passed:
        sys.exit(1)


def remove(product: str, *images: str, inboxes: Path = DEFAULT_INBOXES) -> None:
    """Remove images from a product's inbox, with what was said of them.

    Args:
        product: Its name.
        images: The first characters of their digests, as `l2bt feedback list` shows them.
        inboxes: Folder of all products' inboxes.
    """
    from runtime.feedback.inbox import SHORT, Inbox

    if not images:
        raise OptionError(f"name an image by its digest; see l2bt feedback list {product}")
    if not (inboxes / product).is_dir():
        raise OptionError(f"{inboxes} holds no inbox of {product!r}")
    with Inbox(inboxes, product) as inbox:
        # All are found before the first is removed.
        for part in [inbox.find(beginning) for beginning in images]:
            inbox.remove(part)
            print(f"removed {part.sha256[:SHORT]} {part.name}")
