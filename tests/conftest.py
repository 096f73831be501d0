"""One small product, learned, exported and served once for all tests: real parts, small sizes."""

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pytest

from export.fuse import export_product
from runtime.client.client import Client
from runtime.detector import Detector
from runtime.engines.tensorrt.gpu import find_gpu
from runtime.errors import GpuUnavailableError
from runtime.geometry.geometry import GeometrySettings
from runtime.images.decode import ImageArray
from runtime.models.exported_model import ExportedModel
from runtime.products.card import ProductCard, TeacherCard, Threshold
from train.data.dataset import Dataset
from train.data.synthetic import SyntheticSettings, open_synthetic
from train.data.synthetic_defects import Defect
from train.learning.learn import learn_product
from train.settings import DEMO_TEACHER, FitSettings, GeometryOptions, TeacherSettings
from train.students.bundle import ProductBundle
from triton_repo.configuration.build import build_repository
from triton_repo.server.server import ServerSettings, TritonServer

SMALL_IMAGE_SIZE = 224


def _gpu_missing() -> str:
    try:
        find_gpu()
    except GpuUnavailableError as error:
        return str(error)
    return ""


GPU_MISSING = _gpu_missing()
with_gpu = pytest.mark.skipif(
    bool(GPU_MISSING), reason=f"needs a GPU, and has not been run on one yet: {GPU_MISSING}"
)
without_gpu = pytest.mark.skipif(not GPU_MISSING, reason="this machine has a GPU")

# The machine may be shared: how long an example takes says nothing.
hypothesis.settings.register_profile("l2bt", deadline=None)
hypothesis.settings.load_profile("l2bt")


@pytest.fixture(scope="session")
def small_dataset() -> Dataset:
    return open_synthetic(
        SyntheticSettings(
            train_images=12,
            test_good=3,
            test_defective=3,
            height=240,
            width=360,
            defects=(Defect("stain", 60), Defect("dent", 40), Defect("stain", 40)),
        )
    )


@pytest.fixture(scope="session")
def bundle(small_dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> ProductBundle:
    return learn_product(
        small_dataset,
        tmp_path_factory.mktemp("bundle") / "plate",
        teacher_settings=TeacherSettings(teacher=DEMO_TEACHER),
        fit_settings=FitSettings(steps=150, held_out=0.25),
        geometry=GeometryOptions(geometry="square", image_size=SMALL_IMAGE_SIZE),
    )


@pytest.fixture(scope="session")
def exported(bundle: ProductBundle, tmp_path_factory: pytest.TempPathFactory) -> ExportedModel:
    return export_product(bundle, tmp_path_factory.mktemp("exported") / "plate")


@pytest.fixture(scope="session")
def tiny_bundle(small_dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> ProductBundle:
    """For tests that send hundreds of requests: a quarter of the patches."""
    return learn_product(
        small_dataset,
        tmp_path_factory.mktemp("tiny") / "plate",
        teacher_settings=TeacherSettings(teacher=DEMO_TEACHER),
        fit_settings=FitSettings(steps=60, held_out=0.25),
        geometry=GeometryOptions(geometry="square", image_size=SMALL_IMAGE_SIZE // 2),
    )


@pytest.fixture(scope="session")
def tiny_exported(
    tiny_bundle: ProductBundle, tmp_path_factory: pytest.TempPathFactory
) -> ExportedModel:
    folder = tmp_path_factory.mktemp("tiny-exported")
    return export_product(tiny_bundle, folder / "plate", precision="fp32", capacity=8)


@pytest.fixture(scope="session")
def detector(exported: ExportedModel) -> Iterator[Detector]:
    with Detector(exported.folder) as opened:
        yield opened


@pytest.fixture(scope="session")
def repository(exported: ExportedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_repository(exported, tmp_path_factory.mktemp("repository") / "models")


@pytest.fixture(scope="session")
def server(repository: Path) -> Iterator[TritonServer]:
    with TritonServer(repository, free_ports(repository.parent / "server.log")) as running:
        yield running


@pytest.fixture
def client(server: TritonServer) -> Iterator[Client]:
    with Client(server.grpc_address) as connected:
        yield connected


@pytest.fixture(scope="session")
def defective_image(small_dataset: Dataset) -> ImageArray:
    return next(sample for sample in small_dataset.test if sample.is_defective).pixels()


@pytest.fixture(scope="session")
def visa_root() -> Path:
    root = os.environ.get("L2BT_DATA")
    if not root:
        pytest.skip("L2BT_DATA names no folder with VisA's macaroni1 in its original layout")
    return Path(root)


@pytest.fixture
def card() -> ProductCard:
    return make_card()


def make_card(**changes: object) -> ProductCard:
    fields: dict[str, object] = {
        "product": "plate",
        "teacher": TeacherCard(
            name="dinov2-small-demo",
            weights_source="a test",
            weights_sha256="0" * 64,
            layers=(4, 8),
            dimension=384,
        ),
        "geometry": GeometrySettings(image_size=SMALL_IMAGE_SIZE),
        "threshold": Threshold(image_score=0.1, pixel_value=0.2, method="a test", good_images=3),
        "students_sha256": "1" * 64,
    }
    return ProductCard(**{**fields, **changes})  # type: ignore[arg-type]


def free_ports(log_path: Path) -> ServerSettings:
    return ServerSettings.on_free_ports(log_path)


def random_image(height: int, width: int, seed: int = 0) -> ImageArray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
