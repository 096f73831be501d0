"""What is to be done where drift is raised, and the images that show what has changed."""

from collections.abc import Collection
from pathlib import Path

from runtime.feedback.inbox import Inbox
from runtime.products.drift import FEWEST_PARTS

_MOST_IMAGES = 6


def advise(product: str, raised: Collection[str], *, version: int | None, inboxes: Path) -> str:
    """What to do, as text.

    Args:
        product: Its name.
        raised: What raised drift: score, residual, rejects.
        version: The product's active version.
        inboxes: Folder of all products' inboxes, in which the server keeps images.

    Raises:
        ModelError: The inbox is damaged.
    """
    lines = ["what to do:"]
    if "rejects" in raised:
        lines.append(
            "  More parts are rejected than good parts alone would be. Look at rejected images. If "
            "they show defects, the line makes them; if they are good, say so and let the product "
            f"learn: l2bt feedback add {product} IMAGES --good; l2bt learn products/{product}"
        )
    if {"score", "residual"} & set(raised):
        lines.append(
            "  Accepted parts look different too. Hold the images below against those that the "
            "product was trained on: light, focus, position, a worn lens. If that can be mended, "
            "mend it and learn nothing. If parts shall look so from now on (another material), "
            f"take {FEWEST_PARTS} or more of them by chance: l2bt feedback add {product} IMAGES "
            f"--good --by-chance; l2bt learn products/{product}"
        )
    return "\n".join([*lines, *_images(product, raised, version=version, inboxes=inboxes)])


def _images(
    product: str, raised: Collection[str], *, version: int | None, inboxes: Path
) -> list[str]:
    """The newest images that a server kept, for each reason that has to do with what raised."""
    parts = []
    if (inboxes / product).is_dir():
        with Inbox(inboxes, product) as inbox:
            parts = [(part, inbox.path(part)) for part in inbox.parts() if part.version == version]
    lines = []
    wanted = ["rejected"] if "rejects" in raised else []
    wanted += ["drifted"] if {"score", "residual"} & set(raised) else []
    for kept in wanted:
        newest = [(part, path) for part, path in parts if part.kept == kept][-_MOST_IMAGES:]
        if not newest:
            lines.append(
                f"  {inboxes} holds no {kept} image of version {version}; a server keeps them if "
                f"told so: l2bt serve --keep {' '.join(wanted)}"
            )
        for part, path in reversed(newest):
            assert part.score is not None and part.threshold is not None
            said = f", {part.review} as {part.who} says" if part.review else ""
            lines.append(
                f"  {kept} {part.at}: {path} ({part.score:.4g}, {part.score / part.threshold:.0%} "
                f"of the threshold{said})"
            )
    return lines
