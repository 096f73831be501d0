"""Where a product is looked at: polygons, the tiles that they spare, what counts for a score."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from runtime.client.client import Client
from runtime.detector import Detector
from runtime.errors import BadImageError, ModelError, OptionError
from runtime.geometry.area import InspectionArea
from runtime.models.exported_model import ExportedModel
from runtime.products.store.card_files import CardFiles
from tests.parts.command import l2bt
from tests.parts.small import SHALLOW_TEACHER, random_image
from train.data.dataset import Dataset
from train.learning.learn import learn_product
from train.settings import FitSettings, GeometryOptions
from train.students.bundle import ProductBundle
from triton_repo.server.server import ServerSettings, TritonServer

OPTIONS = GeometryOptions(image_size=112, geometry="tiles", overlap_wh=(14, 14))
TILES = OPTIONS.settings(14)


def box(left: float, top: float, right: float, bottom: float) -> tuple[tuple[float, float], ...]:
    return ((left, top), (right, top), (right, bottom), (left, bottom))


def test_pixels_count_inside_include_and_outside_ignore_polygons() -> None:
    area = InspectionArea(
        image_wh=(60, 40), include=(box(10, 5, 50, 35),), ignore=(box(20, 10, 30, 20),)
    )
    looked_at = ~area.ignored(40, 60)
    expected = np.zeros((40, 60), bool)
    expected[5:35, 10:50] = True
    expected[10:20, 20:30] = False
    assert np.array_equal(looked_at, expected)
    assert area.describe().startswith("looked at")


def test_without_include_polygons_the_whole_image_counts() -> None:
    area = InspectionArea(image_wh=(60, 40), ignore=(box(0, 0, 30, 40),))
    assert np.array_equal(area.ignored(40, 60), np.arange(60)[None].repeat(40, 0) < 30)


def test_a_slanted_polygon_holds_the_pixels_whose_centres_lie_in_it() -> None:
    area = InspectionArea(image_wh=(60, 40), include=(((2, 1), (57, 20), (10, 38)),))
    y, x = np.mgrid[0:40, 0:60] + 0.5
    expected = (
        ((x - 2) * 19 - (y - 1) * 55 < 0)
        & ((x - 57) * 18 - (y - 20) * -47 < 0)
        & ((x - 10) * -37 - (y - 38) * -8 < 0)
    )
    assert np.array_equal(~area.ignored(40, 60), expected)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"include": (box(0, 0, 70, 10),)}, r"corner \(70, 0\) outside the image of 60 x 40 px"),
        ({"ignore": (((0, 0), (50, 30), (50, 0), (0, 30)),)}, "ignore polygon 0 crosses itself"),
        ({"include": (((0, 0), (1, 1)),)}, "has 2 corners; expected at least 3"),
        ({"ignore": (box(0, 0, 60, 40),)}, "leaves no pixel to look at"),
        ({"include": (box(0, 0, 5, 5),), "ignore": (box(0, 0, 9, 9),)}, "leaves no pixel"),
        ({"image_wh": (0, 40)}, "expected a width and a height"),
    ],
)
def test_polygons_that_cannot_be_are_refused(fields: dict[str, object], reason: str) -> None:
    with pytest.raises(OptionError, match=reason):
        InspectionArea(**{"image_wh": (60, 40), **fields})  # type: ignore[arg-type]


def test_a_star_with_shared_corners_is_no_crossing() -> None:
    star = ((30, 0), (35, 15), (59, 15), (40, 25), (50, 39), (30, 30), (10, 39), (20, 25), (0, 15))
    InspectionArea(image_wh=(60, 40), include=(star,))


def test_images_of_another_size_are_refused() -> None:
    area = InspectionArea(image_wh=(60, 40), include=(box(0, 0, 30, 40),))
    with pytest.raises(BadImageError, match="is 50 x 40 px, .* drawn on images of 60 x 40 px"):
        TILES.for_image(40, 50, area=area)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "area.json").write_text('{"image_wh": [60, 40], "ignore": [[[0, "a"]]]}')
    with pytest.raises(ModelError, match=r"area\.json is not a valid InspectionArea"):
        InspectionArea.read(tmp_path / "area.json")


def test_tiles_that_nothing_depends_on_are_spared_and_change_nothing_that_counts() -> None:
    area = InspectionArea(image_wh=(700, 500), include=(box(250, 200, 330, 260),))
    whole, part = TILES.for_image(500, 700), TILES.for_image(500, 700, area=area)
    assert 1 <= part.tiles <= 6 < whole.tiles
    image = random_image(500, 700)
    tiles = dict(zip(whole.places, whole.cut(image), strict=True))
    for place, tile in zip(part.places, part.cut(image), strict=True):
        assert np.array_equal(tile, tiles[place])
    patch_maps = np.random.default_rng(0).random((whole.tiles, 8, 8)).astype(np.float32)
    maps = dict(zip(whole.places, patch_maps, strict=True))
    everywhere = whole.stitch(patch_maps)
    found = part.pixel_map(np.stack([maps[place] for place in part.places]))
    looked_at = ~area.ignored(500, 700)
    assert np.array_equal(found.pixels()[looked_at], everywhere[looked_at])
    assert not found.pixels()[~looked_at].any()
    highest = np.sort(everywhere[looked_at])[-max(1, looked_at.sum() // 1000) :]
    assert found.score() == pytest.approx(highest.mean(), rel=1e-6)


@pytest.fixture(scope="module")
def right_half(small_dataset: Dataset) -> InspectionArea:
    height, width = small_dataset.train[0].size()
    return InspectionArea(image_wh=(width, height), include=(box(width // 2, 0, width, height),))


def test_a_product_is_learned_with_its_area(
    small_dataset: Dataset, right_half: InspectionArea, tmp_path: Path
) -> None:
    bundle = learn_product(
        replace(small_dataset, train=small_dataset.train[:4]),
        tmp_path / "plate",
        teacher_settings=SHALLOW_TEACHER,
        fit_settings=FitSettings(steps=5, held_out=0.5),
        geometry=OPTIONS,
        area=right_half,
    )
    assert bundle.card.area == right_half
    assert TILES.for_image(240, 360, area=right_half).tiles < TILES.for_image(240, 360).tiles


def write(area: InspectionArea, path: Path) -> Path:
    fields = {"image_wh": area.image_wh, "include": area.include, "ignore": area.ignore}
    path.write_text(json.dumps(fields))
    return path


def test_the_area_of_an_exported_model_changes_what_counts_and_its_guarantee(
    exported: ExportedModel, small_dataset: Dataset, right_half: InspectionArea, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(exported.folder, tmp_path / "model"))
    changed = l2bt("area", model, write(right_half, tmp_path / "area.json"), folder=tmp_path)
    assert changed.returncode == 0, changed.stderr
    assert "looked at 50.0%" in changed.stdout
    assert f"l2bt threshold {model} --good FOLDER" in changed.stdout
    with Detector(exported.folder) as before, Detector(model) as after:
        assert after.card.threshold.false_alarm_rate is None
        assert after.card.threshold.image_score == before.card.threshold.image_score
        image = small_dataset.test[-1].source()
        whole, half = before.inspect(image), after.inspect(image)
        assert half.anomaly_map is not None
        assert whole.anomaly_map is not None
        assert not half.anomaly_map[:, :180].any()
        assert np.array_equal(half.anomaly_map[:, 180:], whole.anomaly_map[:, 180:])
        looked_at = ~right_half.ignored(240, 360)
        highest = np.sort(half.anomaly_map[looked_at])[-(looked_at.sum() // 1000) :]
        assert half.score == pytest.approx(highest.mean(), rel=1e-5)
        assert all(region.x_px >= 180 for region in half.regions)
        with pytest.raises(BadImageError, match="drawn on images of 360 x 240 px"):
            after.inspect(random_image(100, 100))
    undone = l2bt("area", model, "--everywhere", folder=tmp_path)
    assert "looked at everywhere" in undone.stdout
    assert CardFiles.find(model).card.area is None
    assert "nothing to change" in l2bt("area", model, "--everywhere", folder=tmp_path).stdout


def test_a_server_looks_where_its_repository_says(
    repository: Path,
    bundle: ProductBundle,
    small_dataset: Dataset,
    right_half: InspectionArea,
    tmp_path: Path,
) -> None:
    copy = Path(shutil.copytree(repository, tmp_path / "models"))
    files = CardFiles.find(copy)
    assert files.is_repository
    files.change_area(right_half)
    with (
        TritonServer(copy, ServerSettings.on_free_ports(tmp_path / "log.txt")) as server,
        Client(server.grpc_address) as client,
    ):
        found = client.inspect(small_dataset.test[-1].source())
        assert found.anomaly_map is not None
        assert not found.anomaly_map[:, :180].any()
        assert found.anomaly_map[:, 180:].any()
        with pytest.raises(BadImageError, match="drawn on images of 360 x 240 px"):
            client.inspect(random_image(100, 100))
        # The card is told whatever the size of the images.
        assert client.read_card().area == right_half


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["area.json", "--everywhere"], "exclude each other"),
        (["nowhere.json"], "nowhere.json cannot be read"),
    ],
)
def test_wishes_that_cannot_be_met_are_refused(
    bundle: ProductBundle, options: list[object], reason: str, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(bundle.folder, tmp_path / "plate"))
    before = (folder / "product.json").read_bytes()
    result = l2bt("area", folder, *options, folder=tmp_path)
    assert result.returncode == 1
    assert reason in result.stderr
    assert (folder / "product.json").read_bytes() == before
