"""The reports that evaluating a product left."""

import logging
from pathlib import Path

import msgspec

logger = logging.getLogger("l2bt.console")

REPORT_NAME = "report.html"
_METRICS_NAME = "metrics.json"


def find_report(reports: Path, product: str) -> Path | None:
    """The report of a product's latest evaluation.

    Args:
        reports: Folder that l2bt evaluate --out named: of this product, or with a folder for each.
        product: Its name.

    Returns:
        The page, which needs nothing beside it; None if there is none of this product.
    """
    for folder in (reports / product, reports):
        report = folder / REPORT_NAME
        if report.is_file() and _product_of(folder / _METRICS_NAME) == product:
            return report
    return None


class _Metrics(msgspec.Struct):
    # That of several products names none.
    product: str = ""


def _product_of(metrics: Path) -> str | None:
    try:
        return msgspec.json.decode(metrics.read_bytes(), type=_Metrics).product
    except FileNotFoundError:
        # It is written last: without it the others are not whole.
        return None
    except msgspec.DecodeError as error:
        logger.warning("%s cannot be read, and its report is not shown: %s", metrics, error)
        return None
