"""A network whose input has the shape of the product's images."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.compute.explicit_blur import blur_explicitly
from export.fuse import export_product
from runtime.client.client import Client
from runtime.detector import Detector
from runtime.errors import BadImageError, ModelError, OptionError
from runtime.geometry.geometry import GeometrySettings
from runtime.images.decode import ImageArray
from runtime.models.exported_model import ExportedModel
from runtime.products.store.changes import add_version
from tests.parts.small import SHALLOW_LAYERS, SHALLOW_TEACHER, random_image
from train.data.dataset import Dataset
from train.learning.learn import learn_product
from train.reference import ReferenceDetector
from train.settings import FitSettings, GeometryOptions
from train.students.bundle import ProductBundle
from triton_repo.configuration.build import build_repository
from triton_repo.server.server import ServerSettings, TritonServer
from trt_engines.compile_check import compile_without_gpu

SIZES = st.integers(1, 300)
LANDSCAPE = GeometrySettings(image_size=112, kind="fitted", image_wh=(1500, 1000))


@pytest.fixture(scope="module")
def fitted_bundle(
    small_dataset: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> ProductBundle:
    return learn_product(
        small_dataset,
        tmp_path_factory.mktemp("fitted") / "plate",
        teacher_settings=SHALLOW_TEACHER,
        fit_settings=FitSettings(steps=30, held_out=0.25),
        geometry=GeometryOptions(geometry="fitted", image_size=112),
    )


@pytest.fixture(scope="module")
def fitted_model(
    fitted_bundle: ProductBundle, tmp_path_factory: pytest.TempPathFactory
) -> ExportedModel:
    folder = tmp_path_factory.mktemp("fitted-exported")
    return export_product(fitted_bundle, folder / "plate", precision="fp16")


@pytest.mark.parametrize(
    ("image_wh", "tile_wh"),
    [
        ((1500, 1000), (518, 350)),
        ((1000, 1500), (350, 518)),
        ((37, 37), (518, 518)),
        ((10_000, 10), (518, 14)),
    ],
)
def test_the_input_has_the_images_shape_in_whole_patches(
    image_wh: tuple[int, int], tile_wh: tuple[int, int]
) -> None:
    geometry = GeometrySettings(kind="fitted", image_wh=image_wh)
    assert geometry.tile_wh == tile_wh
    assert geometry.grid_wh == (tile_wh[0] // 14, tile_wh[1] // 14)


@settings(max_examples=60)
@given(width=st.integers(1, 5000), height=st.integers(1, 5000))
def test_images_of_that_shape_are_padded_by_less_than_a_patch(width: int, height: int) -> None:
    geometry = GeometrySettings(kind="fitted", image_wh=(width, height))
    padded_width, padded_height = geometry.padded_wh(height, width)
    patch_px = 14 * max(width, height) / 518
    assert 0 <= padded_width - width < patch_px + 1
    assert 0 <= padded_height - height < patch_px + 1


def test_square_images_are_looked_at_as_in_a_square() -> None:
    image = random_image(300, 300)
    fitted = GeometrySettings(image_size=112, kind="fitted", image_wh=(300, 300))
    square = GeometrySettings(image_size=112)
    assert np.array_equal(
        fitted.for_image(300, 300).cut(image), square.for_image(300, 300).cut(image)
    )


@settings(max_examples=40)
@given(height=SIZES, width=SIZES)
def test_images_of_any_other_shape_are_padded_to_it(height: int, width: int) -> None:
    (tile,) = LANDSCAPE.for_image(height, width).cut(random_image(height, width))
    assert tile.shape == (84, 112, 3)


def test_the_padding_repeats_the_edges() -> None:
    image = random_image(84, 56)
    (tile,) = LANDSCAPE.for_image(84, 56).cut(image)
    assert np.array_equal(tile[:, 28:84], image)
    assert (tile[:, :28] == image[:, :1]).all()
    assert (tile[:, 84:] == image[:, -1:]).all()


@settings(max_examples=40)
@given(height=SIZES, width=SIZES, seed=st.integers(0, 2**32 - 1))
def test_stitching_is_upsampling_blurring_and_cropping(height: int, width: int, seed: int) -> None:
    patch_map = np.random.default_rng(seed).random((1, 6, 8)).astype(np.float32)
    stitched = LANDSCAPE.for_image(height, width).stitch(patch_map)
    padded_width, padded_height = LANDSCAPE.padded_wh(height, width)
    top, left = (padded_height - height) // 2, (padded_width - width) // 2
    pixels = functional.interpolate(
        torch.from_numpy(patch_map)[None], size=(padded_height, padded_width), mode="bilinear"
    )
    # Without the dark frame of the paper's zero padding, which is the square's alone: the eight
    # blurs are one kernel of 39 px, whose border is renormalised once.
    ground, ones = (functional.pad(one, (19,) * 4) for one in (pixels, torch.ones_like(pixels)))
    blurred = (blur_explicitly(ground) / blur_explicitly(ones))[0, 0, 19:, 19:]
    expected = blurred[top : top + height, left : left + width].numpy()
    assert stitched.shape == (height, width)
    assert np.abs(stitched - expected).max() < 1e-5


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"kind": "fitted"}, "'fitted' and 'joint', which need them"),
        ({"kind": "square", "image_wh": (3, 2)}, "belong to the geometries 'fitted'"),
        ({"kind": "fitted", "image_wh": (0, 2)}, "expected a width and a height from 1"),
        ({"kind": "fitted", "image_wh": (3, 2), "scale": 0.5}, "belong to tiles, not to fitted"),
    ],
)
def test_what_cannot_be_fitted_is_refused(options: dict[str, object], reason: str) -> None:
    with pytest.raises(OptionError, match=reason):
        GeometrySettings(**options)  # type: ignore[arg-type]


def test_an_image_that_would_be_padded_to_too_many_pixels_is_refused() -> None:
    with pytest.raises(BadImageError, match="padded to 30000 x 22500 px it has more than"):
        LANDSCAPE.for_image(1, 30_000)


def test_the_shape_is_that_of_most_training_images(fitted_bundle: ProductBundle) -> None:
    assert fitted_bundle.card.geometry.image_wh == (360, 240)
    assert fitted_bundle.card.geometry.tile_wh == (112, 84)


def test_the_exported_network_takes_that_shape(fitted_model: ExportedModel) -> None:
    assert fitted_model.manifest.tile_wh == (112, 84)
    assert fitted_model.manifest.grid_wh == (8, 6)


def test_the_fp16_network_compiles_for_a_gpu_as_a_square_one_does(
    fitted_model: ExportedModel,
) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed")
    proof = compile_without_gpu(fitted_model.path_of("fp16"), "8.6").proof
    assert proof.fused_attentions == proof.attentions == SHALLOW_LAYERS[-1]
    assert proof.fp16_products == proof.products
    assert proof.fp32_normalisations == proof.normalisations


@pytest.fixture(scope="module")
def images(small_dataset: Dataset) -> list[ImageArray]:
    """The product's own, and one of another shape."""
    return [*(sample.pixels() for sample in small_dataset.test[:3]), random_image(200, 90)]


def test_the_exported_network_finds_what_pytorch_finds(
    fitted_bundle: ProductBundle, fitted_model: ExportedModel, images: list[ImageArray]
) -> None:
    with (
        ReferenceDetector(fitted_bundle.folder) as reference,
        Detector(fitted_model.folder) as detector,
    ):
        for image in images:
            expected, found = (one.inspect(image, want_map=True) for one in (reference, detector))
            assert expected.anomaly_map is not None
            assert found.anomaly_map is not None
            assert found.score == pytest.approx(expected.score, rel=1e-3)
            assert np.abs(found.anomaly_map - expected.anomaly_map).max() < 1e-3


def test_a_server_finds_what_the_detector_finds(
    fitted_model: ExportedModel, images: list[ImageArray], tmp_path: Path
) -> None:
    repository = build_repository(fitted_model, tmp_path / "models")
    with (
        Detector(fitted_model.folder) as detector,
        TritonServer(repository, ServerSettings.on_free_ports(tmp_path / "log.txt")) as server,
        Client(server.grpc_address) as client,
    ):
        for image in images:
            expected, found = (one.inspect(image, want_map=True) for one in (detector, client))
            assert found.score == pytest.approx(expected.score, rel=1e-5)
            assert found.anomaly_map is not None
            assert found.anomaly_map.shape == image.shape[:2]


def test_a_product_of_another_shape_does_not_fit_a_networks_bank(
    fitted_model: ExportedModel, tiny_bundle: ProductBundle
) -> None:
    with pytest.raises(ModelError, match="of 112 px, and the network here takes 112 x 84 px"):
        add_version(fitted_model.store, tiny_bundle.folder)
