"""A product that is looked at in tiles: learned, exported, run in process and by a real server."""

import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from export.fuse import export_product
from l2bt import open_inspector
from runtime.client.access import Transport
from runtime.client.client import Client
from runtime.detector import Detector
from runtime.errors import BadImageError, ModelError, OptionError
from runtime.models.exported_model import ExportedModel
from runtime.products.store.card_files import CardFiles
from tests.parts.command import l2bt
from tests.parts.maps import is_same_map
from tests.parts.small import SHALLOW_TEACHER, random_image
from tests.parts.statistics import engine_statistics
from train.data.dataset import Dataset
from train.learning.learn import learn_product
from train.reference import ReferenceDetector
from train.settings import FitSettings, GeometryOptions
from train.students.bundle import ProductBundle
from triton_repo.configuration.build import build_repository
from triton_repo.configuration.repository_settings import RepositorySettings
from triton_repo.server.server import ServerSettings, TritonServer

# 360 x 240 px are 4 x 3 of them, 720 x 480 px 8 x 5.
OPTIONS = GeometryOptions(image_size=112, geometry="tiles", overlap_wh=(14, 14))
TILES = OPTIONS.settings(14)
MOST_TILES = 24


@pytest.fixture(scope="module")
def tiled_bundle(small_dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> ProductBundle:
    return learn_product(
        small_dataset,
        tmp_path_factory.mktemp("tiles") / "plate",
        teacher_settings=SHALLOW_TEACHER,
        fit_settings=FitSettings(recipe="paper", steps=100, held_out=0.25),
        geometry=OPTIONS,
    )


@pytest.fixture(scope="module")
def tiled_export(tiled_bundle: ProductBundle) -> ExportedModel:
    return export_product(tiled_bundle, tiled_bundle.folder.parent / "exported")


@pytest.fixture(scope="module")
def tiled_detector(tiled_export: ExportedModel) -> Iterator[Detector]:
    with Detector(tiled_export.folder) as opened:
        yield opened


@pytest.fixture(scope="module")
def tiled_server(tiled_export: ExportedModel) -> Iterator[TritonServer]:
    folder = tiled_export.folder.parent
    settings = RepositorySettings(max_batch_tiles=MOST_TILES, max_queue_delay_us=50_000)
    repository = build_repository(tiled_export, folder / "models", settings=settings)
    with TritonServer(repository, ServerSettings.on_free_ports(folder / "server.log")) as running:
        yield running


def test_the_students_learn_from_all_tiles_and_the_card_says_how_they_were_cut(
    tiled_bundle: ProductBundle, small_dataset: Dataset
) -> None:
    card = tiled_bundle.card
    assert card.geometry == TILES
    assert TILES.for_image(240, 360).tiles == 12
    assert card.training["teacher_passes"] == len(small_dataset.train)
    assert card.geometry.describe() == "tiles of 112 px at scale 1, overlap 14x14 px"


def test_openvino_gives_the_map_of_pytorch(
    tiled_bundle: ProductBundle, tiled_detector: Detector, small_dataset: Dataset
) -> None:
    with ReferenceDetector(tiled_bundle.folder) as reference:
        for sample in small_dataset.test[2:4]:
            ours = tiled_detector.inspect(sample.source())
            theirs = reference.inspect(sample.source())
            assert ours.anomaly_map is not None
            assert theirs.anomaly_map is not None
            assert is_same_map(ours.anomaly_map, theirs.anomaly_map)
            assert ours.verdict == theirs.verdict


def test_a_defect_stands_out_where_it_is(tiled_detector: Detector, small_dataset: Dataset) -> None:
    for sample in small_dataset.test:
        if not sample.is_defective:
            continue
        anomaly_map = tiled_detector.inspect(sample.source()).anomaly_map
        assert anomaly_map is not None
        mask = sample.mask(*anomaly_map.shape)
        assert mask is not None
        assert anomaly_map[mask].mean() > 1.5 * anomaly_map[~mask].mean()


@pytest.mark.parametrize("transport", ["shared-memory", "grpc"])
def test_the_server_gives_the_inspection_in_process_for_images_of_any_size(
    tiled_server: TritonServer, tiled_detector: Detector, transport: Transport
) -> None:
    with Client(tiled_server.grpc_address, transport=transport) as client:
        for number, size in enumerate([(240, 360), (112, 112), (40, 500), (1, 1)]):
            image = random_image(*size, number)
            served, local = client.inspect(image), tiled_detector.inspect(image)
            assert served.anomaly_map is not None
            assert local.anomaly_map is not None
            assert served.anomaly_map.shape == size
            assert is_same_map(served.anomaly_map, local.anomaly_map)
            assert served.score == pytest.approx(local.score, rel=1e-5)
            assert served.verdict == local.verdict


def test_score_and_regions_are_the_same_without_the_map(
    tiled_server: TritonServer, tiled_detector: Detector, small_dataset: Dataset
) -> None:
    image = small_dataset.test[-1].source()
    with Client(tiled_server.grpc_address) as client:
        for inspector in (client, tiled_detector):
            without, with_map = (inspector.inspect(image, want_map=w) for w in (False, True))
            assert without.anomaly_map is None
            assert (without.score, without.regions) == (with_map.score, with_map.regions)


def test_an_image_of_more_tiles_than_the_engine_takes_is_refused_with_limit_and_size(
    tiled_server: TritonServer,
) -> None:
    with (
        Client(tiled_server.grpc_address) as client,
        pytest.raises(BadImageError, match=r"720 x 480 px needs 40 tiles, .* takes 24; .* 40"),
    ):
        client.inspect(random_image(480, 720))


def test_tiles_of_concurrent_requests_share_engine_runs(
    tiled_server: TritonServer, tiled_detector: Detector
) -> None:
    images = [random_image(100, 190, number) for number in range(12)]
    assert TILES.for_image(100, 190).tiles == 2
    before = engine_statistics(tiled_server)
    barrier = threading.Barrier(6)

    def ask(image: np.ndarray) -> float:  # type: ignore[type-arg]
        with Client(tiled_server.grpc_address, transport="grpc") as client:
            barrier.wait()
            return client.inspect(image, want_map=False).score

    with ThreadPoolExecutor(6) as pool:
        scores = list(pool.map(ask, images))
    after = engine_statistics(tiled_server)
    tiles, runs = (int(now) - int(then) for now, then in zip(after, before, strict=True))
    assert tiles == 24
    assert runs < 12
    assert scores == pytest.approx(
        [tiled_detector.inspect(image).score for image in images], rel=1e-5
    )


# The scale that the students have seen -----------------------------------------------------------


def test_another_scale_than_in_training_is_refused_unless_it_is_forced_and_then_said(
    tiled_export: ExportedModel,
) -> None:
    with pytest.raises(OptionError, match=r"scale 0\.5: the students of plate were trained at 1"):
        open_inspector(model=tiled_export.folder, scale=0.5)
    with open_inspector(model=tiled_export.folder, scale=0.5, force_scale=True) as detector:
        inspection = detector.inspect(random_image(240, 360))
        assert inspection.engine == "openvino cpu f32, scale 0.5 forced (trained at 1)"
        assert detector.read_card().geometry_of(240, 360).tiles == 4
    with open_inspector(model=tiled_export.folder, scale=1) as detector:
        assert detector.inspect(random_image(50, 50)).engine == "openvino cpu f32"


def test_a_scale_that_was_changed_in_the_card_by_hand_is_refused(
    tiled_export: ExportedModel, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(tiled_export.folder, tmp_path / "model"))
    path = CardFiles.find(model).path
    path.write_text(path.read_text().replace('"scale": 1.0', '"scale": 0.7'))
    with pytest.raises(ModelError, match=r"scale 0\.7: the students of plate were trained at 1"):
        Detector(model)


def test_a_repository_for_another_scale_must_be_forced_and_its_answers_say_so(
    tiled_export: ExportedModel, tmp_path: Path
) -> None:
    fill = ("repository", tiled_export.folder, "--out", "models", "--scale", 0.5)
    refused = l2bt(*fill, folder=tmp_path)
    assert refused.returncode == 1
    assert "--force-scale" in refused.stderr
    filled = l2bt(*fill, "--force-scale", folder=tmp_path)
    assert filled.returncode == 0, filled.stderr
    with (
        TritonServer(
            tmp_path / "models", ServerSettings.on_free_ports(tmp_path / "log.txt")
        ) as server,
        Client(server.grpc_address) as client,
    ):
        served = client.inspect(random_image(240, 360))
    assert served.engine.endswith("scale 0.5 forced (trained at 1)")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"force_scale": True}, "belongs to --scale"),
        ({"server": "127.0.0.1:1", "scale": 0.5}, "chosen by l2bt repository"),
    ],
)
def test_a_scale_that_belongs_to_nothing_is_refused(
    tiled_export: ExportedModel, options: dict[str, object], reason: str
) -> None:
    model = None if "server" in options else tiled_export.folder
    with pytest.raises(OptionError, match=reason):
        open_inspector(model=model, **options)  # type: ignore[arg-type]


def test_the_square_has_no_scale(exported: ExportedModel) -> None:
    with pytest.raises(OptionError, match="padded square of 224 px, which has no scale"):
        open_inspector(model=exported.folder, scale=0.5, force_scale=True)
