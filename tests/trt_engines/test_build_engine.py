"""Building an engine: what is written, kept and deleted; with a stand-in for TensorRT.

The stand-in builds nothing. Its inspector tells of the layers that the test puts there.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest

import runtime.engines.tensorrt.gpu
import runtime.engines.tensorrt.library
import runtime.models.doctor
import trt_engines.build_engine
from l2bt import open_model
from runtime.engines.tensorrt.gpu import Gpu
from runtime.engines.tensorrt.library import TensorRTLog, check_version, load_tensorrt
from runtime.engines.tensorrt.manifest import EngineMachine
from runtime.errors import EngineMismatchError, ModelError, OptionError
from runtime.models.built_engines import find_engine
from runtime.models.doctor import MISSING, NOTE, OK, check_machine, check_model
from runtime.models.exported_model import ExportedModel
from tests.parts.small import SHALLOW_LAYERS
from trt_engines.build_engine import build_engine, build_if_needed
from trt_engines.options import EngineOptions
from trt_engines.progress import progress_monitor

A10 = Gpu(
    name="NVIDIA A10", compute_capability="8.6", cuda="12.9", driver="575.1", memory_bytes=24 << 30
)
VERSION = "10.16.1.11"
# Six of each block; the patches; three of each student, three of each judge.
PRODUCTS = SHALLOW_LAYERS[-1] * 6 + 1 + 6 + 6


def layers_of(path: Path, *, product: str = "Half", norm: str = "Float") -> str:
    """What an inspector would say of a network whose nodes are one layer each."""
    layers = []
    for node in onnx.load(str(path)).graph.node:
        precision = product if node.op_type in ("MatMul", "Conv") else norm
        layers.append(
            {
                "Name": node.name,
                "LayerType": "kgen",
                "Inputs": [{"Name": "a", "Datatype": precision}],
                "Outputs": [{"Name": "b", "Datatype": precision}],
                "Metadata": f"[ONNX Layer: {node.name}]",
            }
        )
    return json.dumps({"Layers": layers})


class Library:
    """As much of the bindings as building touches, but for the building itself."""

    __version__ = VERSION
    ILogger = object
    TensorIOMode = SimpleNamespace(INPUT=0, OUTPUT=1)
    LayerInformationFormat = SimpleNamespace(JSON=1)

    def __init__(self) -> None:
        self.information = ""
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.fits_driver = True

    def Builder(self, logger: Any) -> object:  # noqa: N802
        if not self.fits_driver:
            logger.log("Severity.ERROR", "CUDA initialization failure with error: 35")
            raise TypeError("pybind11::init(): factory function returned nullptr")
        return object()

    def Runtime(self, logger: Any) -> Any:  # noqa: N802
        sizes = {"tiles": (-1, 224, 224, 3), "product": (-1,), "patch_map": (-1, 16, 16)}
        context = SimpleNamespace(set_input_shape=self.shapes.__setitem__)

        def inform(_: object) -> str:
            # As TensorRT: without shapes a dynamic engine's layers tell nothing.
            assert inspector.execution_context is context
            return self.information

        inspector = SimpleNamespace(execution_context=None, get_engine_information=inform)
        engine = SimpleNamespace(
            create_execution_context=lambda: context,
            create_engine_inspector=lambda: inspector,
            num_io_tensors=3,
            get_tensor_name=lambda index: list(sizes)[index],
            get_tensor_mode=lambda name: int(name == "patch_map"),
            get_tensor_shape=sizes.__getitem__,
        )
        return SimpleNamespace(deserialize_cuda_engine=lambda plan: engine)


Build = Callable[..., Any]


@pytest.fixture
def library(exported: ExportedModel, monkeypatch: pytest.MonkeyPatch) -> Library:
    library = Library()
    library.information = layers_of(exported.path_of("fp16"))
    for module in (trt_engines.build_engine, runtime.models.doctor):
        monkeypatch.setattr(module, "load_tensorrt", lambda: (library, A10))
    monkeypatch.setattr(runtime.models.doctor, "find_gpu", lambda: A10)
    plans = iter([b"the first plan", b"the second plan", b"the third plan"])
    monkeypatch.setattr(trt_engines.build_engine, "build_plan", lambda *a, **k: next(plans))
    return library


def machine() -> EngineMachine:
    return EngineMachine.of(A10, VERSION)


def test_an_engine_is_written_with_its_manifest_and_found(
    library: Library, exported: ExportedModel, tmp_path: Path
) -> None:
    options = EngineOptions(best_batch=2, largest_batch=8)
    built = build_engine(exported, options, engines=tmp_path)
    assert built.folder == tmp_path / "plate" / "nvidia-a10-sm86-trt10.16.1.11"
    assert built.plan_path.read_bytes() == b"the first plan"
    assert find_engine(exported, machine(), engines=tmp_path).manifest == built.manifest
    assert built.manifest.proof is not None
    assert built.manifest.proof.fp16_products == built.manifest.proof.products == PRODUCTS
    assert built.manifest.builder_options["builder_level"] == "3"


def test_the_layers_are_asked_about_for_the_batch_that_the_engine_is_tuned_for(
    library: Library, exported: ExportedModel, tmp_path: Path
) -> None:
    build_engine(exported, EngineOptions(best_batch=2), engines=tmp_path)
    assert library.shapes == {"tiles": (2, 224, 224, 3), "product": (2,)}


@pytest.mark.parametrize(
    ("precisions", "message"),
    [
        ({"product": "Float"}, "matrix products are not FP16"),
        ({"norm": "Half"}, "normalisations are not FP32"),
    ],
)
def test_an_engine_that_is_not_what_its_label_says_is_deleted(
    precisions: dict[str, str],
    message: str,
    library: Library,
    exported: ExportedModel,
    tmp_path: Path,
) -> None:
    library.information = layers_of(exported.path_of("fp16"), **precisions)
    with pytest.raises(ModelError, match=message):
        build_engine(exported, engines=tmp_path)
    assert not list(tmp_path.rglob("*.plan"))


def test_a_failed_rebuild_keeps_the_engine_that_was_there(
    library: Library, exported: ExportedModel, tmp_path: Path
) -> None:
    build_engine(exported, engines=tmp_path)
    library.information = layers_of(exported.path_of("fp16"), product="Float")
    with pytest.raises(ModelError):
        build_engine(exported, engines=tmp_path, rebuild=True)
    kept = find_engine(exported, machine(), engines=tmp_path)
    assert kept.plan_path.read_bytes() == b"the first plan"
    assert len(list((tmp_path / "plate").iterdir())) == 1


def test_an_engine_is_replaced_only_if_asked(
    library: Library, exported: ExportedModel, tmp_path: Path
) -> None:
    build_engine(exported, engines=tmp_path)
    with pytest.raises(OptionError, match="exists already.*--rebuild"):
        build_engine(exported, engines=tmp_path)
    again = build_engine(exported, engines=tmp_path, rebuild=True)
    assert again.plan_path.read_bytes() == b"the second plan"


def test_rebuilding_where_needed_keeps_batch_sizes_and_does_nothing_where_it_fits(
    library: Library, exported: ExportedModel, tmp_path: Path
) -> None:
    options = EngineOptions(best_batch=6, largest_batch=128)
    built = build_engine(exported, options, engines=tmp_path)
    build_if_needed(exported.folder, engines=tmp_path)
    assert built.plan_path.read_bytes() == b"the first plan"
    built.plan_path.write_bytes(b"cut")
    build_if_needed(exported.folder, engines=tmp_path)
    found = find_engine(exported, machine(), engines=tmp_path).manifest
    assert (found.profile.best, found.profile.largest) == (6, 128)


def test_another_precision_is_built_where_it_is_asked_for(
    library: Library, exported: ExportedModel, tmp_path: Path
) -> None:
    build_engine(exported, engines=tmp_path)
    build_if_needed(exported.folder, engines=tmp_path, precision="fp32")
    found = find_engine(exported, machine(), engines=tmp_path).manifest
    assert (found.precision, found.proof) == ("fp32", None)


def test_a_model_without_fp16_says_how_to_get_it(
    library: Library, exported: ExportedModel, tmp_path: Path
) -> None:
    from dataclasses import replace

    manifest = replace(exported.manifest, onnx_sha256={"fp32": "0" * 64})
    with pytest.raises(OptionError, match="no network in 'fp16', only in fp32"):
        build_engine(replace(exported, manifest=manifest), engines=tmp_path)


@pytest.mark.parametrize(("device", "state"), [("any", NOTE), ("cpu", NOTE), ("gpu", MISSING)])
def test_on_a_machine_with_a_gpu_a_missing_pycuda_matters_only_for_the_gpu(
    device: str, state: str, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pycuda", None)
    checks = {check.name: check for check in check_machine(device=device)}
    assert checks["GPU"].found.startswith("NVIDIA A10, compute capability 8.6, 24.0 GiB")
    assert checks["TensorRT"].found == VERSION
    assert (checks["pycuda"].state, "tensorrt" in checks["pycuda"].advice) == (state, True)


def test_the_doctor_knows_whether_a_models_engine_is_there(
    library: Library, exported: ExportedModel, tmp_path: Path
) -> None:
    before = list(check_model(exported.folder, device="gpu", engines=tmp_path))
    assert before[1].state == MISSING
    assert "l2bt engine" in before[1].advice
    build_engine(exported, engines=tmp_path)
    after = list(check_model(exported.folder, device="gpu", engines=tmp_path))
    assert [check.state for check in after] == [OK, OK]


def test_a_driver_too_old_for_tensorrt_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library()
    library.fits_driver = False
    monkeypatch.setattr(runtime.engines.tensorrt.library, "find_gpu", lambda: A10)
    monkeypatch.setitem(sys.modules, "tensorrt", library)
    with pytest.raises(ModelError, match=r"supports CUDA 12\.9 \(CUDA initial.*tensorrt-cu12"):
        load_tensorrt()


@pytest.mark.parametrize("version", ["8.6.1", "10.0.1", "10.2.0"])
def test_an_old_tensorrt_is_refused(version: str) -> None:
    with pytest.raises(OptionError, match=rf"TensorRT {version} .* 10\.3 or newer"):
        check_version(version)


@pytest.mark.parametrize("version", ["10.3.0", "10.16.1.11", "11.4.0.106"])
def test_the_versions_that_are_promised_pass(version: str) -> None:
    check_version(version)


def test_rebuilding_belongs_to_exported_models_on_a_gpu(exported: ExportedModel) -> None:
    with pytest.raises(OptionError, match="--rebuild and --engines belong to"):
        open_model(exported.folder, rebuild=True)


def test_the_log_keeps_the_last_warnings_and_errors() -> None:
    log = TensorRTLog()
    logger = log.logger(SimpleNamespace(ILogger=object))
    for number in range(1000):
        logger.log("Severity.VERBOSE", "much")
        logger.log("Severity.WARNING", f"warning {number % 2}")
    logger.log("Severity.ERROR", "the cause")
    assert log.errors() == "the cause"
    assert log.warnings() == ["warning 1", "warning 0"]
    assert len(log.lines) == 200


class ProgressMonitor:
    pass


def test_ctrl_c_in_a_build_ends_it_at_the_next_step_and_is_raised() -> None:
    def build() -> None:
        with progress_monitor(SimpleNamespace(IProgressMonitor=ProgressMonitor)) as monitor:
            monitor.phase_start("building", None, 10)
            assert monitor.step_complete("building", 0)
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr("tqdm.tqdm.update", interrupt)
                assert not monitor.step_complete("building", 1)
            monitor.phase_finish("building")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build()


def test_without_a_monitor_in_the_bindings_nothing_is_shown() -> None:
    with progress_monitor(SimpleNamespace()) as monitor:
        assert monitor is None


def test_a_foreign_machines_engine_names_what_differs(
    library: Library, exported: ExportedModel, tmp_path: Path
) -> None:
    built = build_engine(exported, engines=tmp_path)
    other = EngineMachine.of(A10, "11.4.0")
    built.folder.rename(built.folder.with_name(other.label))
    with pytest.raises(EngineMismatchError, match=r"TensorRT 10\.16\.1\.11, and here is 11\.4\.0"):
        find_engine(exported, other, engines=tmp_path)
