"""The configuration for a GPU in the real server; only the TensorRT backend is a stand-in."""

import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.client.client import Client
from runtime.detector import Detector
from runtime.errors import ModelError, ServerError
from runtime.models.exported_model import ExportedModel
from runtime.products.store.changes import activate, add_version, roll_back
from runtime.products.store.product_store import ProductStore
from tests.parts.engines import write_engine
from tests.parts.maps import is_same_map
from tests.parts.products import variant
from tests.parts.small import random_image
from train.students.bundle import ProductBundle
from triton_repo.configuration.build import build_repository
from triton_repo.server.home import prepare_home
from triton_repo.server.server import ServerSettings, TritonServer

STAND_IN = Path(__file__).parent / "backends" / "tensorrt"


@pytest.fixture(scope="module")
def production(exported: ExportedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("production")
    engine = write_engine(exported, folder / "engines")
    return build_repository(exported, folder / "models", engine=engine)


@pytest.fixture(scope="module")
def backends(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("backends")
    shutil.copytree(prepare_home().backends / "python", folder / "python", symlinks=True)
    shutil.copytree(STAND_IN, folder / "tensorrt")
    return folder


@pytest.fixture(scope="module")
def production_server(production: Path, backends: Path) -> Iterator[TritonServer]:
    settings = ServerSettings.on_free_ports(production.parent / "server.log")
    with TritonServer(production, settings, config_name=None, backends=backends) as running:
        yield running


def test_the_server_takes_it_as_it_is_and_answers_as_in_process(
    production_server: TritonServer, detector: Detector
) -> None:
    image = random_image(240, 360)
    with Client(production_server.grpc_address) as client:
        served = client.inspect(image)
    local = detector.inspect(image)
    assert served.engine == "tensorrt 10.3.0 Orin fp16"
    assert served.score == pytest.approx(local.score)
    assert served.anomaly_map is not None
    assert local.anomaly_map is not None
    assert is_same_map(served.anomaly_map, local.anomaly_map)


def test_the_engine_was_warmed_up_for_one_tile_and_for_the_best_batch(
    production_server: TritonServer,
) -> None:
    url = f"http://{production_server.http_address}/v2/models/engine/config"
    with urllib.request.urlopen(url) as answer:
        text = answer.read().decode()
    assert '"platform":"tensorrt_plan"' in text
    assert '"name":"1 tiles"' in text
    assert '"name":"4 tiles"' in text
    assert '"graphs":true' in text


def test_students_that_the_plan_does_not_hold_are_refused_and_never_judged_by_others(
    production_server: TritonServer, production: Path, bundle: ProductBundle, tmp_path: Path
) -> None:
    store = ProductStore.of(production)
    newer = variant(bundle, tmp_path / "plate", product="plate", seed=1)
    activate(store, *add_version(store, newer.folder))
    with Client(production_server.grpc_address) as client:
        with pytest.raises(ServerError, match="version 2 .* built with other students"):
            client.inspect(random_image(30, 40))
        roll_back(store, "plate")
        assert client.inspect(random_image(30, 40)).version == 1


def test_without_its_plan_the_server_does_not_start(
    production: Path, backends: Path, tmp_path: Path
) -> None:
    broken = Path(shutil.copytree(production, tmp_path / "models"))
    (broken / "engine" / "1" / "model.plan").unlink()
    server = TritonServer(
        broken,
        ServerSettings.on_free_ports(tmp_path / "log.txt"),
        config_name=None,
        backends=backends,
    )
    with pytest.raises(ModelError, match=r"model\.plan is missing"):
        server.start()
