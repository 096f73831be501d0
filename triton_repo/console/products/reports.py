"""The reports that evaluating a product left."""

import json
from pathlib import Path
from typing import Any

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


def _product_of(metrics: Path) -> Any:
    try:
        return json.loads(metrics.read_bytes()).get("product")
    except (OSError, ValueError, AttributeError):
        return None
