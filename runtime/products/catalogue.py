"""Which products an inspector holds: one, or a store of many."""

from dataclasses import dataclass
from typing import Protocol

from runtime.errors import UnknownProductError
from runtime.products.card import ProductCard


@dataclass(frozen=True, kw_only=True)
class ServedProduct:
    """One version of a product in its slot.

    Attributes:
        number: Of its assignment to the slot.
        slot: Its place in the bank of students.
        version: Its version; None for a bundle, which has none.
        card: Its card.
    """

    number: int
    slot: int
    version: int | None
    card: ProductCard


class Catalogue(Protocol):
    """What gives a product by its name."""

    def serving(self, product: str | None = None) -> ServedProduct:
        """The active version of a product.

        Args:
            product: Its name; may be left out where one product alone is active.

        Raises:
            UnknownProductError: There is no such product, or several and none is named.
        """

    def assigned(self, number: int) -> ServedProduct | None:
        """The product of an assignment, as long as it is in its slot; None afterwards."""


class SingleProduct:
    """The catalogue of one product that does not change."""

    def __init__(self, card: ProductCard, *, slot: int = 0) -> None:
        self._served = ServedProduct(number=0, slot=slot, version=None, card=card)

    def serving(self, product: str | None = None) -> ServedProduct:
        """The product; see `Catalogue.serving`."""
        known = self._served.card.product
        if product and product != known:
            raise UnknownProductError(f"unknown product {product!r}; this model knows: {known}")
        return self._served

    def assigned(self, number: int) -> ServedProduct | None:
        """The product."""
        return self._served
