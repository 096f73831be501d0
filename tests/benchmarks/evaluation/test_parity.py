"""Parity: two ways of running a product, held against each other."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from benchmarks.evaluation.parity.compare import ImageParity, ParityLimits, ParityResult, compare
from benchmarks.evaluation.parity.contenders import Contender, Places
from benchmarks.evaluation.parity.run import run_parity, write_results
from benchmarks.evaluation.parity.stress import Stress
from runtime.detector import Detector, EngineDetector
from runtime.engines.openvino_engine import OpenVINOEngine
from runtime.errors import OptionError
from runtime.models.exported_model import ExportedModel
from runtime.products.catalogue import SingleProduct
from train.data.dataset import Dataset
from train.students.bundle import ProductBundle
from triton_repo.server.server import TritonServer

# Far beyond this teacher's own range: its residual stream then reaches about 100,000.
STRESS = Stress(residual=30000)


class ShiftedEngine(OpenVINOEngine):
    """The real engine, with what it says multiplied."""

    factor = 1.0

    def infer(self, tiles, slots=None):  # type: ignore[no-untyped-def]
        return super().infer(tiles, slots) * np.float32(self.factor)


def shifted(exported: ExportedModel, factor: float) -> EngineDetector:
    engine = ShiftedEngine(exported.onnx_path)
    engine.factor = factor
    return EngineDetector(engine, exported.written_products())


def row(**changes: object) -> ImageParity:
    fields: dict[str, object] = {
        "name": "a",
        "max_difference": 0.0,
        "mean_difference": 0.0,
        "spread": 1.0,
        "cosine": 1.0,
        "reference_score": 1.0,
        "candidate_score": 1.0,
        "flipped": False,
    }
    return ImageParity(**{**fields, **changes})  # type: ignore[arg-type]


def result_of(*images: ImageParity, **limits: float) -> ParityResult:
    return ParityResult(
        reference="a",
        candidate="b",
        threshold=0.5,
        limits=ParityLimits(**limits),  # type: ignore[arg-type]
        images=images,
        candidate_ms=1,
        reference_ms=1,
    )


@pytest.mark.slow
def test_the_fp16_export_keeps_maps_and_decisions(
    bundle: ProductBundle, exported: ExportedModel, small_dataset: Dataset
) -> None:
    ways = [f"{exported.folder}@{how}" for how in ("f32", "fp16", "half")]
    for result in run_parity(str(bundle.folder), ways, small_dataset):
        assert result, result.reasons
        assert len(result.images) == len(small_dataset.test)


@pytest.mark.slow
def test_large_activations_break_a_naive_half_and_not_ours(
    bundle: ProductBundle, small_dataset: Dataset
) -> None:
    ways = [f"{bundle.folder}@{how}" for how in ("half", "naive")]
    ours, naive = run_parity(
        str(bundle.folder), ways, small_dataset, images=2, places=Places(stress=STRESS)
    )
    assert ours, ours.reasons
    assert not naive
    assert naive.failures == 2
    assert "NaN or infinity" in naive.reasons[0]


def test_the_stress_leaves_the_function_as_it_is(
    bundle: ProductBundle, small_dataset: Dataset
) -> None:
    way = Contender.parse(str(bundle.folder))
    with way.open() as plain, way.open(Places(stress=STRESS)) as stressed:
        (result,) = compare(plain, [stressed], small_dataset.test[:2])
    # Not quite: LayerNorm's epsilon counts less beside a larger variance.
    assert result.worst("mean_map_error") < 5e-3


def test_a_server_is_a_way(
    exported: ExportedModel, server: TritonServer, small_dataset: Dataset
) -> None:
    (result,) = run_parity(str(exported.folder), [server.grpc_address], small_dataset, images=2)
    assert result
    assert result.worst("max_difference") < 1e-6


def test_a_shifted_map_is_found_and_its_flips_are_counted(
    exported: ExportedModel, detector: Detector, small_dataset: Dataset
) -> None:
    with shifted(exported, 1e-3) as candidate:
        (result,) = compare(detector, [candidate], small_dataset.test)
    defective = sum(detector.inspect(s.source()).is_defective for s in small_dataset.test)
    assert defective > 0
    assert result.decision_flips == defective
    assert not result
    assert "decisions differ" in result.reasons[0]


def test_a_small_shift_is_within_the_limits(
    exported: ExportedModel, detector: Detector, small_dataset: Dataset
) -> None:
    with shifted(exported, 1.0001) as candidate:
        (result,) = compare(detector, [candidate], small_dataset.test[:1])
    assert result
    image = result.images[0]
    assert image.score_error == pytest.approx(1e-4, rel=0.1)
    assert image.cosine == pytest.approx(1)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (row(flipped=True), "1 of 1 decisions differ"),
        (row(mean_difference=0.02), "mean_map_error is up to 0.02"),
        (row(candidate_score=1.5), "score_error is up to 0.5"),
        (row(failure="no answer"), "no answer"),
    ],
)
def test_each_limit_can_fail_alone(image: ImageParity, reason: str) -> None:
    result = result_of(image)
    assert not result
    assert reason in result.reasons[0]
    assert len(result.reasons) == 1


def test_limits_can_be_widened() -> None:
    assert result_of(row(flipped=True), row(), decision_flips=1)


def test_limits_are_checked() -> None:
    with pytest.raises(OptionError, match="score_error is -1"):
        ParityLimits(score_error=-1)


def test_another_threshold_is_refused(
    exported: ExportedModel, detector: Detector, small_dataset: Dataset
) -> None:
    card = exported.product
    other = replace(card, threshold=replace(card.threshold, image_score=9.0))
    with (
        EngineDetector(OpenVINOEngine(exported.onnx_path), SingleProduct(other)) as candidate,
        pytest.raises(OptionError, match="differ in their card's threshold"),
    ):
        compare(detector, [candidate], small_dataset.test[:1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nowhere", "nowhere is no folder; expected a product bundle"),
        ("{exported}@int8", "can be run as @f32, @bf16, @fp16, @half, @tensorrt"),
        ("{bundle}@int8", "can be run as @fp32"),
    ],
)
def test_an_unknown_way_is_refused_with_those_there_are(
    text: str, message: str, exported: ExportedModel, bundle: ProductBundle
) -> None:
    with pytest.raises(OptionError, match=message):
        Contender.parse(text.format(exported=exported.folder, bundle=bundle.folder))


def test_an_exported_model_cannot_be_stressed(exported: ExportedModel) -> None:
    with pytest.raises(OptionError, match="needs a bundle"):
        Contender.parse(str(exported.folder)).open(Places(stress=STRESS))


def test_results_are_written_as_json_and_table(tmp_path: Path) -> None:
    write_results([result_of(row(), row(failure="broken"))], tmp_path, title="plate")
    written = msgspec.json.decode((tmp_path / "parity.json").read_bytes())["results"][0]
    assert written["passed"] is False
    assert written["failures"] == 1
    assert "| b | 0 of 2 |" in (tmp_path / "parity.md").read_text()


def test_the_command_ends_with_status_1_where_a_candidate_differs(
    exported: ExportedModel, tmp_path: Path
) -> None:
    command = [
        sys.executable, "-m", "l2bt", "parity", "--reference", str(exported.folder),
        "--candidate", f"{exported.folder}@half", "--data", "synthetic", "--images", "1",
        "--out", str(tmp_path / "parity"), "--mean-map-error",
    ]  # fmt: skip
    for limit, status in (("0.05", 0), ("1e-9", 1)):
        result = subprocess.run([*command, limit], capture_output=True, text=True, check=False)
        assert result.returncode == status, result.stderr
    assert "not the same as" in result.stderr
    assert json.loads((tmp_path / "parity" / "parity.json").read_text())["results"]
