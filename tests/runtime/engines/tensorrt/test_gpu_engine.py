"""The TensorRT path on a real GPU. These tests have not been run on one yet."""

from pathlib import Path

import pytest

from benchmarks.evaluation.parity.compare import compare
from runtime.detector import Detector
from runtime.errors import EngineMismatchError, OptionError
from runtime.models.exported_model import ExportedModel
from tests.parts.gpu import with_gpu
from train.data.dataset import Dataset

pytestmark = with_gpu


@pytest.fixture(scope="module")
def engines(exported: ExportedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from trt_engines.build_engine import build_engine
    from trt_engines.options import EngineOptions

    folder = tmp_path_factory.mktemp("engines")
    built = build_engine(exported, EngineOptions(builder_level=1), engines=folder)
    assert built.manifest.proof is not None
    return folder


@pytest.mark.parametrize("cuda_graph", [False, True])
def test_the_engine_keeps_the_cpus_decisions(
    cuda_graph: bool,
    engines: Path,
    exported: ExportedModel,
    detector: Detector,
    small_dataset: Dataset,
) -> None:
    with Detector(
        exported.folder, device="gpu", engines=engines, cuda_graph=cuda_graph
    ) as candidate:
        (result,) = compare(detector, [candidate], small_dataset.test * 2)
    assert result, result.reasons


def test_another_precision_than_the_engines_is_refused(
    engines: Path, exported: ExportedModel
) -> None:
    with pytest.raises(OptionError, match="the engine .* is fp16"):
        Detector(exported.folder, device="gpu", engines=engines, precision="fp32")


def test_without_an_engine_the_command_that_builds_one_is_named(
    exported: ExportedModel, tmp_path: Path
) -> None:
    with pytest.raises(EngineMismatchError, match="l2bt engine"):
        Detector(exported.folder, device="gpu", engines=tmp_path)
