"""An image whose right answer is known: nobody is fast by being wrong."""

from dataclasses import dataclass

from runtime.images.decode import ImageArray

# A score in process and through the server, or on other threads, adds in another order.
_TOLERANCE = 1e-5


@dataclass(frozen=True, kw_only=True)
class Question:
    """An image or its file's bytes, its product, and the score that it has in process.

    Attributes:
        tolerance: How far another score may be off, as a share of it. In FP16 a batch of another
            size may round otherwise.
    """

    image: ImageArray | bytes
    product: str
    score: float
    tolerance: float = _TOLERANCE

    def is_right(self, score: float) -> bool:
        """Whether an answer is the detector's."""
        return abs(score - self.score) <= self.tolerance * abs(self.score)
