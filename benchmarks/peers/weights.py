"""The same weights on all sides: under anomalib's names, and of the paper's size."""

from dataclasses import replace
from pathlib import Path

from torch import Tensor

from benchmarks.workload.models import OUT_OF_REACH
from runtime.geometry.geometry import GeometrySettings
from runtime.products.card import ProductCard
from train.students.bundle import ProductBundle, write_bundle
from train.students.network import PatchMapNetwork
from train.teacher.weights import digest

_TEACHER = "teacher.fe.feature_extractor."
_STUDENTS = {"forward_student.": "forward_net.", "backward_student.": "backward_net."}


def anomalib_state(network: PatchMapNetwork) -> dict[str, Tensor]:
    """Teacher and students under the names that anomalib's L2BT has for them."""
    state = {
        f"{_TEACHER}{name}": tensor for name, tensor in network.teacher.trunk.state_dict().items()
    }
    for name, tensor in network.students.state_dict().items():
        ours = next(prefix for prefix in _STUDENTS if name.startswith(prefix))
        state[_STUDENTS[ours] + name.removeprefix(ours)] = tensor
    return {name: tensor.contiguous() for name, tensor in state.items()}


def write_papers_bundle(folder: Path) -> tuple[ProductBundle, Path]:
    """Write a bundle of the paper's size with random weights, and its teacher's weights.

    Its thresholds are out of reach, so that every image is as a good one: without regions.

    Returns:
        The bundle, and the teacher's file.
    """
    from safetensors.torch import save_file

    from benchmarks.compute.products import papers_network

    network = papers_network()
    trunk = network.teacher.trunk
    weights = folder / "teacher.safetensors"
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in trunk.state_dict().items()}, weights)
    card = ProductCard(
        product="papers-size",
        teacher=replace(network.teacher.card, weights_sha256=digest(trunk)),
        geometry=GeometrySettings(image_size=network.teacher.tile_wh[0]),
        threshold=OUT_OF_REACH,
        students_sha256="",
    )
    return write_bundle(folder / "bundle", card, network.students), weights
