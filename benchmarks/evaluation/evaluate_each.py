"""Evaluating several products in one command, with their mean."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.evaluation.evaluate import REPORT_NAME, evaluate
from benchmarks.evaluation.metrics.results import (
    METRICS_NAME,
    Metrics,
    check_protocol,
    csv_of_products,
    markdown_table,
    mean_columns,
)
from benchmarks.evaluation.protocol import ProtocolName
from benchmarks.evaluation.report.page import render_summary
from runtime.errors import L2BTError, OptionError
from runtime.inspections.inspection import Inspector
from runtime.storage.atomic_write import atomic_write
from runtime.storage.json_files import read_json, write_json
from train.data.dataset import Dataset
from train.learning.each_product import for_each_product

SUMMARY_SCHEMA = "l2bt.summary/1"


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Several products' numbers, as the `metrics.json` above their folders has them.

    Attributes:
        schema: Version of this file's layout.
        products: Each product's metrics.
        mean: The mean of each column over the products that have it.
        failures: Why products are missing.
    """

    schema: str = SUMMARY_SCHEMA
    products: tuple[Metrics, ...]
    mean: dict[str, float | None]
    failures: dict[str, str]


def evaluate_each(
    products: Sequence[str],
    out: Path,
    *,
    open_dataset_of: Callable[[str], Dataset],
    open_inspector_of: Callable[[str], AbstractContextManager[Inspector]],
    protocol: ProtocolName = "exact",
    report: bool = True,
    overlays: bool = False,
    overwrite: bool = False,
    resume: bool = False,
) -> Summary:
    """Evaluate product after product into `out/PRODUCT`, and write the summary into `out`.

    Args:
        products: Their names.
        out: Folder for all results.
        open_dataset_of: Gives a product's data set.
        open_inspector_of: Gives what inspects a product.
        protocol: Which AU-PRO the tables show.
        report: Whether to write the reports.
        overlays: Whether to write a picture of each image.
        overwrite: Whether older results may be replaced.
        resume: Whether products that have results of this protocol are kept as they are.

    Raises:
        OptionError: `overwrite` and `resume` are both given, `out` holds results and neither is, or
            the protocol is unknown.
        ModelError: `out` holds results of a single product.
        L2BTError: No product could be evaluated.
    """
    if overwrite and resume:
        raise OptionError("--overwrite and --resume exclude each other; give one of them")
    check_protocol(protocol)
    summary_path = out / METRICS_NAME
    if summary_path.exists() and not overwrite:
        if not resume:
            raise OptionError(
                f"{out} holds results already; name another --out, pass --overwrite, or pass "
                "--resume to keep what is there"
            )
        # What is no summary belongs to something else.
        read_json(summary_path, Summary)
    found: dict[str, Metrics] = {}

    def evaluate_one(product: str) -> None:
        folder = out / product
        if resume and (folder / METRICS_NAME).is_file():
            kept = read_json(folder / METRICS_NAME, Metrics)
            if kept.protocol != protocol:
                raise OptionError(
                    f"{folder} has results by the protocol {kept.protocol!r}, and {protocol!r} was "
                    "asked for; pass --overwrite instead of --resume"
                )
            found[product] = kept
            print(f"kept {folder}")
            return
        with open_inspector_of(product) as inspector:
            found[product] = evaluate(
                inspector,
                open_dataset_of(product),
                folder,
                product=product,
                protocol=protocol,
                report=report,
                overlays=overlays,
                overwrite=overwrite,
            ).metrics

    failures = for_each_product(products, evaluate_one, doing="evaluating")
    every = tuple(found.values())
    if not every:
        reasons = "; ".join(f"{product}: {reason}" for product, reason in failures.items())
        raise L2BTError(f"no product could be evaluated: {reasons}")
    summary = Summary(products=every, mean=mean_columns(every), failures=failures)
    atomic_write(out / "metrics.csv", csv_of_products(every))
    missing = [f"{product} failed: {reason}" for product, reason in failures.items()]
    for metrics in every:
        missing += [f"{metrics.product}: {warning}." for warning in metrics.warnings]
        missing += [
            f"{metrics.product}: {name} undefined: {reason}."
            for name, reason in metrics.undefined.items()
        ]
    atomic_write(out / "metrics.md", "\n\n".join([markdown_table(every), *missing]) + "\n")
    if report:
        atomic_write(out / REPORT_NAME, render_summary(every, failures))
    write_json(out / METRICS_NAME, summary)
    return summary
