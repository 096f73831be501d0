"""The commands of this room: evaluate, parity, demo."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from benchmarks.evaluation.protocol import ProtocolName
from runtime.client.access import ConnectionOptions
from runtime.opening import InspectorOptions

if TYPE_CHECKING:
    from benchmarks.evaluation.metrics.results import Metrics
    from runtime.client.client import Client
    from runtime.detector import EngineDetector


def evaluate(
    *,
    data: str,
    product: str | None = None,
    products: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
    layout: str = "auto",
    protocol: ProtocolName = "exact",
    out: Path = Path("results"),
    report: Annotated[bool, Parameter(negative="--no-report")] = True,
    overlays: bool = False,
    overwrite: bool = False,
    resume: bool = False,
    options: Annotated[InspectorOptions, Parameter(name="*")] = InspectorOptions(),
    connection: Annotated[ConnectionOptions, Parameter(name="*")] = ConnectionOptions(),
) -> None:
    """Inspect a labelled test set; write metrics (JSON, CSV, Markdown) and report.html.

    Args:
        data: Root folder of the data set, or "synthetic".
        product: Class or product; needed in the layouts visa, visa-prepared and mvtec. The model is
            refused if it holds another.
        products: Several of them, or "all": --model is then the folder that holds one for each;
            results in OUT/PRODUCT, and their mean in OUT. One that fails does not stop the others.
        layout: visa, visa-prepared, mvtec, folder or synthetic; "auto" tells it by its folders.
        protocol: AU-PRO in the tables: exact, over every threshold; or paper, at the 99 thresholds
            of the paper's authors.
        out: Folder for the results.
        report: Write report.html.
        overlays: Write a picture of each image to OUT/overlays.
        overwrite: Replace older results in OUT.
        resume: With --products: keep the results of those that have some.
        options: The model or the server.
        connection: To the server: patience, priority, TLS and token.
    """
    from benchmarks.evaluation.evaluate import evaluate as run
    from benchmarks.evaluation.evaluate_each import evaluate_each
    from benchmarks.evaluation.metrics.results import markdown_table
    from runtime.errors import OptionError
    from train.data.open_dataset import open_dataset
    from train.learning.each_product import chosen_products, end_with_failures

    def open_one(product: str) -> "EngineDetector | Client":
        folder = options.model / product if options.model is not None else None
        return replace(options, model=folder).open(connection)

    chosen = chosen_products(data, product=product, products=products, layout=layout)
    if chosen is None:
        if resume:
            raise OptionError("--resume belongs to --products")
        dataset = open_dataset(data, product=product, layout=layout)
        with options.open(connection) as inspector:
            evaluation = run(
                inspector,
                dataset,
                out,
                product=product,
                protocol=protocol,
                report=report,
                overlays=overlays,
                overwrite=overwrite,
            )
        _print_reservations(evaluation.metrics)
        print(markdown_table([evaluation.metrics]))
        print(out)
        _end_with_failed(evaluation.metrics)
        return
    summary = evaluate_each(
        chosen,
        out,
        open_dataset_of=lambda name: open_dataset(data, product=name, layout=layout),
        open_inspector_of=open_one,
        protocol=protocol,
        report=report,
        overlays=overlays,
        overwrite=overwrite,
        resume=resume,
    )
    for metrics in summary.products:
        _print_reservations(metrics)
    print(markdown_table(summary.products))
    print(out)
    end_with_failures(summary.failures, of=len(chosen), doing="evaluation")
    _end_with_failed(*summary.products)


def parity(
    *,
    reference: str,
    candidate: Annotated[list[str], Parameter(consume_multiple=True)],
    data: str,
    product: str | None = None,
    layout: str = "auto",
    images: int | None = None,
    decision_flips: int = 0,
    mean_map_error: float = 0.01,
    score_error: float = 0.01,
    stress: float | None = None,
    teacher_weights: Path | None = None,
    engines: Path | None = None,
    out: Path | None = None,
) -> None:
    """Hold ways of running a product against each other: maps, scores and decisions.

    The exit status is 1 if a candidate may not stand in for the reference.

    Args:
        reference: The way that is right: a bundle, an exported model or HOST:PORT. A suffix says
            how it runs; a bundle: @fp32, @bf16, @fp16 in PyTorch, @half as FP16 export, emulated,
            @naive with everything in FP16, emulated; an exported model: @f32, @bf16, @fp16 in
            OpenVINO, @half emulated, @tensorrt.
        candidate: The ways to hold against it.
        data: Root folder of the data set, or "synthetic".
        product: Class or product; needed in the layouts visa, visa-prepared and mvtec.
        layout: visa, visa-prepared, mvtec, folder or synthetic; "auto" tells it by its folders.
        images: How many test images, evenly spaced; all by default.
        decision_flips: Images that may be judged otherwise.
        mean_map_error: Largest allowed mean difference of a map, in units of the map's spread.
        score_error: Largest allowed relative difference of a score.
        stress: Factor on the teacher's residual stream, for bundles: the function stays, but FP16
            must bear large activations.
        teacher_weights: The local file of a bundle's teacher, if it was trained with one.
        engines: For @tensorrt: folder of all engines; trt_engines by default.
        out: Folder for parity.md and parity.json; none by default.
    """
    from benchmarks.evaluation.parity.compare import ParityLimits
    from benchmarks.evaluation.parity.contenders import Places
    from benchmarks.evaluation.parity.run import markdown_table, run_parity, write_results
    from benchmarks.evaluation.parity.stress import Stress
    from runtime.models.built_engines import ENGINES
    from train.data.open_dataset import open_dataset

    limits = ParityLimits(
        decision_flips=decision_flips, mean_map_error=mean_map_error, score_error=score_error
    )
    results = run_parity(
        reference,
        candidate,
        open_dataset(data, product=product, layout=layout),
        images=images,
        limits=limits,
        places=Places(
            stress=Stress(residual=stress) if stress is not None else None,
            teacher_weights=teacher_weights,
            engines=engines or ENGINES,
        ),
    )
    print(markdown_table(results))
    if out is not None:
        title = f"{product or data}" + (f", residual stream x {stress:g}" if stress else "")
        write_results(results, out, title=title)
        print(out)
    failed = [result.candidate for result in results if not result]
    if failed:
        sys.exit(f"l2bt: not the same as {reference}: {'; '.join(failed)}")


def _end_with_failed(*every: "Metrics") -> None:
    if count := sum(len(metrics.failed) for metrics in every):
        sys.exit(f"l2bt: {count} test images could not be inspected, and are in no number")


def _print_reservations(metrics: "Metrics") -> None:
    if metrics.masks:
        print(f"{metrics.product}: {metrics.masks}", file=sys.stderr)
    for warning in metrics.warnings:
        print(f"warning: {metrics.product}: {warning}", file=sys.stderr)
    for name, reason in metrics.undefined.items():
        print(f"{metrics.product}: {name} undefined: {reason}", file=sys.stderr)


def demo(*, out: Path = Path("demo"), overwrite: bool = False) -> None:
    """Learn a drawn product, serve it from a real Triton server, and inspect new images.

    Args:
        out: Folder for everything that the demo makes.
        overwrite: Replace an existing folder.
    """
    from benchmarks.demo import run_demo

    print(run_demo(out, overwrite=overwrite))
