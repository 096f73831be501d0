"""The commands of this room: evaluate, demo."""

from pathlib import Path


def evaluate(
    *,
    data: str,
    product: str | None = None,
    layout: str = "auto",
    model: Path | None = None,
    server: str | None = None,
    transport: str = "auto",
    precision: str | None = None,
    out: Path = Path("results"),
    overlays: bool = False,
    overwrite: bool = False,
) -> None:
    """Inspect a labelled test set and write metrics.json and images.csv.

    Args:
        data: Root folder of the data set, or "synthetic".
        product: Class or product; needed in the layouts visa, visa-prepared and mvtec. The model is
            refused if it holds another.
        layout: visa, visa-prepared, mvtec, folder or synthetic; "auto" tells it by its folders.
        model: An exported model, or a product bundle to run in PyTorch. Excludes --server.
        server: host:port of a server's gRPC interface. Excludes --model.
        transport: To the server: auto, shared-memory or grpc.
        precision: For --model: f32 or bf16 for an exported model; fp32, bf16 or fp16 for a bundle.
        out: Folder for the results.
        overlays: Write a picture of each image to OUT/overlays.
        overwrite: Replace older results in OUT.
    """
    from benchmarks.evaluate import evaluate as run
    from benchmarks.evaluate import metrics_table
    from l2bt import open_inspector
    from train.data.open_dataset import open_dataset

    dataset = open_dataset(data, product=product, layout=layout)
    with open_inspector(
        model=model, server=server, transport=transport, precision=precision
    ) as inspector:
        evaluation = run(
            inspector, dataset, out, product=product, overlays=overlays, overwrite=overwrite
        )
    print(metrics_table(evaluation.metrics))
    print(out)


def demo(*, out: Path = Path("demo"), overwrite: bool = False) -> None:
    """Learn a drawn product, serve it from a real Triton server, and inspect new images.

    Args:
        out: Folder for everything that the demo makes.
        overwrite: Replace an existing folder.
    """
    from benchmarks.demo import run_demo

    print(run_demo(out, overwrite=overwrite))
