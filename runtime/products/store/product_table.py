"""The table of a product store: which version of which product is active, and in which slot.

It is one small file that is replaced whole. Whoever serves looks at it before each step, so a
change takes effect for all of them at once, between two requests.
"""

from dataclasses import dataclass, field
from pathlib import Path

from runtime.errors import ModelError, UnknownProductError
from runtime.geometry.tile_shape import describe_wh
from runtime.products.card import ProductCard, TeacherCard, check_product_name
from runtime.storage.json_files import check_schema, read_json, require_schema

SCHEMA = "l2bt.products/2"
TABLE_NAME = "table.json"


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """One version of a product in one slot of the bank.

    Versions with the same students, which differ in their thresholds, share a slot.

    Attributes:
        number: Never given twice, so an answer that was begun with it can tell whether the slot
            still held the same students when it was finished.
        slot: From 0.
        product: The product's name.
        version: Its version.
        students_sha256: What the slot holds.
        idle_since_s: Unix time in seconds at which the version ceased to be active; None while it
            is.
    """

    number: int
    slot: int
    product: str
    version: int
    students_sha256: str
    idle_since_s: float | None = None

    def __post_init__(self) -> None:
        # Both are folders' names in the store.
        check_product_name(self.product)
        if self.version < 1:
            raise ValueError(f"version {self.version} of {self.product}; expected 1 or more")


@dataclass(frozen=True, kw_only=True)
class ProductTable:
    """What is served.

    Attributes:
        schema: Version of this file's layout.
        teacher: The frozen network that all products share.
        tile_wh: Width and height of their tiles in px.
        capacity: Slots of the bank of students.
        assignments: What is in the slots; a slot that none names is empty.
        active: The active version of each product that is served.
        previous: The version that was active before it.
        newest: The newest version that a product ever had; no version is given twice.
        next_number: Of the next assignment.
    """

    schema: str = SCHEMA
    teacher: TeacherCard
    tile_wh: tuple[int, int]
    capacity: int
    assignments: tuple[Assignment, ...] = ()
    active: dict[str, int] = field(default_factory=dict)
    previous: dict[str, int] = field(default_factory=dict)
    newest: dict[str, int] = field(default_factory=dict)
    next_number: int = 0

    def __post_init__(self) -> None:
        require_schema(self.schema, SCHEMA)
        if not all(0 <= one.slot < self.capacity for one in self.assignments):
            raise ValueError(f"a slot is not among the {self.capacity} of the bank")
        students = {(one.slot, one.students_sha256) for one in self.assignments}
        if len(students) != len({slot for slot, _ in students}):
            raise ValueError("a slot is given to two pairs of students")
        for product, version in self.active.items():
            if self.find(product, version) is None:
                raise ValueError(f"version {version} of {product} is active and in no slot")

    def find(self, product: str, version: int) -> Assignment | None:
        """The assignment of a version; None if it is in no slot."""
        for one in self.assignments:
            if (one.product, one.version) == (product, version):
                return one
        return None

    def held(self, slot: int) -> Assignment | None:
        """Any of the assignments to a slot, which share their students; None if it is empty."""
        return next((one for one in self.assignments if one.slot == slot), None)

    def serving(self, product: str | None) -> Assignment:
        """The assignment of a product's active version.

        Args:
            product: Its name; may be left out where one product alone is active.

        Raises:
            UnknownProductError: There is no such product, or several and none is named.
        """
        known = ", ".join(sorted(self.active)) or "none"
        if not product:
            if len(self.active) != 1:
                raise UnknownProductError(f"no product is named; this model knows: {known}")
            (product,) = self.active
        if product not in self.active:
            raise UnknownProductError(f"unknown product {product!r}; this model knows: {known}")
        found = self.find(product, self.active[product])
        assert found is not None
        return found

    def check_card(self, card: ProductCard, *, source: Path) -> None:
        """Refuse a product whose students belong to another network.

        Raises:
            ModelError: Its teacher or its tiles' shape are not those of the store.
        """
        if card.teacher != self.teacher:
            raise ModelError(
                f"{source} was trained with the teacher {_describe(card.teacher)}, and the network "
                f"here is {_describe(self.teacher)}; train the product with that one, or export it "
                "on its own"
            )
        if card.geometry.tile_wh != self.tile_wh:
            raise ModelError(
                f"{source} was trained with an input of {describe_wh(card.geometry.tile_wh)}, and "
                f"the network here takes {describe_wh(self.tile_wh)}; train the product with "
                f"--image-size {max(self.tile_wh)} and the geometry of the others, or export it on "
                "its own"
            )


class TableFile:
    """A table on disk, read again when it was replaced.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp: tuple[int, ...] | None = None
        self._table: ProductTable | None = None

    def read(self) -> ProductTable:
        """The table as it is now.

        Raises:
            ModelError: It is missing or damaged.
        """
        try:
            found = self.path.stat()
        except OSError as error:
            raise ModelError(f"{self.path} cannot be read: {error.strerror}") from error
        # Each replacement is another file, whatever the clock's resolution.
        stamp = (found.st_ino, found.st_mtime_ns, found.st_size)
        if self._table is None or stamp != self._stamp:
            check_schema(
                self.path, SCHEMA, advice="export the product, or build the repository, again"
            )
            self._table = read_json(self.path, ProductTable)
            self._stamp = stamp
        return self._table


def _describe(teacher: TeacherCard) -> str:
    first, second = teacher.layers
    return f"{teacher.name}, blocks {first} and {second}, weights {teacher.weights_sha256[:12]}..."
