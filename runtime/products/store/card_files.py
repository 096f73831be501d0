"""The card of a product on disk: in a bundle, or in a store of products."""

from dataclasses import dataclass, replace
from pathlib import Path

from runtime.errors import OptionError, UnknownProductError
from runtime.geometry.area import InspectionArea
from runtime.products.card import CARD_NAME, Calibration, ProductCard, Threshold
from runtime.products.store.changes import change_card
from runtime.products.store.folder_kinds import require_kind
from runtime.products.store.product_store import ENSEMBLE, ProductStore
from runtime.products.trust.signatures import SIGNATURE_NAME
from runtime.storage.atomic_write import locked


@dataclass(frozen=True, kw_only=True)
class CardFiles:
    """A product's card, and where it stands.

    Attributes:
        path: The file.
        card: What it says.
        store: The store that it is in; a change there is a new version of the product, which is
            active at once. None for a bundle, whose file is replaced.
        is_repository: Whether the store is a model repository's.
        version: The version that the card is of; None for a bundle, which has none.
        lost_signature: Whether a change took a bundle's signature away, which fitted the card
            before alone.
    """

    path: Path
    card: ProductCard
    store: ProductStore | None
    is_repository: bool
    version: int | None = None
    lost_signature: bool = False

    @classmethod
    def find(cls, folder: Path, *, product: str | None = None) -> "CardFiles":
        """Find and read the card.

        Args:
            folder: A product bundle, an exported model or a model repository.
            product: The product's name; may be left out where there is one.

        Raises:
            ModelError: There is none, or it is damaged.
            UnknownProductError: The product is not there, or there are several.
        """
        own = folder / CARD_NAME
        if require_kind(folder, "bundle", "export", "repository") == "bundle":
            card = ProductCard.read(own)
            if product and product != card.product:
                raise UnknownProductError(
                    f"{folder} is the bundle of {card.product!r}, not of {product!r}"
                )
            return cls(path=own, card=card, store=None, is_repository=False)
        store = ProductStore.of(folder)
        served = store.serving(product)
        return cls(
            path=store.card_path(served.card.product, served.version or 0),
            card=served.card,
            store=store,
            is_repository=store.folder.parent.name == ENSEMBLE,
            version=served.version,
        )

    def change_threshold(
        self, threshold: Threshold, calibration: Calibration | None
    ) -> "CardFiles":
        """Write other thresholds."""
        return self._write(replace(self.card, threshold=threshold, calibration=calibration))

    def change_area(self, area: InspectionArea | None) -> "CardFiles":
        """Write another area.

        The thresholds keep their values, but guarantee nothing any more: they were found with the
        area before, and so were the scores that they rest on.
        """
        if area == self.card.area:
            return self
        threshold = self.card.threshold.without_guarantee("found before the area was changed")
        return self._write(replace(self.card, area=area, threshold=threshold, calibration=None))

    def _write(self, card: ProductCard) -> "CardFiles":
        if self.store is None:
            return self._write_bundle(card)
        version = change_card(self.store, card, based_on=self.version or 0)
        path = self.store.card_path(card.product, version)
        return replace(self, card=card, path=path, version=version)

    def _write_bundle(self, card: ProductCard) -> "CardFiles":
        with locked(self.path.parent):
            if ProductCard.read(self.path) != self.card:
                raise OptionError(
                    f"{self.path} was changed by somebody else while this change was being made, "
                    "and theirs would be lost; nothing was changed: look at it again, and repeat "
                    "the change"
                )
            signature = self.path.with_name(SIGNATURE_NAME)
            was_signed = signature.exists()
            card.write(self.path)
            signature.unlink(missing_ok=True)
        return replace(self, card=card, lost_signature=was_signed or self.lost_signature)
