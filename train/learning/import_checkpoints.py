"""Product bundles from the checkpoints that the paper's authors publish."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from runtime.errors import DatasetError, ModelError, OptionError
from runtime.geometry.geometry import GeometrySettings
from runtime.products.card import CARD_NAME, Calibration, ProductCard, Threshold, check_product_name
from runtime.products.conformal import calibrate, choose_threshold
from runtime.storage.atomic_write import check_replaceable
from train.data.dataset import Dataset, Sample
from train.learning.learn import library_versions
from train.settings import TeacherSettings
from train.students.bundle import ProductBundle, write_bundle
from train.students.network import PatchMapNetwork
from train.students.students import Students
from train.teacher.teacher import load_teacher


@dataclass(frozen=True, kw_only=True)
class CheckpointFiles:
    """The two files of a product.

    Attributes:
        forward_net: `forward_net_<label>_<class>_<epochs>ep_<batch>bs.pth`.
        backward_net: `backward_net_...`, of the same training.
    """

    forward_net: Path
    backward_net: Path

    @classmethod
    def find(
        cls, folder: Path, *, label: str, product: str, epochs: int, batch_size: int
    ) -> "CheckpointFiles":
        """The files of a product in a checkpoint folder, by the authors' naming.

        Raises:
            ModelError: One of them is missing.
        """
        end = f"_net_{label}_{product}_{epochs}ep_{batch_size}bs.pth"
        forward_net, backward_net = folder / f"forward{end}", folder / f"backward{end}"
        for path in (forward_net, backward_net):
            if not path.is_file():
                raise ModelError(f"checkpoint {path} is missing")
        return cls(forward_net=forward_net, backward_net=backward_net)


def import_checkpoints(
    files: CheckpointFiles,
    out: Path,
    *,
    product: str,
    teacher_settings: TeacherSettings,
    image_size: int,
    dataset: Dataset | None = None,
    thresholds: tuple[float, float] | None = None,
    overwrite: bool = False,
) -> ProductBundle:
    """Write a product bundle with the checkpoints' students.

    The checkpoints hold no threshold: it comes from good images, or is given.

    Args:
        files: The two checkpoints.
        out: The bundle's folder.
        product: The product's name.
        teacher_settings: The teacher that they were trained on.
        image_size: Side of the network's square in px, as in their training.
        dataset: Whose good training images give the thresholds.
        thresholds: Image threshold and pixel threshold, instead of a data set.
        overwrite: Replace an existing bundle.

    Raises:
        OptionError: Neither or both of `dataset` and `thresholds` are given, the product's name is
            unfit, or `out` exists.
        ModelError: A checkpoint is damaged, or does not fit the teacher.
        DatasetError: The data set has no good image.
    """
    if (dataset is None) == (thresholds is None):
        raise OptionError(
            "the checkpoints hold no threshold: give good images with --data, or the numbers with "
            "--image-threshold and --pixel-threshold"
        )
    check_product_name(product)
    check_replaceable(out, replace=overwrite, marker=CARD_NAME)
    teacher = load_teacher(teacher_settings, image_size=image_size)
    students = Students(teacher.card.dimension)
    for student, path in (
        (students.forward_student, files.forward_net),
        (students.backward_student, files.backward_net),
    ):
        try:
            student.load_state_dict(_read(path))
        except RuntimeError as error:
            raise ModelError(
                f"{path} is no student of width {teacher.card.dimension}: {error}"
            ) from error
    geometry = GeometrySettings(image_size=image_size, patch_size=teacher.patch_size)
    calibration = None
    if thresholds is not None:
        threshold = Threshold(
            image_score=thresholds[0],
            pixel_value=thresholds[1],
            method="given by hand",
            good_images=0,
        )
    else:
        assert dataset is not None
        network = PatchMapNetwork(teacher, students.to(teacher.device)).eval()
        calibration = _calibrate(network, dataset, geometry)
        threshold = choose_threshold(calibration)
    card = ProductCard(
        product=product,
        teacher=teacher.card,
        geometry=geometry,
        threshold=threshold,
        calibration=calibration,
        students_sha256="",
        training={"imported_from": files.forward_net.name},
        versions=library_versions(),
    )
    return write_bundle(out, card, students.cpu(), overwrite=overwrite)


@torch.inference_mode()
def _calibrate(
    network: PatchMapNetwork, dataset: Dataset, geometry: GeometrySettings
) -> Calibration:
    if not dataset.train:
        raise DatasetError(f"{dataset.product} has no good images to find a threshold with")

    def scored(sample: Sample) -> tuple[str, float, float, float]:
        pixels = sample.pixels()
        cut = geometry.for_image(*pixels.shape[:2])
        tiles = torch.tensor(cut.cut(pixels), device=network.teacher.device)
        patch_maps = network(tiles).cpu().numpy()
        pixel_map = cut.pixel_map(patch_maps)
        return sample.name, pixel_map.score(), pixel_map.peak(), float(patch_maps.mean())

    samples = tqdm(dataset.train, desc="threshold", unit="image")
    return calibrate(map(scored, samples), seen_in_training=True)


def _read(path: Path) -> dict[str, Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # torch raises many types for files that are damaged, or hold more than tensors.
        raise ModelError(f"checkpoint {path} cannot be read: {error}") from error
    if not (isinstance(state, dict) and all(isinstance(name, str) for name in state)):
        raise ModelError(f"checkpoint {path} holds no tensors by name")
    return dict(state)
