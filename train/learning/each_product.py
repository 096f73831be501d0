"""Doing the same for several products: one that fails does not stop the others."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from runtime.errors import L2BTError, OptionError
from train.data.open_dataset import list_products

ALL = "all"

logger = logging.getLogger("l2bt.train")


def chosen_products(
    data: str | Path, *, product: str | None, products: Sequence[str] | None, layout: str
) -> tuple[str, ...] | None:
    """The products that the options name; None where they speak of a single one.

    Args:
        data: The data set's root.
        product: The option for one product.
        products: The option for several; "all" is all that the data set holds.
        layout: The data set's layout.

    Raises:
        OptionError: Both options are given, or a product is named that the data set lacks.
        DatasetError: The data set cannot be read.
    """
    if products is None:
        return None
    if product is not None:
        raise OptionError("--product and --products exclude each other; give one of them")
    if not products:
        raise OptionError('--products names none; give names, or "all"')
    known = list_products(data, layout=layout)
    if list(products) == [ALL]:
        return known
    if unknown := [name for name in products if name not in known]:
        raise OptionError(f"{data} has no product {', '.join(unknown)}; it has: {', '.join(known)}")
    return tuple(dict.fromkeys(products))


def for_each_product(
    products: Sequence[str], action: Callable[[str], None], *, doing: str
) -> dict[str, str]:
    """Run the action for each product, and go on after a failure.

    Args:
        products: The products.
        action: What to do with one.
        doing: What it is called, such as "training".

    Returns:
        Why it failed, by product; a bug's traceback goes to the log.
    """
    failures: dict[str, str] = {}
    for number, product in enumerate(products, start=1):
        logger.info("[%d/%d] %s %s", number, len(products), doing, product)
        try:
            action(product)
        except L2BTError as error:
            failures[product] = str(error)
        except Exception as error:
            logger.exception("a fault of this program's")
            failures[product] = repr(error)
        if product in failures:
            logger.warning("%s failed: %s", product, failures[product])
    return failures


def end_with_failures(failures: dict[str, str], *, of: int, doing: str) -> None:
    """Raise the list of what failed, if anything did.

    Raises:
        L2BTError: Something did.
    """
    if failures:
        lines = [f"  {product}: {reason}" for product, reason in failures.items()]
        raise L2BTError("\n".join([f"{doing} failed for {len(failures)} of {of} products", *lines]))
