"""The whole way in one command, on images that the project draws."""

import shutil
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.evaluation.evaluate import Evaluation, evaluate
from benchmarks.evaluation.metrics.results import markdown_table
from benchmarks.machine.result_files import table
from export.fuse import export_product
from runtime.client.client import Client
from runtime.images.decode import read_image
from runtime.inspections.pictures import write_jpeg
from runtime.storage.atomic_write import atomic_write, check_replaceable
from train.data.synthetic import SyntheticSettings, open_synthetic
from train.learning.learn import learn_product
from train.settings import DEMO_TEACHER, FitSettings, GeometryOptions, TeacherSettings
from triton_repo.configuration.build import build_repository
from triton_repo.server.server import ServerSettings, TritonServer

_TRAINING_IMAGES, _STEPS = 60, 2000
_SHEET = ("good", "dent", "scratch", "stain")


def run_demo(out: Path, *, overwrite: bool = False) -> Path:
    """Draw, learn, export, serve, inspect; leave pictures and a table.

    Args:
        out: Folder for everything.
        overwrite: Replace an existing folder.

    Returns:
        The table's path.

    Raises:
        OptionError: `out` exists and `overwrite` is false.
    """
    check_replaceable(out, replace=overwrite, marker="bundle")
    shutil.rmtree(out, ignore_errors=True)
    dataset = open_synthetic(
        SyntheticSettings(train_images=_TRAINING_IMAGES, test_good=9, test_defective=18)
    )
    print(f"1/4 learning from {len(dataset.train)} good images")
    bundle = learn_product(
        dataset,
        out / "bundle",
        teacher_settings=TeacherSettings(teacher=DEMO_TEACHER),
        fit_settings=FitSettings(steps=_STEPS, held_out=0.2),
        # Half of what is drawn is smaller than a patch of one look.
        geometry=GeometryOptions(geometry="joint"),
    )
    print("2/4 exporting the fused network")
    exported = export_product(bundle, out / "exported")
    print("3/4 starting tritonserver")
    repository = build_repository(exported, out / "repository")
    log_path = out / "tritonserver.log"
    settings = ServerSettings.on_free_ports(log_path)
    with TritonServer(repository, settings) as server, Client(server.grpc_address) as client:
        client.wait_until_ready(60)
        print(f"4/4 inspecting {len(dataset.test)} new images over {client.transport}")
        evaluation = evaluate(client, dataset, out, overlays=True)
    _write_contact_sheet(out)
    table = f"{markdown_table([evaluation.metrics])}\n\n{_size_table(evaluation)}\n"
    print(table)
    atomic_write(out / "results.md", table)
    return out / "results.md"


def _size_table(evaluation: Evaluation) -> str:
    """Found and missed by kind and size of the defect, which the images' names tell."""
    found: dict[str, list[bool]] = defaultdict(list)
    for image in evaluation.images:
        _, kind, name = image.name.split("/")
        label = f"{kind} {int(name.split('px')[0])} px" if image.is_defective else "good"
        found[label].append(image.is_right)
    rows = [[label, f"{sum(right)} of {len(right)}"] for label, right in found.items()]
    return table(["test images", "judged rightly"], rows).rstrip()


def _write_contact_sheet(out: Path) -> None:
    """A good part and the largest defect of three kinds, two by two."""
    chosen = [sorted((out / "overlays").glob(f"test_{kind}_*"))[-1] for kind in _SHEET]
    good, dent, scratch, stain = (
        np.asarray(Image.fromarray(read_image(path)).reduce(2)) for path in chosen
    )
    rows = [np.hstack([good, dent]), np.hstack([scratch, stain])]
    write_jpeg(out / "contact_sheet.jpg", np.vstack(rows))
