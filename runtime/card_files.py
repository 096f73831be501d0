"""The cards of a product on disk: in a bundle, an exported model or a Triton model repository."""

from dataclasses import dataclass, replace
from pathlib import Path

from runtime.area import InspectionArea
from runtime.errors import ModelError
from runtime.product import CARD_NAME, Calibration, ProductCard, Threshold


@dataclass(frozen=True, kw_only=True)
class CardFiles:
    """All copies of one product's card in a folder.

    Attributes:
        paths: The files; a model repository has one for each model that reads it.
        card: What they say.
        is_repository: Whether a server has to be started anew to read them again.
    """

    paths: tuple[Path, ...]
    card: ProductCard
    is_repository: bool

    @classmethod
    def find(cls, folder: Path) -> "CardFiles":
        """Find and read the cards.

        Raises:
            ModelError: There is none, one is damaged, or they differ.
        """
        own = folder / CARD_NAME
        paths = (own,) if own.is_file() else tuple(sorted(folder.glob(f"*/*/{CARD_NAME}")))
        if not paths:
            raise ModelError(
                f"{folder} holds no {CARD_NAME}; expected a product bundle (l2bt train), an "
                "exported model (l2bt export) or a model repository (l2bt repository)"
            )
        cards = [ProductCard.read(path) for path in paths]
        if any(card != cards[0] for card in cards):
            raise ModelError(
                f"the cards {', '.join(map(str, paths))} differ; fill the repository again with "
                "l2bt repository"
            )
        return cls(paths=paths, card=cards[0], is_repository=paths[0] != own)

    def change_threshold(
        self, threshold: Threshold, calibration: Calibration | None
    ) -> "CardFiles":
        """Write other thresholds into all copies; each file is replaced whole."""
        return self._write(replace(self.card, threshold=threshold, calibration=calibration))

    def change_area(self, area: InspectionArea | None) -> "CardFiles":
        """Write another area into all copies.

        The thresholds keep their values, but guarantee nothing any more: they were found with the
        area before, and so were the scores that they rest on.
        """
        if area == self.card.area:
            return self
        threshold = self.card.threshold.without_guarantee("found before the area was changed")
        return self._write(replace(self.card, area=area, threshold=threshold, calibration=None))

    def _write(self, card: ProductCard) -> "CardFiles":
        for path in self.paths:
            card.write(path)
        return replace(self, card=card)
