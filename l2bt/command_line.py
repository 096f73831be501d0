"""The command `l2bt`: it gathers the rooms' commands, and imports the one that is asked for."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from cyclopts import App

# Each command is written in the room that it belongs to, and only that room is imported.
_COMMANDS = {
    "train": ("train.command:train", "Learn a product from good images."),
    "sweep": ("train.command:sweep", "Train products in many ways, and tell which is best."),
    "learn": ("train.command:learn", "Learn from the good parts in a product's inbox."),
    "export": ("export.command:export", "Export a product as one fused ONNX file."),
    "engine": ("trt_engines.command:engine", "Build and prove a TensorRT engine."),
    "repository": ("triton_repo.command:repository", "Fill a Triton model repository."),
    "serve": ("triton_repo.command:serve", "Run the Triton server."),
    "follow": (
        "triton_repo.command:follow",
        "Keep a server's copy of a model repository up with a shared one.",
    ),
    "console": (
        "triton_repo.console.command:console",
        "Open a web page for the people at the line.",
    ),
    "line": ("runtime.station_command:line", "Run a station: cameras in, signals out."),
    "ping": ("triton_repo.command:ping", "See whether a server works, by a tiny inspection."),
    "certificates": ("triton_repo.command:certificates", "Make certificates to try TLS with."),
    "doctor": ("triton_repo.command:doctor", "Look over this machine and say what to do."),
    "inspect": ("runtime.command:inspect", "Inspect images; one JSON line and one picture each."),
    "score": (
        "runtime.score_command:score",
        "Score a folder, a list or a bucket into one table, on one machine or many.",
    ),
    "threshold": (
        "runtime.command:threshold",
        "Show or change a product's thresholds, without training.",
    ),
    "area": ("runtime.command:area", "Show or change where a product's images are looked at."),
    "evaluate": ("benchmarks.command:evaluate", "Measure a model on a labelled test set."),
    "parity": ("benchmarks.command:parity", "Hold ways of running a product against each other."),
    "demo": ("benchmarks.command:demo", "From drawn good images to verdicts, all in one."),
    "synthesize": ("train.command:synthesize", "Draw a data set with defects of known size."),
    "import-checkpoints": (
        "train.command:import_checkpoints",
        "Make a product of the paper's authors' checkpoints.",
    ),
}

_PRODUCT_COMMANDS = {
    "add": ("add", "Add a bundle as a product's next version."),
    "list": ("list_products", "List products, versions and slots."),
    "show": ("show", "Show a product's versions, and how it does in a running server."),
    "activate": ("activate", "Serve a version from now on."),
    "rollback": ("roll_back", "Serve the version before again."),
    "retire": ("retire", "Serve a product no longer."),
    "keys": ("keys", "Make a pair of keys to sign bundles with."),
    "sign": ("sign", "Sign a product bundle."),
    "trust": ("trust", "Take only bundles signed with this key, or another trusted one."),
}

_FEEDBACK_COMMANDS = {
    "add": ("add", "Say of images whether the part is good."),
    "list": ("list_parts", "List what was said, and what a server kept."),
    "check": ("check", "Hold a version against all that was said."),
    "remove": ("remove", "Remove images and what was said of them."),
}

_BENCHMARKS = {
    "latency": (
        "load.latency.latency:latency",
        "How long an image takes, in process and through Triton.",
    ),
    "throughput": (
        "load.throughput.throughput:throughput",
        "How many images a second, by clients and products.",
    ),
    "roofline": (
        "compute.roofline:roofline",
        "How near the network comes to what the machine can do.",
    ),
    "overload": (
        "load.overload.overload:overload",
        "Answers in time at up to four times the capacity.",
    ),
    "peers": (
        "peers.command:peers",
        "Beside anomalib's models, in one run.",
    ),
    "training": (
        "learning.training:training",
        "How long learning takes, and what it is worth.",
    ),
    "few-parts": (
        "learning.few_parts:few_parts",
        "What a product finds that begins with few parts, and learns since.",
    ),
    "int8": (
        "compute.int8.int8:int8",
        "8-bit weights and activations on a CPU: speed and parity.",
    ),
    "products": ("compute.products:products", "Many products in one network: memory and speed."),
    "geometry": ("compute.geometry_speed:geometry", "Cutting and stitching, by image size."),
    "metrics": (
        "compute.metrics_speed:metrics",
        "Our evaluator beside a plain one: time and memory.",
    ),
    "soak": (
        "load.endurance.soak:soak",
        "Requests to a real server for long: wrong, lost, memory.",
    ),
    "console": (
        "load.console.console:console",
        "The console over a large archive, and how soon a verdict is shown.",
    ),
    "line": (
        "load.line.line:line",
        "How long a station takes from a part's trigger to its signals.",
    ),
    "line-soak": (
        "load.line.soak:line_soak",
        "A station's counts, while parts of its plant are killed.",
    ),
    "score": (
        "load.collection.score:score",
        "A collection's rows, while what scores them on Ray is killed.",
    ),
    "faults": (
        "load.endurance.faults:faults",
        "Kill parts of a server under load, again and again.",
    ),
    "gpu-check": ("gpu_check:gpu_check", "Does the TensorRT path hold on this machine's GPU?"),
    "quick": (
        "quick:quick",
        "Hold today's ratios against the committed ones.",
    ),
}

_GPU_DAY = {
    "prepare": "Make what is brought to the machine with the GPU.",
    "run": "Run parts there, each into a JSON file.",
    "collect": "Put what the parts left into the results.",
}


def build_app() -> "App":
    """The command `l2bt` with all its subcommands, none of which is imported yet."""
    from cyclopts import App, Parameter

    app = App(
        name="l2bt",
        help="L2BT Edge: find tiny defects in high-resolution images.",
        version=_version,
        default_parameter=Parameter(negative=()),
    )
    for name, (target, summary) in _COMMANDS.items():
        app.command(target, name=name, help=summary)
    product = App(
        name="product", help="Add, activate, roll back and retire products while the line runs."
    )
    for name, (function, summary) in _PRODUCT_COMMANDS.items():
        product.command(f"triton_repo.products.command:{function}", name=name, help=summary)
    app.command(product)
    feedback = App(name="feedback", help="Keep what people say of a product's images.")
    for name, (function, summary) in _FEEDBACK_COMMANDS.items():
        feedback.command(f"runtime.feedback_command:{function}", name=name, help=summary)
    app.command(feedback)
    benchmark = App(name="benchmark", help="Measure this machine; JSON, Markdown and pictures.")
    for name, (function, summary) in _BENCHMARKS.items():
        benchmark.command(f"benchmarks.{function}", name=name, help=summary)
    day = App(name="gpu-day", help="Bring this product to a machine with a GPU for a short time.")
    for name, summary in _GPU_DAY.items():
        day.command(f"benchmarks.gpu_day.command:{name}", name=name, help=summary)
    benchmark.command(day)
    app.command(benchmark)
    return app


def commands_page() -> str:
    """COMMANDS.md: each command and option with its help and default."""
    page: str = build_app().generate_docs(output_format="markdown", recursive=True)
    return page.replace("# l2bt\n", "# The command l2bt\n", 1).rstrip() + "\n"


def main() -> NoReturn:
    """The command `l2bt`: exit status 1 and one sentence for an error of ours."""
    from runtime.errors import L2BTError
    from runtime.extras import naming_the_extra

    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            # Programs with a window start others without streams; verdicts and work go on.
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115, PTH123
    if "OMP_WAIT_POLICY" not in os.environ:
        # PyTorch's waiting threads would spin on a busy machine; train/README.md has the figures.
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    app = build_app()
    try:
        with _showing_what_is_told(), naming_the_extra():
            app(sys.argv[1:])
    except L2BTError as error:
        sys.exit(f"l2bt: {error}")
    except OSError as error:
        # Such as a full disk, or a folder that this user may not write.
        where = f"{error.filename}: " if error.filename else ""
        sys.exit(f"l2bt: {where}{error.strerror or error}")
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)


@contextmanager
def _showing_what_is_told() -> Iterator[None]:
    """Show what the rooms tell their loggers; a result alone goes to the output stream.

    A program that calls `main` finds its loggers as it left them.
    """
    told = logging.StreamHandler()
    told.setFormatter(logging.Formatter("%(message)s"))
    # A request that is sent again is no news where its answer comes.
    levels = {"l2bt": logging.INFO, "l2bt.client": logging.WARNING}
    loggers = [logging.getLogger(name) for name in levels]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(levels[logger.name])
    loggers[0].addHandler(told)
    try:
        yield
    finally:
        loggers[0].removeHandler(told)
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _version() -> str:
    from importlib.metadata import version

    return version("l2bt-edge")
