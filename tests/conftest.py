"""One small product, learned, exported and served once for all tests: real parts, small sizes."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import hypothesis
import pytest

from export.fuse import export_product
from runtime.client.client import Client
from runtime.detector import Detector
from runtime.images.decode import ImageArray
from runtime.models.exported_model import ExportedModel
from runtime.products.card import ProductCard
from tests.parts.built_once import built_once
from tests.parts.loggers import state_of_loggers
from tests.parts.made_once import made_once
from tests.parts.small import SHALLOW_TEACHER, SMALL_IMAGE_SIZE, make_card
from train.data.dataset import Dataset
from train.data.synthetic import SyntheticSettings, open_synthetic
from train.data.synthetic_defects import Defect
from train.learning.learn import learn_product
from train.settings import FitSettings, GeometryOptions
from train.students.bundle import ProductBundle, open_bundle
from triton_repo.configuration.build import build_repository
from triton_repo.server.server import ServerSettings, TritonServer

_ROOT = Path(__file__).parents[1]
# The machine may be shared: how long an example takes says nothing.
hypothesis.settings.register_profile("l2bt", deadline=None)
hypothesis.settings.load_profile("l2bt")


_SERVERS = frozenset({"server", "client", "service", "tiled_server", "fitted_server", "plant"})


# Those that take longest come first, so that all processes end at about the same time.
_LONGEST = (
    "test_real_images.py",
    "test_supervisor.py",
    "test_drift.py",
    "test_command_line.py",
    "test_relearn.py",
    "test_buckets.py",
    "test_compile_check.py",
    "test_in_a_browser.py",
    "test_server.py",
    "test_silence.py",
    "test_defect_lessons.py",
    "test_two_servers.py",
    "test_teacher.py",
    "test_bank.py",
    "test_learn.py",
    "test_sweep.py",
    "test_on_ray.py",
    "test_evaluate.py",
    "test_workers.py",
)


def _place(item: pytest.Item) -> int:
    name = item.path.name
    return _LONGEST.index(name) if name in _LONGEST else len(_LONGEST)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    gone = [name for name in _LONGEST if not any(_ROOT.glob(f"tests/**/{name}"))]
    if gone:
        raise pytest.UsageError(f"{', '.join(gone)} in {__file__}: there are no such tests")
    items.sort(key=_place)
    for item in items:
        of_server = Path("tests/triton_repo") in item.path.relative_to(_ROOT).parents
        if of_server or _SERVERS.intersection(getattr(item, "fixturenames", ())):
            item.add_marker("server")


@pytest.fixture(autouse=True)
def loggers_are_left_as_they_were() -> Iterator[None]:
    """Or a test that reads what is told would fail by what another file's tests did."""
    before = state_of_loggers()
    yield
    assert state_of_loggers() == before


@pytest.fixture(scope="session", autouse=True)
def what_is_asked_for_often_is_made_once() -> Iterator[None]:
    with made_once():
        yield


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


def _learn_plate(dataset: Dataset, folder: Path, *, steps: int, image_size: int) -> None:
    learn_product(
        dataset,
        folder,
        teacher_settings=SHALLOW_TEACHER,
        fit_settings=FitSettings(steps=steps, held_out=0.25),
        geometry=GeometryOptions(geometry="square", image_size=image_size),
    )


@pytest.fixture(scope="session")
def bundle(small_dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> ProductBundle:
    learn = partial(_learn_plate, small_dataset, steps=150, image_size=SMALL_IMAGE_SIZE)
    return open_bundle(built_once(tmp_path_factory, "bundle", learn))


@pytest.fixture(scope="session")
def exported(bundle: ProductBundle, tmp_path_factory: pytest.TempPathFactory) -> ExportedModel:
    export = partial(export_product, bundle)
    return ExportedModel.open(built_once(tmp_path_factory, "exported", export))


@pytest.fixture(scope="session")
def tiny_bundle(small_dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> ProductBundle:
    """For tests that send hundreds of requests: a quarter of the patches."""
    learn = partial(_learn_plate, small_dataset, steps=60, image_size=SMALL_IMAGE_SIZE // 2)
    return open_bundle(built_once(tmp_path_factory, "tiny-bundle", learn))


@pytest.fixture(scope="session")
def tiny_exported(
    tiny_bundle: ProductBundle, tmp_path_factory: pytest.TempPathFactory
) -> ExportedModel:
    export = partial(export_product, tiny_bundle, precision="fp32", capacity=8)
    return ExportedModel.open(built_once(tmp_path_factory, "tiny-exported", export))


@pytest.fixture(scope="session")
def detector(exported: ExportedModel) -> Iterator[Detector]:
    with Detector(exported.folder) as opened:
        yield opened


@pytest.fixture(scope="session")
def repository(exported: ExportedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_repository(exported, tmp_path_factory.mktemp("repository") / "models")


@pytest.fixture(scope="session")
def server(repository: Path) -> Iterator[TritonServer]:
    with TritonServer(
        repository, ServerSettings.on_free_ports(repository.parent / "server.log")
    ) as running:
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
