"""The exported network served by PyTorch: chosen by name, in the real server."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.client.client import Client
from runtime.detector import Detector
from runtime.errors import ModelError, OptionError
from runtime.models.exported_model import ExportedModel
from runtime.products.store.changes import activate, add_version
from runtime.products.store.product_store import ProductStore
from tests.parts.gpu import with_torch_gpu
from tests.parts.maps import is_same_map
from tests.parts.products import variant
from tests.parts.small import random_image
from train.students.bundle import ProductBundle
from triton_repo.configuration.build import TORCH, build_repository
from triton_repo.configuration.check import check_repository
from triton_repo.configuration.repository_settings import RepositorySettings
from triton_repo.server.server import ServerSettings, TritonServer


@pytest.fixture(scope="module")
def for_torch(exported: ExportedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("torch")
    settings = RepositorySettings(torch_precision="fp32")
    return build_repository(exported, folder / "models", settings=settings)


@pytest.fixture(scope="module")
def torch_server(for_torch: Path) -> Iterator[TritonServer]:
    settings = ServerSettings.on_free_ports(for_torch.parent / "server.log")
    with TritonServer(for_torch, settings, config_name=TORCH["cpu"]) as running:
        yield running


def test_the_server_answers_as_pytorch_in_process(
    torch_server: TritonServer, exported: ExportedModel
) -> None:
    image = random_image(240, 360)
    with Client(torch_server.grpc_address) as client:
        served = client.inspect(image)
    with Detector(exported.folder, engine="torch") as detector:
        local = detector.inspect(image)
    assert served.engine == "pytorch cpu fp32"
    assert served.anomaly_map is not None
    assert local.anomaly_map is not None
    assert is_same_map(served.anomaly_map, local.anomaly_map)
    assert served.is_defective == local.is_defective


def test_students_are_replaced_while_it_serves(
    torch_server: TritonServer, for_torch: Path, bundle: ProductBundle, tmp_path: Path
) -> None:
    store = ProductStore.of(for_torch)
    newer = variant(bundle, tmp_path / "plate", product="plate", seed=1)
    image = random_image(240, 360)
    with Client(torch_server.grpc_address) as client:
        before = client.inspect(image)
        activate(store, *add_version(store, newer.folder))
        after = client.inspect(image)
    assert (before.version, after.version) == (1, 2)
    assert after.score != pytest.approx(before.score)


def test_a_repository_that_was_not_filled_for_it_is_refused_with_the_option(
    repository: Path,
) -> None:
    with pytest.raises(ModelError, match=r"no configuration 'torch-gpu'.*--torch-precision"):
        check_repository(repository, config_name=TORCH["gpu"])


def test_a_precision_that_was_not_exported_is_refused(
    tiny_exported: ExportedModel, tmp_path: Path
) -> None:
    settings = RepositorySettings(torch_precision="fp16")
    with pytest.raises(OptionError, match="holds no network in 'fp16'"):
        build_repository(tiny_exported, tmp_path / "models", settings=settings)
    assert not (tmp_path / "models").exists()


def test_on_a_gpu_each_recorded_batch_is_warmed_up(for_torch: Path) -> None:
    text = (for_torch / "engine" / "configs" / "torch-gpu.pbtxt").read_text()
    assert 'name: "1 tiles"' in text
    assert 'name: "15 tiles"' in text


@with_torch_gpu
def test_a_gpu_serves_what_the_cpu_serves(exported: ExportedModel, tmp_path: Path) -> None:
    settings = RepositorySettings(torch_precision="fp32")
    models = build_repository(exported, tmp_path / "models", settings=settings)
    image = random_image(240, 360)
    ports = ServerSettings.on_free_ports(tmp_path / "server.log")
    with (
        TritonServer(models, ports, config_name=TORCH["gpu"]) as running,
        Client(running.grpc_address) as client,
        Detector(exported.folder, engine="torch") as detector,
    ):
        served, local = client.inspect(image), detector.inspect(image)
    assert served.engine == "pytorch gpu fp32"
    assert served.anomaly_map is not None
    assert local.anomaly_map is not None
    assert is_same_map(served.anomaly_map, local.anomaly_map, tolerance=1e-3)
