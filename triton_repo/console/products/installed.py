"""The products of the server's repository, as the console shows them."""

from dataclasses import dataclass
from pathlib import Path

from runtime.errors import UnknownProductError
from runtime.products.card import ProductCard
from runtime.products.store.product_store import ProductStore
from runtime.products.store.trusted_keys import trusted_keys


@dataclass(frozen=True, kw_only=True)
class Version:
    """One version of a product.

    Attributes:
        number: Counted from 1.
        card: Its card.
        is_active: Whether it is served.
        was_before: Whether rolling back leads to it.
    """

    number: int
    card: ProductCard
    is_active: bool
    was_before: bool


@dataclass(frozen=True, kw_only=True)
class Product:
    """A product with all its versions.

    Attributes:
        name: Its name.
        versions: The newest first.
    """

    name: str
    versions: tuple[Version, ...]

    @property
    def active(self) -> Version | None:
        """The version that is served; None if it is retired."""
        return next((one for one in self.versions if one.is_active), None)

    @property
    def can_roll_back(self) -> bool:
        """Whether another version was active before."""
        return any(one.was_before for one in self.versions)

    def alike(self, version: Version) -> tuple[int, ...]:
        """Numbers of the versions that score as this one: same students, area and geometry."""
        return tuple(
            one.number
            for one in self.versions
            if one.card.students_sha256 == version.card.students_sha256
            and one.card.area == version.card.area
            and one.card.geometry == version.card.geometry
        )


class Installed:
    """What is in a model repository; read anew at each question, since others change it too.

    Args:
        repository: What l2bt repository wrote.
    """

    def __init__(self, repository: Path) -> None:
        self.repository = repository

    def store(self) -> ProductStore:
        """The repository's store.

        Raises:
            ModelError: There is none.
        """
        return ProductStore.of(self.repository)

    def all(self) -> list[Product]:
        """All products.

        Raises:
            ModelError: There is no repository, or it is damaged.
        """
        store = self.store()
        return [_product(store, name) for name in store.products()]

    def one(self, name: str) -> Product:
        """The product of a name.

        Raises:
            UnknownProductError: There is none.
            ModelError: There is no repository, or it is damaged.
        """
        store = self.store()
        known = store.products()
        if name not in known:
            raise UnknownProductError(
                f"unknown product {name!r}; there are: {', '.join(known) or 'none'}"
            )
        return _product(store, name)

    def keys(self) -> tuple[str, ...]:
        """Names of the keys that a bundle must be signed with; none if any bundle is taken.

        Raises:
            ModelError: There is no repository, or it is damaged.
        """
        return tuple(sorted(trusted_keys(self.store())))


def _product(store: ProductStore, name: str) -> Product:
    table = store.table()
    active, previous = table.active.get(name), table.previous.get(name)
    return Product(
        name=name,
        versions=tuple(
            Version(
                number=number,
                card=store.card(name, number),
                is_active=number == active,
                was_before=number == previous,
            )
            for number in reversed(store.versions(name))
        ),
    )
