"""The product store: numbered, immutable versions of products, beside the network that they share.

    products/
      table.json                          which version is active, and in which slot of the bank
      macaroni1/1/product.json            the card of version 1
      macaroni1/1/students.safetensors    its students

An exported model and a model repository each have one. This module reads; `change_products` writes.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from runtime.engines.bank_weights import Tensors
from runtime.errors import ModelError
from runtime.products.card import CARD_NAME, ProductCard, check_product_name, is_product_name
from runtime.products.catalogue import ServedProduct
from runtime.products.store.product_table import TABLE_NAME, Assignment, ProductTable, TableFile
from runtime.products.students_file import STUDENTS_NAME, check_students, read_students

STORE = "products"
# The ensemble's name, and so its folder's in a model repository.
ENSEMBLE = "l2bt"
# In a model repository it stands where Triton looks for nothing: in a model's folder, and not named
# by a number.
_PLACES = (Path(STORE), Path(ENSEMBLE) / STORE)


class ProductStore:
    """A store on disk. What is active may change at any time; versions never do.

    Args:
        folder: The store.

    Raises:
        ModelError: It is none.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file = TableFile(folder / TABLE_NAME)
        self._cards: dict[tuple[str, int], ProductCard] = {}
        self._file.read()

    @classmethod
    def of(cls, owner: Path) -> "ProductStore":
        """The store of an exported model or a model repository.

        Raises:
            ModelError: The folder is neither, or of an older version.
        """
        for place in _PLACES:
            if (owner / place / TABLE_NAME).is_file():
                return cls(owner / place)
        raise ModelError(
            f"{owner} holds no products; expected an exported model (l2bt export) or a model "
            "repository (l2bt repository)"
        )

    def table(self) -> ProductTable:
        """What is active now.

        Raises:
            ModelError: The table is damaged.
        """
        return self._file.read()

    def serving(self, product: str | None = None) -> ServedProduct:
        """The active version of a product; see `Catalogue.serving`.

        Raises:
            UnknownProductError: There is no such product, or several and none is named.
            ModelError: The store is damaged.
        """
        return self._served(self.table().serving(product))

    def assigned(self, number: int) -> ServedProduct | None:
        """The product of an assignment, as long as it is in its slot; None afterwards."""
        for one in self.table().assignments:
            if one.number == number:
                return self._served(one)
        return None

    def product_folder(self, product: str) -> Path:
        """Where a product's versions stand.

        Raises:
            OptionError: The name is none for a product, and might lead out of the store.
        """
        return self.folder / check_product_name(product)

    def version_folder(self, product: str, version: int) -> Path:
        """Where a version stands."""
        return self.product_folder(product) / str(version)

    def card_path(self, product: str, version: int) -> Path:
        """Where a version's card stands."""
        return self.version_folder(product, version) / CARD_NAME

    def versions(self, product: str) -> tuple[int, ...]:
        """All versions of a product, the oldest first; none if it is unknown."""
        if not is_product_name(product) or not self.product_folder(product).is_dir():
            return ()
        names = (path.name for path in self.product_folder(product).iterdir())
        return tuple(sorted(int(name) for name in names if re.fullmatch("[1-9][0-9]*", name)))

    def products(self) -> tuple[str, ...]:
        """All products that have a version, active or not."""
        names = (path.name for path in self.folder.iterdir() if path.is_dir())
        return tuple(sorted(name for name in names if self.versions(name)))

    def card(self, product: str, version: int) -> ProductCard:
        """A version's card.

        Raises:
            ModelError: There is no such version, or its card is damaged.
        """
        key = product, version
        if key not in self._cards:
            self._cards[key] = ProductCard.read(self.card_path(*key))
        return self._cards[key]

    def students(self, product: str, version: int) -> Tensors:
        """A version's weights, checked against its card.

        Raises:
            ModelError: There is no such version, or it is damaged.
        """
        path = self.version_folder(product, version) / STUDENTS_NAME
        return read_students(path, sha256=self.card(product, version).students_sha256)

    def check(self) -> None:
        """Check every version that is in a slot.

        Raises:
            ModelError: A card or its students are damaged, or belong to another network.
        """
        table = self.table()
        for assignment in table.assignments:
            folder = self.version_folder(assignment.product, assignment.version)
            card = ProductCard.read(folder / CARD_NAME)
            if card.product != assignment.product:
                raise ModelError(
                    f"{folder / CARD_NAME} is the card of {card.product!r}; put back that of "
                    f"{assignment.product!r}"
                )
            if card.students_sha256 != assignment.students_sha256:
                raise ModelError(
                    f"{folder / CARD_NAME} is the card of other students than {TABLE_NAME} names; "
                    "put back the one that was added"
                )
            table.check_card(card, source=folder)
            check_students(folder / STUDENTS_NAME, sha256=assignment.students_sha256)

    def _served(self, assignment: Assignment) -> ServedProduct:
        return ServedProduct(
            number=assignment.number,
            slot=assignment.slot,
            version=assignment.version,
            card=self.card(assignment.product, assignment.version),
        )


class WrittenProducts:
    """The products of a store whose students a network was built with, and cannot be given later.

    Args:
        store: The store.
        written: SHA-256 of the students in the network, by slot.
        advice: What to do about a product that is not in it.
    """

    def __init__(self, store: ProductStore, written: Mapping[int, str], *, advice: str) -> None:
        self._store = store
        self._written = written
        self._advice = advice

    def serving(self, product: str | None = None) -> ServedProduct:
        """The active version of a product; see `Catalogue.serving`.

        Raises:
            UnknownProductError: There is no such product, or several and none is named.
            ModelError: The network does not hold its students.
        """
        served = self._store.serving(product)
        if self._written.get(served.slot) != served.card.students_sha256:
            raise ModelError(
                f"version {served.version} of {served.card.product} is active, and the network was "
                f"built with other students; {self._advice}"
            )
        return served

    def assigned(self, number: int) -> ServedProduct | None:
        """The product of an assignment, as long as it is in its slot; None afterwards."""
        return self._store.assigned(number)
