"""A bank of students: one network for many products."""

import shutil
import threading
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch

from export.emulated_engine import EmulatedHalfEngine
from export.fuse import export_product
from export.trace import bank_network, trace, write_half
from runtime.engines.bank_weights import BankWeights
from runtime.engines.engine import slots_of
from runtime.engines.openvino_engine import OpenVINOEngine
from runtime.errors import ModelError, OptionError
from runtime.models.exported_model import ExportedModel
from runtime.products.store.changes import activate, add_version
from tests.parts.maps import is_same_map
from tests.parts.products import variant
from tests.parts.small import SMALL_IMAGE_SIZE
from train.reference import ReferenceEngine, load_network
from train.students.bank import StudentBank
from train.students.bundle import ProductBundle
from train.students.network import BankNetwork, PatchMapNetwork
from train.students.students import Students
from trt_engines.bank_in_onnx import write_network

DIMENSION = 384


def students(seed: int) -> Students:
    torch.manual_seed(seed)
    return Students(DIMENSION).eval()


def tokens(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    return torch.randn(count, 5, DIMENSION), torch.randn(count, 5, DIMENSION)


def tiles(count: int) -> npt.NDArray[np.uint8]:
    shape = (count, SMALL_IMAGE_SIZE, SMALL_IMAGE_SIZE, 3)
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@pytest.fixture(scope="module")
def three(bundle: ProductBundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An FP32 file of four slots, three of them filled, and its FP16 counterpart."""
    network = load_network(bundle)
    bank = StudentBank.of([network.students, students(1), students(2)], capacity=4)
    folder = tmp_path_factory.mktemp("bank")
    trace(BankNetwork(network.teacher, bank).eval(), folder / "fp32.onnx")
    write_half(folder / "fp32.onnx", folder / "fp16.onnx")
    return folder


@torch.inference_mode()
def test_each_tile_is_seen_by_its_own_products_students() -> None:
    pairs = [students(seed) for seed in range(3)]
    shallow, deep = tokens(5)
    slots = torch.tensor([2, 0, 1, 2, 0], dtype=torch.int32)
    found = StudentBank.of(pairs)(shallow, deep, slots)
    for tile, slot in enumerate(slots):
        alone = pairs[slot](shallow[tile], deep[tile])
        assert torch.allclose(found[tile], alone, atol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("slot", [2, 3, 4, -1])
def test_an_empty_or_unknown_slot_gives_no_numbers(slot: int) -> None:
    bank = StudentBank.of([students(0), students(1)], capacity=4)
    shallow, deep = tokens(2)
    found = bank(shallow, deep, torch.tensor([0, slot], dtype=torch.int32))
    assert found[0].isfinite().all()
    assert found[1].isnan().all()


@torch.inference_mode()
def test_a_slot_can_be_filled_again() -> None:
    bank = StudentBank.of([students(0)], capacity=2)
    shallow, deep = tokens(1)
    slot = torch.tensor([1], dtype=torch.int32)
    bank.fill(1, students(3))
    assert torch.allclose(bank(shallow, deep, slot)[0], students(3)(shallow, deep)[0], atol=1e-5)


def test_openvino_gives_the_maps_of_separate_models(bundle: ProductBundle, three: Path) -> None:
    teacher = load_network(bundle).teacher
    pairs = [load_network(bundle).students, students(1), students(2)]
    given, slots = tiles(4), np.array([1, 0, 2, 1], np.int32)
    engine = OpenVINOEngine(three / "fp32.onnx")
    found = engine.infer(given, slots)
    engine.close()
    for tile, slot in enumerate(slots):
        alone = ReferenceEngine(PatchMapNetwork(teacher, pairs[slot]).eval(), precision="fp32")
        expected = alone.infer(given[tile : tile + 1])[0]
        assert is_same_map(found[tile], expected)


@pytest.mark.slow
def test_products_without_a_judge_keep_a_bank_of_their_own_for_each_direction(
    bundle: ProductBundle, tmp_path: Path
) -> None:
    # Equal constants would be merged by an exporter, and filling one would fill the other.
    teacher = load_network(bundle).teacher
    plain = PatchMapNetwork(teacher, students(1)).eval()
    trace(bank_network(plain, capacity=2), tmp_path / "plain.onnx")
    engine = OpenVINOEngine(tmp_path / "plain.onnx")
    given = tiles(2)
    expected = ReferenceEngine(plain, precision="fp32").infer(given)
    assert np.abs(engine.infer(given) - expected).max() < 1e-5
    engine.fill(1, numbers(bundle.students))
    expected = ReferenceEngine(load_network(bundle), precision="fp32").infer(given)
    assert np.abs(engine.infer(given, np.array([1, 1], np.int32)) - expected).max() < 1e-4
    engine.close()


def test_students_with_a_judge_are_refused_by_a_network_that_was_exported_without_one() -> None:
    pair = numbers(Students(8))
    empty = {
        name: np.zeros((2, *value.shape) if value.ndim == 2 else (2, 1, 8), np.float32)
        for name, value in pair.items()
    }
    bank = BankWeights(empty)
    bank.fill(0, pair)
    with pytest.raises(ModelError, match="judge of their own.*export it again"):
        bank.fill(0, numbers(Students(8, judged=True)))


def test_a_batch_of_many_products_is_as_each_alone(three: Path) -> None:
    engine = OpenVINOEngine(three / "fp32.onnx")
    given, slots = tiles(3), np.array([2, 0, 1], np.int32)
    together = engine.infer(given, slots)
    for tile in range(3):
        alone = engine.infer(given[tile : tile + 1], slots[tile : tile + 1])
        assert is_same_map(together[tile], alone[0])
    engine.close()


@pytest.mark.parametrize("slot", [3, 4, -1])
def test_openvino_gives_no_map_for_an_empty_or_unknown_slot(slot: int, three: Path) -> None:
    engine = OpenVINOEngine(three / "fp32.onnx")
    assert np.isnan(engine.infer(tiles(1), np.array([slot], np.int32))).all()
    engine.close()


def test_the_fp16_bank_keeps_to_the_fp32_one(three: Path) -> None:
    exact, emulated = OpenVINOEngine(three / "fp32.onnx"), EmulatedHalfEngine(three / "fp16.onnx")
    given, slots = tiles(3), np.array([2, 0, 1], np.int32)
    expected, found = exact.infer(given, slots), emulated.infer(given, slots)
    exact.close()
    emulated.close()
    assert np.abs(found - expected).mean() < 0.01 * expected.std()


def numbers(pair: Students) -> dict[str, npt.NDArray[np.float32]]:
    return {name: tensor.numpy() for name, tensor in pair.state_dict().items()}


def test_a_slot_is_filled_replaced_and_emptied_in_a_loaded_network(three: Path) -> None:
    engine = OpenVINOEngine(three / "fp32.onnx")
    slot, other = np.array([3], np.int32), np.array([1], np.int32)
    given = tiles(1)
    untouched = engine.infer(given, other)
    engine.fill(3, numbers(students(1)))
    assert is_same_map(engine.infer(given, slot), untouched, tolerance=1e-6)
    engine.fill(3, numbers(students(2)))
    assert is_same_map(engine.infer(given, slot), engine.infer(given, slot - 1), tolerance=1e-6)
    engine.clear(3)
    assert np.isnan(engine.infer(given, slot)).all()
    assert np.array_equal(engine.infer(given, other), untouched)
    engine.close()


def test_no_tile_sees_half_of_a_replacement(three: Path) -> None:
    engine = OpenVINOEngine(three / "fp32.onnx")
    first, second = numbers(students(1)), numbers(students(2))
    given, slot = tiles(1), np.array([3], np.int32)
    engine.fill(3, first)
    right = [engine.infer(given, np.array([one], np.int32)) for one in (1, 2)]
    ended = threading.Event()

    def replace() -> None:
        while not ended.is_set():
            for students_ in (second, first):
                engine.fill(3, students_)

    thread = threading.Thread(target=replace)
    thread.start()
    found = [engine.infer(given, slot) for _ in range(20)]
    ended.set()
    thread.join()
    engine.close()
    assert all(any(is_same_map(one, map_, tolerance=1e-6) for map_ in right) for one in found)


@pytest.mark.parametrize(
    ("slot", "change", "message"),
    [
        (4, {}, "no slot 4; the bank has 0 to 3"),
        (-1, {}, "no slot -1"),
        (3, {"forward_student.input.weight": np.zeros((8, 8), np.float32)}, "another teacher"),
        (3, {"forward_student.input.bias": np.full(384, np.nan, np.float32)}, "NaN, infinity"),
        (3, {"more": np.zeros(1, np.float32)}, "have the tensors .*more"),
    ],
)
def test_students_that_do_not_fit_leave_the_slot_as_it_was(
    slot: int,
    change: dict[str, npt.NDArray[np.float32]],
    message: str,
    three: Path,
) -> None:
    engine = OpenVINOEngine(three / "fp32.onnx")
    engine.fill(3, numbers(students(2)))
    before = engine.infer(tiles(1), np.array([3], np.int32))
    with pytest.raises(ModelError, match=message):
        engine.fill(slot, {**numbers(students(1)), **change})
    assert np.array_equal(engine.infer(tiles(1), np.array([3], np.int32)), before)
    engine.close()


@pytest.mark.slow
def test_an_export_has_the_capacity_that_was_asked_for(
    bundle: ProductBundle, exported: ExportedModel, tmp_path: Path
) -> None:
    wide = export_product(bundle, tmp_path / "wide", precision="fp32", capacity=3)
    assert wide.manifest.capacity == 3
    assert wide.store.serving().slot == 0
    narrow, broad = OpenVINOEngine(exported.onnx_path), OpenVINOEngine(wide.onnx_path)
    assert is_same_map(narrow.infer(tiles(1)), broad.infer(tiles(1)))
    narrow.close()
    broad.close()


def test_a_capacity_of_nothing_is_refused(bundle: ProductBundle, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="capacity is 0"):
        export_product(bundle, tmp_path / "none", capacity=0)


def test_one_product_is_a_bank_of_one(bundle: ProductBundle) -> None:
    network = load_network(bundle)
    with torch.inference_mode():
        given = torch.from_numpy(tiles(1))
        found = bank_network(network)(given, torch.zeros(1, dtype=torch.int32))
        assert torch.allclose(found, network(given), atol=1e-5)


def test_slots_are_as_many_as_tiles() -> None:
    assert slots_of(tiles(2), None).tolist() == [0, 0]
    with pytest.raises(ModelError, match="2 tiles and slots of shape"):
        slots_of(tiles(2), np.zeros(3, np.int32))


def test_a_bundle_refuses_other_slots_than_its_own(bundle: ProductBundle) -> None:
    engine = ReferenceEngine(load_network(bundle), precision="fp32")
    with pytest.raises(ModelError, match="holds one product"):
        engine.infer(tiles(1), np.array([1], np.int32))


def test_an_engine_is_built_with_the_products_that_are_active(
    bundle: ProductBundle, exported: ExportedModel, tmp_path: Path
) -> None:
    model = ExportedModel.open(Path(shutil.copytree(exported.folder, tmp_path / "model")))
    bolt = variant(bundle, tmp_path / "bolt", product="bolt", seed=1)
    activate(model.store, *add_version(model.store, bolt.folder))
    written = write_network(model, "fp32", tmp_path / "network.onnx", live=False)
    assert written == {0: bundle.card.students_sha256, 1: bolt.card.students_sha256}
    engine = OpenVINOEngine(tmp_path / "network.onnx")
    found = engine.infer(tiles(3), np.array([0, 1, 2], np.int32))
    engine.close()
    for slot, one in enumerate((bundle, bolt)):
        alone = ReferenceEngine(load_network(one), precision="fp32")
        assert is_same_map(found[slot], alone.infer(tiles(3))[slot])
    assert np.isnan(found[2]).all()


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_live_students_are_inputs_of_the_network_and_nothing_else_changes(
    precision: str, exported: ExportedModel, tmp_path: Path
) -> None:
    assert write_network(exported, precision, tmp_path / "live.onnx", live=True) == {}
    before = onnx.load(str(exported.path_of(precision))).graph
    live = onnx.load(str(tmp_path / "live.onnx")).graph
    onnx.checker.check_model(str(tmp_path / "live.onnx"), full_check=True)
    names = [given.name for given in live.input]
    assert names[:2] == ["tiles", "product"]
    # Two students of three layers, two judges of three layers and an exponent.
    assert len(names) == 2 + 2 * (3 * 2) + 2 * (3 * 2 + 1)
    assert all(name.startswith("students.") for name in names[2:])
    assert [node.name for node in live.node] == [node.name for node in before.node]
