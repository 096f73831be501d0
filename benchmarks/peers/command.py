"""The command `l2bt benchmark peers`."""

from pathlib import Path


def peers(
    bundle: Path | None = None,
    *,
    fitted: Path | None = None,
    data: str,
    product: str | None = None,
    layout: str = "auto",
    papers_size: bool = False,
    teacher_weights: Path | None = None,
    images: int | None = None,
    repetitions: int = 50,
    threads: int | None = None,
    environment: Path | None = None,
    out: Path | None = None,
) -> None:
    """Measure ours beside the paper's pipeline and beside anomalib's models, in one run.

    Anomalib has an environment of its own, which `make peers-environment` makes.

    Args:
        bundle: Product bundle that l2bt train left, looked at as a padded square.
        fitted: Bundle of the same product, trained with --geometry fitted, as one more way.
        data: Root folder of the data set, or "synthetic".
        product: Class or product; needed in the layouts visa, visa-prepared and mvtec.
        layout: visa, visa-prepared, mvtec, folder or synthetic; "auto" tells it by its folders.
        papers_size: Instead of a bundle: a network of the paper's size with random weights, for
            speed alone.
        teacher_weights: The local file of the bundle's teacher, if it was trained with one.
        images: Test images for accuracy, evenly spaced; all by default.
        repetitions: Turns; in each, every way inspects the same image.
        threads: CPU threads of each way; all cores by default.
        environment: Folder of the environment with anomalib; .venv-peers by default.
        out: Folder of all machines' results; benchmarks/results by default.
    """
    from benchmarks.machine.result_files import results_folder, write_result
    from benchmarks.peers.connection import ENVIRONMENT
    from benchmarks.peers.result import to_markdown
    from benchmarks.peers.run import PeersSettings, run_peers
    from runtime.errors import OptionError
    from train.data.open_dataset import open_dataset

    if (bundle is None) != papers_size:
        raise OptionError(
            "give one of a product bundle and --papers-size, not both and not neither"
        )
    if papers_size and (teacher_weights is not None or fitted is not None):
        raise OptionError(
            "--teacher-weights and --fitted belong to a product bundle, not to --papers-size"
        )
    settings = PeersSettings(
        bundle=bundle,
        fitted=fitted,
        teacher_weights=teacher_weights,
        images=images,
        repetitions=repetitions,
        threads=threads,
        environment=environment or ENVIRONMENT,
    )
    result = run_peers(settings, open_dataset(data, product=product, layout=layout))
    folder = results_folder("peers_papers_size" if papers_size else "peers", out)
    write_result(folder, result, to_markdown(result))
    print(to_markdown(result))
    print(folder)
