"""Keeping a loaded network's bank of students as the product store says."""

from collections.abc import Mapping
from threading import Lock

from runtime.engines.engine import FillableEngine
from runtime.errors import ModelError
from runtime.products.store.product_store import ProductStore
from runtime.products.store.product_table import ProductTable


class BankFiller:
    """Fills and empties slots when the store's table has changed.

    Args:
        store: The store.
        engine: The network.
        written: SHA-256 of the students that the network was loaded with, by slot; all other slots
            are empty.

    Raises:
        ModelError: The network has another number of slots than the store.
    """

    def __init__(
        self, store: ProductStore, engine: FillableEngine, *, written: Mapping[int, str]
    ) -> None:
        slots = store.table().capacity
        if engine.capacity != slots:
            raise ModelError(
                f"{store.folder} has {slots} slots, and the network's bank {engine.capacity}: they "
                "do not belong together; export the product again"
            )
        self._store = store
        self._engine = engine
        self._seen: ProductTable | None = None
        self._held = [written.get(slot) for slot in range(slots)]
        self._problems: dict[int, str] = {}
        self._lock = Lock()

    def update(self) -> tuple[str, ...]:
        """Bring the bank to what the table says now.

        Costs a look at the table's file where nothing has changed. A slot whose students are
        damaged is emptied, so that its product gets errors and no other product does.

        Returns:
            What was found wrong this time, in words.
        """
        # Read with the lock held: of two threads, the one with the older table must not come last.
        with self._lock:
            table = self._store.table()
            return () if table is self._seen else self._bring_to(table)

    def check(self, slot: int) -> None:
        """Refuse a slot that had to be left empty.

        Raises:
            ModelError: Its students are damaged.
        """
        problem = self._problems.get(slot)
        if problem is not None:
            raise ModelError(problem)

    def _bring_to(self, table: ProductTable) -> tuple[str, ...]:
        problems = []
        for slot in range(table.capacity):
            assignment = table.held(slot)
            wanted = None if assignment is None else assignment.students_sha256
            if wanted == self._held[slot]:
                continue
            self._held[slot] = wanted
            self._problems.pop(slot, None)
            if assignment is None:
                self._engine.clear(slot)
                continue
            try:
                students = self._store.students(assignment.product, assignment.version)
                self._engine.fill(slot, students)
            except ModelError as error:
                self._engine.clear(slot)
                self._problems[slot] = f"slot {slot} is left empty: {error}"
                problems.append(self._problems[slot])
        self._seen = table
        return tuple(problems)
