"""The commands of a day with a GPU: `l2bt benchmark gpu-day`."""

import sys
from pathlib import Path


def prepare(
    *,
    data: Path,
    product: str,
    out: Path,
    python: str = "3.12",
    train_images: int = 100,
    test_images: int = 60,
    largest_mib: int = 60,
) -> None:
    """Make what is brought to the machine with the GPU.

    Args:
        data: Root folder of VisA, or of another data set of its layout.
        product: Class in it.
        out: Folder for it, replaced if it is there.
        python: The interpreter's version on that machine.
        train_images: Good images to learn from.
        test_images: Images to compare on.
        largest_mib: The most that may be carried at once.
    """
    from benchmarks.gpu_day.prepare import prepare as make

    for folder in make(
        data=data,
        product=product,
        out=out,
        python=python,
        train_images=train_images,
        test_images=test_images,
        largest_mib=largest_mib,
    ):
        print(folder)


def run(
    *parts: str,
    payload: Path,
    out: Path,
    work: Path | None = None,
    device: str = "cuda",
    rehearse: bool = False,
) -> None:
    """Run parts one after the other, each into a JSON file.

    Args:
        parts: Of reference, half, speed, exports, engine, environment, serve, tests, rtx, session.
            What half left is needed by engine, serve, rtx and session, and half needs what
            reference left. The parts serve and tests are run by the Python that environment made.
        payload: What was brought.
        out: Takes the JSON files.
        work: For what parts leave for later ones.
        device: "cuda", or "cpu" for a rehearsal.
        rehearse: Do next to nothing of everything.
    """
    from benchmarks.gpu_day.run import run as run_parts

    failed = run_parts(parts, payload=payload, out=out, work=work, device=device, rehearse=rehearse)
    if failed:
        sys.exit(f"ended early: {', '.join(failed)}")


def collect(found: Path, *, out: Path | None = None) -> None:
    """Put what the parts left into benchmarks/results/MACHINE/gpu_day.

    Args:
        found: Folder with their JSON files.
        out: Folder of all machines' results; benchmarks/results by default.
    """
    from benchmarks.gpu_day.collect import collect as put

    print(put(found, out=out))
