"""An exported network run by PyTorch: the same maps, on a device that was named."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.evaluation.parity.compare import compare
from export.emulated_engine import EmulatedHalfEngine
from export.torch_engine.engine import BATCH_SIZES, TorchEngine, _batches
from export.torch_engine.graph import OnnxGraph
from l2bt import open_model
from runtime.detector import Detector
from runtime.engines.openvino_engine import OpenVINOEngine
from runtime.errors import GpuUnavailableError, L2BTError, ModelError, OptionError
from runtime.models.exported_model import ExportedModel
from tests.parts.gpu import with_torch_gpu, without_torch_gpu
from tests.parts.maps import is_same_map
from tests.parts.small import SMALL_IMAGE_SIZE
from train.data.dataset import Dataset
from train.students.bundle import ProductBundle

SLOTS = np.zeros(3, np.int32)


def tiles(count: int) -> npt.NDArray[np.uint8]:
    shape = (count, SMALL_IMAGE_SIZE, SMALL_IMAGE_SIZE, 3)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@pytest.fixture(scope="module")
def expected(exported: ExportedModel) -> npt.NDArray[np.float32]:
    engine = OpenVINOEngine(exported.onnx_path)
    maps = engine.infer(tiles(3), SLOTS)
    engine.close()
    return maps


@pytest.mark.parametrize("fused", [False, True])
def test_the_fp32_file_gives_the_maps_that_openvino_gives(
    fused: bool, exported: ExportedModel, expected: npt.NDArray[np.float32]
) -> None:
    engine = TorchEngine(exported.onnx_path, device="cpu", fused=fused)
    assert is_same_map(engine.infer(tiles(3), SLOTS), expected, tolerance=3e-5)


def test_the_fp16_file_rounds_as_its_emulation_does(exported: ExportedModel) -> None:
    path = exported.path_of("fp16")
    emulated = EmulatedHalfEngine(path).infer(tiles(1), SLOTS[:1])
    found = TorchEngine(path, device="cpu", fused=False).infer(tiles(1), SLOTS[:1])
    assert is_same_map(found, emulated, tolerance=0.01)


def test_attention_gelu_and_biases_of_the_teacher_are_fused(exported: ExportedModel) -> None:
    cpu = torch.device("cpu")
    for precision in ("fp32", "fp16"):
        path = exported.path_of(precision)
        kinds = [step.operator.__name__ for step in OnnxGraph(path, device=cpu, fused=True)._steps]
        blocks = exported.manifest.teacher.layers[-1]
        assert kinds.count("_attention") == blocks
        # Each direction's judge has one too.
        assert kinds.count("_gelu") >= blocks
        assert kinds.count("_linear") == 4 * blocks


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_run_reads_nothing_back_so_that_it_can_be_recorded(
    precision: str, exported: ExportedModel
) -> None:
    # A tensor of this device has no numbers: whoever asks for one fails.
    nowhere = torch.device("meta")
    graph = OnnxGraph(exported.path_of(precision), device=nowhere)
    given_tiles = torch.empty((2, SMALL_IMAGE_SIZE, SMALL_IMAGE_SIZE, 3), dtype=torch.uint8)
    maps = graph.run(given_tiles.to(nowhere), torch.empty(2, dtype=torch.int32, device=nowhere))
    columns, rows = exported.manifest.grid_wh
    assert maps.shape == (2, rows, columns)
    assert maps.dtype is torch.float32


@given(st.integers(0, 200), st.sets(st.integers(2, 40)))
def test_batches_hold_every_tile_once_and_in_order(count: int, larger: set[int]) -> None:
    sizes = (*sorted(larger, reverse=True), 1)
    held = [at for start, size in _batches(count, sizes) for at in range(start, start + size)]
    assert held == list(range(count))
    assert all(size in sizes for _, size in _batches(count, sizes))


def test_the_size_of_its_batches_does_not_matter(exported: ExportedModel) -> None:
    one_by_one = TorchEngine(exported.onnx_path, device="cpu", batch_sizes=(1,))
    together = TorchEngine(exported.onnx_path, device="cpu", batch_sizes=(2, 1))
    found = together.infer(tiles(3), SLOTS)
    assert is_same_map(found, one_by_one.infer(tiles(3), SLOTS))


def test_students_are_replaced_while_it_is_loaded(exported: ExportedModel) -> None:
    engine = TorchEngine(exported.path_of("fp16"), device="cpu")
    before = engine.infer(tiles(1), SLOTS[:1])
    served = exported.store.serving()
    assert served.version is not None
    engine.fill(1, exported.store.students(served.card.product, served.version))
    assert np.array_equal(engine.infer(tiles(1), np.ones(1, np.int32)), before)
    engine.clear(1)
    assert np.isnan(engine.infer(tiles(1), np.ones(1, np.int32))).all()
    assert np.array_equal(engine.infer(tiles(1), SLOTS[:1]), before)


@pytest.mark.parametrize("precision", [None, "f32", "fp16"])
def test_a_detector_takes_it_by_its_name_and_keeps_every_decision(
    precision: str | None, exported: ExportedModel, detector: Detector, small_dataset: Dataset
) -> None:
    with Detector(exported.folder, engine="torch", precision=precision) as candidate:
        assert candidate.engine_description.startswith("pytorch ")
        assert candidate.engine_description.endswith("fp16" if precision == "fp16" else "fp32")
        (result,) = compare(detector, [candidate], small_dataset.test)
    assert result, result.reasons


def test_the_programs_own_precision_of_products_is_left_as_it_was(exported: ExportedModel) -> None:
    settings = torch.backends.cuda.matmul
    before = settings.allow_tf32
    settings.allow_tf32 = True
    try:
        TorchEngine(exported.onnx_path, device="cpu").infer(tiles(1))
        assert settings.allow_tf32
    finally:
        settings.allow_tf32 = before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "jax"}, "on device 'cpu' there is openvino and torch"),
        ({"engine": "tensorrt"}, "on device 'cpu' there is openvino and torch"),
        ({"engine": "openvino", "device": "gpu"}, "on device 'gpu' there is tensorrt and torch"),
        ({"engine": "torch", "precision": "bf16"}, "on a CPU with engine 'torch' there is fp16"),
        ({"engine": "torch", "threads": 2}, "belong to device 'cpu' and engine 'openvino'"),
        ({"engine": "torch", "cuda_graph": True}, "cuda_graph belongs to device 'gpu'"),
    ],
)
def test_what_it_cannot_do_is_refused(
    options: dict[str, Any], message: str, exported: ExportedModel
) -> None:
    with pytest.raises(OptionError, match=message):
        Detector(exported.folder, **options)


@without_torch_gpu
def test_a_gpu_that_pytorch_does_not_find_is_refused(exported: ExportedModel) -> None:
    with pytest.raises(GpuUnavailableError, match=r"finds no GPU here; install PyTorch for CUDA"):
        Detector(exported.folder, device="gpu", engine="torch")


def test_a_bundle_has_no_engine_to_choose(bundle: ProductBundle) -> None:
    with pytest.raises(OptionError, match="--engine belongs to an exported model"):
        open_model(bundle.folder, engine="torch")


@pytest.mark.parametrize("sizes", [(), (2,), (1, 2), (2, 2, 1)])
def test_batches_that_cannot_hold_every_number_of_tiles_are_refused(
    sizes: tuple[int, ...], exported: ExportedModel
) -> None:
    with pytest.raises(OptionError, match="expected falling numbers that end with 1"):
        TorchEngine(exported.onnx_path, device="cpu", batch_sizes=sizes)


def test_a_closed_engine_says_so(exported: ExportedModel) -> None:
    engine = TorchEngine(exported.onnx_path, device="cpu")
    engine.close()
    engine.close()
    with pytest.raises(L2BTError, match="closed"):
        engine.infer(tiles(1))


def test_an_operator_that_is_not_known_is_named(exported: ExportedModel, tmp_path: Path) -> None:
    model = onnx.load(str(exported.onnx_path))
    model.graph.node[-1].op_type = "Compress"
    onnx.save(model, str(tmp_path / "model.onnx"))
    with pytest.raises(ModelError, match=r"operator 'Compress' of .*model\.onnx is not known"):
        TorchEngine(tmp_path / "model.onnx", device="cpu")


def test_a_file_that_is_no_network_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"not a network")
    with pytest.raises(ModelError, match=r"model\.onnx cannot be read as ONNX"):
        TorchEngine(tmp_path / "model.onnx", device="cpu")


@pytest.mark.parametrize("cuda_graph", [False, True])
@with_torch_gpu
def test_on_a_gpu_it_keeps_the_cpus_decisions(
    cuda_graph: bool, exported: ExportedModel, small_dataset: Dataset
) -> None:
    with (
        Detector(exported.folder, engine="torch") as in_fp32,
        Detector(exported.folder, device="gpu", engine="torch", cuda_graph=cuda_graph) as candidate,
    ):
        (result,) = compare(in_fp32, [candidate], small_dataset.test * 2)
    assert result, result.reasons


@with_torch_gpu
def test_a_recording_gives_the_maps_of_a_run_for_every_number_of_tiles(
    exported: ExportedModel,
) -> None:
    path = exported.path_of("fp16")
    recorded = TorchEngine(path, device="gpu", cuda_graph=True)
    plain = TorchEngine(path, device="gpu")
    for count in (1, 2, sum(BATCH_SIZES), 1):
        given_tiles = tiles(count)
        found = recorded.infer(given_tiles)
        assert is_same_map(found, plain.infer(given_tiles), tolerance=0.01)


@with_torch_gpu
def test_students_are_replaced_in_a_recording(exported: ExportedModel) -> None:
    engine = TorchEngine(exported.path_of("fp16"), device="gpu", cuda_graph=True)
    before = engine.infer(tiles(1))
    engine.clear(0)
    assert np.isnan(engine.infer(tiles(1))).all()
    served = exported.store.serving()
    assert served.version is not None
    engine.fill(0, exported.store.students(served.card.product, served.version))
    assert np.array_equal(engine.infer(tiles(1)), before)
