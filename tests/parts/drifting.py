"""A product whose drift is raised whatever it sees."""

from dataclasses import replace
from pathlib import Path

from runtime.products.conformal import calibrate, choose_threshold
from runtime.products.store.changes import change_card
from runtime.products.store.product_store import ProductStore


def let_drift(repository: Path) -> int:
    """Have a card say that its good images scored far lower than any part does.

    Args:
        repository: A model repository with version 1 of "plate" alone.

    Returns:
        The new version, which is active.
    """
    store = ProductStore.of(repository)
    card = store.card("plate", 1)
    rows = [(str(number), 1e-4 * (number + 1), 1.0, 1e-4 * (number + 1)) for number in range(60)]
    calibration = calibrate([*rows, ("highest", 1e6, 1e6, 1e6)])
    lower = replace(card, calibration=calibration, threshold=choose_threshold(calibration))
    return change_card(store, lower, based_on=1)
