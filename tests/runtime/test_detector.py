"""Inspecting in process."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from l2bt import open_model
from runtime.detector import Detector
from runtime.errors import (
    BadImageError,
    L2BTError,
    ModelError,
    OptionError,
    UnknownProductError,
)
from runtime.images.decode import ImageArray
from runtime.models.exported_model import ExportedModel
from tests.parts.gpu import without_gpu
from tests.parts.maps import is_same_map
from tests.parts.small import random_image
from train.data.dataset import Dataset
from train.reference import ReferenceDetector
from train.students.bundle import ProductBundle


def test_the_map_has_the_images_own_resolution(detector: Detector) -> None:
    inspection = detector.inspect(random_image(123, 77))
    assert inspection.anomaly_map is not None
    assert inspection.anomaly_map.shape == (123, 77)
    assert inspection.anomaly_map.dtype == np.float32


def test_the_map_is_left_out_when_it_is_not_wanted(detector: Detector) -> None:
    assert detector.inspect(random_image(50, 50), want_map=False).anomaly_map is None


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 40), (40, 1), (224, 224), (900, 30)])
def test_any_size_and_shape_can_be_inspected(detector: Detector, height: int, width: int) -> None:
    inspection = detector.inspect(random_image(height, width))
    assert inspection.anomaly_map is not None
    assert np.isfinite(inspection.anomaly_map).all()


def test_a_defect_glows_where_it_is(detector: Detector, small_dataset: Dataset) -> None:
    sample = next(sample for sample in small_dataset.test if sample.is_defective)
    inspection = detector.inspect(sample.source())
    mask = sample.mask(240, 360)
    assert inspection.anomaly_map is not None
    assert mask is not None
    assert inspection.anomaly_map[mask].mean() > 2 * inspection.anomaly_map[~mask].mean()


def test_the_detector_agrees_with_the_reference(
    detector: Detector, bundle: ProductBundle, small_dataset: Dataset
) -> None:
    with ReferenceDetector(bundle.folder) as reference:
        for sample in small_dataset.test:
            ours, theirs = detector.inspect(sample.source()), reference.inspect(sample.source())
            assert ours.verdict == theirs.verdict
            assert abs(ours.score - theirs.score) < 1e-4 * theirs.score
            assert ours.anomaly_map is not None
            assert theirs.anomaly_map is not None
            assert is_same_map(ours.anomaly_map, theirs.anomaly_map)


def test_an_inspection_says_what_ran_it_and_how_long_each_stage_took(detector: Detector) -> None:
    inspection = detector.inspect(random_image(50, 50))
    assert inspection.engine == "openvino cpu f32"
    assert inspection.transport == "in-process"
    stages = inspection.stage_ms
    names = {"decode", "preprocess", "network", "postprocess", "waiting", "total"}
    assert set(stages) == names
    assert sum(stages.values()) == pytest.approx(2 * stages["total"])


def test_the_front_door_opens_an_exported_model_or_a_bundle(
    exported: ExportedModel, bundle: ProductBundle
) -> None:
    with open_model(exported.folder) as detector, open_model(bundle.folder) as reference:
        assert isinstance(detector, Detector)
        assert isinstance(reference, ReferenceDetector)


def test_a_folder_that_is_neither_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match="is none of what l2bt writes; expected an exported model .* or a prod"
    ):
        open_model(tmp_path)


def test_an_unknown_product_is_refused_with_the_known_one(detector: Detector) -> None:
    with pytest.raises(UnknownProductError, match="'bolt'; this model knows: plate"):
        detector.inspect(random_image(20, 20), product="bolt")


def test_a_bad_image_does_not_harm_the_next(detector: Detector) -> None:
    with pytest.raises(BadImageError):
        detector.inspect(b"no picture")
    detector.inspect(random_image(20, 20))


def test_a_closed_detector_says_so(exported: ExportedModel) -> None:
    detector = Detector(exported.folder)
    detector.close()
    detector.close()
    with pytest.raises(L2BTError, match="closed"):
        detector.inspect(random_image(20, 20))


@without_gpu
def test_a_gpu_that_is_not_there_is_refused_with_what_to_do(exported: ExportedModel) -> None:
    with pytest.raises(OptionError, match="NVIDIA driver.*--device cpu"):
        Detector(exported.folder, device="gpu")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "tpu"}, "expected 'cpu' or 'gpu'"),
        ({"cuda_graph": True}, "cuda_graph belongs to device 'gpu'"),
        ({"device": "gpu", "threads": 2}, "threads and streams belong to device 'cpu'"),
        ({"device": "gpu", "streams": 2}, "threads and streams belong to device 'cpu'"),
    ],
)
def test_options_of_another_device_are_refused(
    options: dict[str, Any], message: str, exported: ExportedModel
) -> None:
    with pytest.raises(OptionError, match=message):
        Detector(exported.folder, **options)


def test_an_unknown_precision_is_refused(exported: ExportedModel) -> None:
    with pytest.raises(OptionError, match="precision 'fp8'"):
        Detector(exported.folder, precision="fp8")


def test_bf16_is_computed_in_bf16_or_refused(
    exported: ExportedModel, detector: Detector, defective_image: ImageArray
) -> None:
    try:
        with Detector(exported.folder, precision="bf16") as coarse:
            inspection = coarse.inspect(defective_image)
    except OptionError as error:
        assert "does not compute in bf16" in str(error)
        return
    exact = detector.inspect(defective_image)
    assert inspection.engine == "openvino cpu bf16"
    assert 0 < abs(inspection.score - exact.score) < 0.1 * exact.score


def test_a_network_that_is_no_onnx_is_refused(copy_with_broken_network: Path) -> None:
    with pytest.raises(ModelError, match="OpenVINO cannot load"):
        Detector(copy_with_broken_network)


@pytest.fixture
def copy_with_broken_network(exported: ExportedModel, tmp_path: Path) -> Path:
    """A folder whose checksums are right, and whose network is none."""
    import msgspec

    from runtime.storage.atomic_write import sha256_of_file

    folder = Path(shutil.copytree(exported.folder, tmp_path / "broken"))
    (folder / "model.onnx").write_bytes(b"not a network")
    manifest = msgspec.json.decode((folder / "manifest.json").read_bytes())
    manifest["onnx_sha256"]["fp32"] = sha256_of_file(folder / "model.onnx")
    (folder / "manifest.json").write_bytes(msgspec.json.encode(manifest))
    return folder


@pytest.mark.parametrize("precision", ["f32", "fp32"])
def test_both_spellings_of_single_precision_are_one(
    precision: str, exported: ExportedModel, bundle: ProductBundle
) -> None:
    for folder in (exported.folder, bundle.folder):
        with open_model(folder, precision=precision) as opened:
            assert opened.engine_description.endswith("32")
