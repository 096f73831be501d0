"""Which images a product's students were trained on, as its card keeps it: by parts of digests.

Four bytes of each image's SHA-256 take a thousand images 8 kB of a card; that an image is taken for
one of them by chance has a probability of one in four million with a thousand.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from runtime.products.card import ProductCard

EVIDENCE = "trained_images"
_MOST = 5000
_CHARACTERS = 8


def image_digest(content: bytes) -> str:
    """The part of a file's digest that cards keep."""
    return hashlib.sha256(content).hexdigest()[:_CHARACTERS]


def evidence_of(digests: Iterable[str]) -> dict[str, str | int | float | None]:
    """What a card's training evidence holds of the images; nothing where they are too many."""
    found = sorted(set(digests))
    return {EVIDENCE: "".join(found)} if len(found) <= _MOST else {}


def trained_on(card: ProductCard, paths: Iterable[Path]) -> list[Path] | None:
    """Those of the files that the students were trained on.

    Returns:
        The files; None if the card does not tell.

    Raises:
        OSError: A file cannot be read.
    """
    kept = card.training.get(EVIDENCE)
    if not isinstance(kept, str):
        return None
    known = {kept[at : at + _CHARACTERS] for at in range(0, len(kept), _CHARACTERS)}
    return [path for path in paths if image_digest(path.read_bytes()) in known]
