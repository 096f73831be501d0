"""Joint: what is fitted, and a second look at twice its size, in four tiles of the same shape."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export.fuse import export_product
from runtime.client.client import Client
from runtime.detector import Detector
from runtime.errors import OptionError
from runtime.geometry.area import InspectionArea
from runtime.geometry.geometry import GeometrySettings
from runtime.geometry.tile_buffer import TileBuffer
from runtime.products.store.changes import activate, add_version
from tests.parts.small import SHALLOW_TEACHER, random_image
from train.data.dataset import Dataset
from train.learning.learn import learn_product
from train.reference import ReferenceDetector
from train.settings import FitSettings, GeometryOptions
from train.students.bundle import write_bundle
from triton_repo.configuration.build import build_repository
from triton_repo.server.server import ServerSettings, TritonServer

SIZES = st.integers(1, 300)
JOINT = GeometrySettings(image_size=112, kind="joint", image_wh=(1500, 1000))
FITTED = replace(JOINT, kind="fitted")


@settings(max_examples=40)
@given(height=SIZES, width=SIZES)
def test_the_first_tile_is_what_is_fitted_and_the_others_lie_side_by_side(
    height: int, width: int
) -> None:
    image = random_image(height, width)
    whole = JOINT.for_image(height, width).cut(image)[0]
    (fitted,) = FITTED.for_image(height, width).cut(image)
    assert np.array_equal(whole, fitted)
    # Of images of 4 : 3 both have whole patches, so that nothing is padded differently.
    twice = replace(FITTED, image_size=224, image_wh=(4, 3)).for_image(height, width)
    joint = replace(JOINT, image_wh=(4, 3)).for_image(height, width)
    _, *tiles = joint.cut(image)
    together = np.vstack([np.hstack(tiles[:2]), np.hstack(tiles[2:])])
    assert np.array_equal(together, twice.cut(image)[0])


def test_all_tiles_have_the_shape_of_the_networks_input() -> None:
    assert JOINT.tile_wh == FITTED.tile_wh == (112, 84)
    geometry = JOINT.for_image(1000, 1500)
    assert geometry.tiles == 5
    assert geometry.grid_wh == (16, 12)


@settings(max_examples=40)
@given(height=SIZES, width=SIZES, value=st.floats(0.01, 100))
def test_where_both_looks_agree_the_map_is_what_they_say(
    height: int, width: int, value: float
) -> None:
    stitched = JOINT.for_image(height, width).stitch(np.full((5, 6, 8), value, np.float32))
    assert stitched.shape == (height, width)
    assert np.allclose(stitched, value, rtol=1e-5)


def test_what_is_strange_in_one_look_alone_counts_by_its_root() -> None:
    maps = np.ones((5, 6, 8), np.float32)
    maps[1, 2, 3] = 16
    joined = JOINT.for_image(1000, 1500).join(maps)
    assert joined[2, 3] == pytest.approx(4)
    maps[0] = 9
    assert JOINT.for_image(1000, 1500).join(maps)[2, 3] == pytest.approx(12)


def test_a_defect_keeps_its_place_in_each_tile_of_the_second_look() -> None:
    geometry = JOINT.for_image(1000, 1500)
    for number, (left, top) in enumerate([(0, 0), (750, 0), (0, 500), (750, 500)], 1):
        maps = np.full((5, 6, 8), 0.1, np.float32)
        maps[number, 3, 4] = 5
        y_px, x_px = np.unravel_index(int(np.argmax(geometry.stitch(maps))), (1000, 1500))
        assert abs(int(x_px) - (left + 4.5 * 750 / 8)) <= 750 / 16
        assert abs(int(y_px) - (top + 3.5 * 500 / 6)) <= 500 / 12


def test_the_border_is_as_wide_and_counts_as_little_in_both_looks() -> None:
    weighed = replace(JOINT, border_weights=(0.25,)).for_image(1000, 1500)
    joined = weighed.join(np.ones((5, 6, 8), np.float32))
    # Between two patches of the whole image lies a step, which is brought over by interpolation.
    assert joined[0, 8] == pytest.approx(0.25)
    assert joined[1, 8] == pytest.approx((0.25 * (0.75 * 0.25 + 0.25)) ** 0.5)
    assert joined[3:9, 3:13] == pytest.approx(1)


def test_tiles_outside_the_inspection_area_are_not_looked_at() -> None:
    left = InspectionArea(
        image_wh=(1500, 1000),
        include=(((0, 0), (300, 0), (300, 1000), (0, 1000)),),
    )
    whole = JOINT.for_image(1000, 1500)
    part = JOINT.for_image(1000, 1500, area=left)
    image = random_image(1000, 1500)
    assert part.tiles == 3
    assert np.array_equal(part.cut(image), whole.cut(image)[[0, 1, 3]])
    maps = np.random.default_rng(0).random((5, 6, 8)).astype(np.float32)
    found = part.stitch(maps[[0, 1, 3]])
    assert np.allclose(found[:, :300], whole.stitch(maps)[:, :300])
    assert (found[:, 301:] == 0).all()


def test_the_memory_for_tiles_may_be_used_again() -> None:
    buffer, geometry = TileBuffer(), JOINT.for_image(200, 300)
    for seed in (1, 2):
        image = random_image(200, 300, seed=seed)
        assert np.array_equal(geometry.cut(image, buffer), geometry.cut(image))


def test_it_needs_the_images_shape_and_has_no_overlap() -> None:
    with pytest.raises(OptionError, match="belong to the geometries 'fitted' and 'joint'"):
        GeometrySettings(kind="joint")
    with pytest.raises(OptionError, match="belong to tiles, not to joint"):
        replace(JOINT, scale=0.5)


def test_a_joint_product_is_learned_exported_and_served_beside_a_fitted_one(
    small_dataset: Dataset, tmp_path: Path
) -> None:
    bundle = learn_product(
        small_dataset,
        tmp_path / "plate",
        teacher_settings=SHALLOW_TEACHER,
        fit_settings=FitSettings(steps=30, held_out=0.25),
        geometry=GeometryOptions(geometry="joint", image_size=112),
    )
    assert bundle.card.geometry.kind == "joint"
    fitted = replace(
        bundle.card, product="fitted", geometry=replace(bundle.card.geometry, kind="fitted")
    )
    model = export_product(bundle, tmp_path / "exported", precision="fp32", capacity=4)
    add_version(model.store, write_bundle(tmp_path / "fitted", fitted, bundle.students).folder)
    activate(model.store, "fitted")
    repository = build_repository(model, tmp_path / "models")
    image = small_dataset.test[-1].pixels()
    with (
        ReferenceDetector(bundle.folder) as reference,
        Detector(model.folder) as detector,
        TritonServer(repository, ServerSettings.on_free_ports(tmp_path / "log.txt")) as server,
        Client(server.grpc_address) as client,
    ):
        expected = reference.inspect(image)
        for inspector in (detector, client):
            found = inspector.inspect(image, product="plate")
            assert found.score == pytest.approx(expected.score, rel=1e-3)
            assert found.anomaly_map is not None
            assert found.anomaly_map.shape == image.shape[:2]
            other = inspector.inspect(image, product="fitted")
            assert other.score != pytest.approx(found.score, rel=1e-3)
