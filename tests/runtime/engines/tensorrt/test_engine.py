"""The engine in process: batches, buffers and threads, with stand-ins for TensorRT and CUDA.

What only a GPU can show is not shown here. The stand-ins keep "device memory" in numpy, insist on
one thread, and give the mean of each tile plus its slot for its patch map.
"""

import gc
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import runtime.engines.tensorrt.session
from runtime.engines.tensorrt.engine import TensorRTEngine
from runtime.engines.tensorrt.manifest import BuiltEngine, TileProfile
from runtime.errors import L2BTError, ModelError
from runtime.models.exported_model import ExportedModel
from tests.parts.engines import write_engine

SIDE, GRID, LARGEST = 28, 2, 3
BIAS = "students.forward_student.input.bias_half"


class Machine:
    """One GPU's memory and what was done on it."""

    def __init__(self) -> None:
        self.memory: dict[int, npt.NDArray[Any]] = {}
        self.threads: set[int] = set()
        self.batches: list[int] = []
        self.freed = 0
        self.context_depth = 0
        self.fails = False
        self.slot_dtype: type[np.generic] = np.int32
        self.bank: dict[str, tuple[tuple[int, ...], Any]] = {}

    def touched(self) -> None:
        self.threads.add(threading.get_ident())

    def run(self, places: dict[str, int], count: int) -> bool:
        self.touched()
        tiles, slots, maps = (places[name] for name in ("tiles", "product", "patch_map"))
        assert self.context_depth == 1
        if self.fails:
            return False
        means = self.memory[tiles][:count].mean(axis=(1, 2, 3)) + self.memory[slots][:count]
        if self.bank:
            # What the network computes with these students, as far as it matters here.
            means += self.memory[places[BIAS]][self.memory[slots][:count], 0, 0]
        self.memory[maps][:count] = means[:, None, None]
        self.batches.append(count)
        return True


class DeviceMemory:
    def __init__(self, machine: Machine, nbytes: int) -> None:
        self.machine, self.address = machine, 1000 + len(machine.memory)
        buffers = (
            *(np.zeros(shape, dtype) for shape, dtype in machine.bank.values()),
            np.zeros((LARGEST, SIDE, SIDE, 3), np.uint8),
            np.zeros(LARGEST, np.int32),
            np.zeros((LARGEST, GRID, GRID), np.float32),
        )
        machine.memory[self.address] = next(one for one in buffers if one.nbytes == nbytes)

    def __int__(self) -> int:
        return self.address

    def free(self) -> None:
        self.machine.freed += 1


def cuda_of(machine: Machine) -> SimpleNamespace:
    def change_depth(by: int) -> None:
        machine.touched()
        machine.context_depth += by

    context = SimpleNamespace(
        push=lambda: change_depth(1), pop=lambda: change_depth(-1), detach=lambda: None
    )

    def to_device(memory: DeviceMemory, array: npt.NDArray[Any], stream: object) -> None:
        machine.memory[int(memory)][: len(array)] = array

    def to_host(array: npt.NDArray[Any], memory: DeviceMemory, stream: object) -> None:
        array[:] = machine.memory[int(memory)][: len(array)]

    return SimpleNamespace(
        init=machine.touched,
        Device=lambda index: SimpleNamespace(retain_primary_context=lambda: context),
        Stream=lambda: SimpleNamespace(handle=7, synchronize=machine.touched),
        mem_alloc=lambda nbytes: DeviceMemory(machine, nbytes),
        pagelocked_empty=np.empty,
        memcpy_htod=lambda memory, array: to_device(memory, array, None),
        memcpy_htod_async=to_device,
        memcpy_dtoh_async=to_host,
    )


class ExecutionContext:
    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.addresses: dict[str, int] = {}
        self.counts: dict[str, int] = {}

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.counts[name] = shape[0]
        return shape[0] <= LARGEST

    def execute_async_v3(self, stream: int) -> bool:
        assert self.counts["tiles"] == self.counts["product"]
        return self.machine.run(self.addresses, self.counts["tiles"])


def tensorrt_of(machine: Machine, *, loads: bool) -> SimpleNamespace:
    class Logger:
        pass

    tensors: dict[str, tuple[tuple[int, ...], Any]] = {
        "tiles": ((-1, SIDE, SIDE, 3), np.uint8),
        "product": ((-1,), machine.slot_dtype),
        "patch_map": ((-1, GRID, GRID), np.float32),
    }
    tensors.update(machine.bank)
    engine = SimpleNamespace(
        create_execution_context=lambda: ExecutionContext(machine),
        num_io_tensors=len(tensors),
        get_tensor_name=lambda index: list(tensors)[index],
        get_tensor_shape=lambda name: tensors[name][0],
        get_tensor_dtype=lambda name: tensors[name][1],
    )

    class Runtime:
        def __init__(self, logger: Any) -> None:
            self.logger = logger

        def deserialize_cuda_engine(self, plan: bytes) -> Any:
            self.logger.log("Severity.ERROR", "looked at the plan")
            return engine if loads else None

    return SimpleNamespace(ILogger=Logger, Runtime=Runtime, nptype=lambda dtype: dtype)


class RecordedWork:
    def __init__(self, stream: int, work: Any) -> None:
        self.work = work

    def launch(self) -> None:
        self.work()

    def close(self) -> None:
        pass


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def built(exported: ExportedModel, tmp_path: Path) -> BuiltEngine:
    return write_engine(exported, tmp_path, profile=TileProfile(best=2, largest=LARGEST))


@pytest.fixture
def stand_ins(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    module = runtime.engines.tensorrt.session
    library = tensorrt_of(machine, loads=True)
    monkeypatch.setattr(module, "load_tensorrt", lambda: (library, None))
    monkeypatch.setattr(module, "require", lambda name: cuda_of(machine))
    yield


def tiles(count: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)


def expected(of: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    means = of.mean(axis=(1, 2, 3)).astype(np.float32)
    return np.broadcast_to(means[:, None, None], (len(of), GRID, GRID))


@pytest.mark.usefixtures("stand_ins")
@pytest.mark.parametrize(("count", "batches"), [(1, [1]), (3, [3]), (7, [3, 3, 1])])
def test_more_tiles_than_the_largest_batch_run_in_several(
    count: int, batches: list[int], built: BuiltEngine, machine: Machine
) -> None:
    engine = TensorRTEngine(built)
    given = tiles(count)
    assert np.allclose(engine.infer(given), expected(given))
    engine.close()
    assert machine.batches == batches


@pytest.mark.usefixtures("stand_ins")
def test_each_tile_goes_with_its_products_slot(built: BuiltEngine) -> None:
    engine = TensorRTEngine(built)
    given, slots = tiles(7), np.arange(7, dtype=np.int32)
    assert np.allclose(engine.infer(given, slots), expected(given) + slots[:, None, None])
    engine.close()


@pytest.mark.usefixtures("stand_ins")
def test_what_it_returns_is_not_overwritten_by_the_next_call(built: BuiltEngine) -> None:
    engine = TensorRTEngine(built)
    first_tiles = tiles(2)
    first = engine.infer(first_tiles)
    engine.infer(tiles(2, seed=1))
    assert np.allclose(first, expected(first_tiles))
    engine.close()


@pytest.mark.usefixtures("stand_ins")
def test_many_threads_are_served_by_one_that_owns_the_gpu(
    built: BuiltEngine, machine: Machine
) -> None:
    engine = TensorRTEngine(built)
    wrong = []

    def ask(seed: int) -> None:
        given = tiles(seed % 5 + 1, seed)
        if not np.allclose(engine.infer(given), expected(given)):
            wrong.append(seed)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    engine.close()
    assert not wrong
    assert len(machine.threads) == 1
    assert threading.get_ident() not in machine.threads


@pytest.mark.usefixtures("stand_ins")
def test_closing_gives_memory_and_context_back(built: BuiltEngine, machine: Machine) -> None:
    engine = TensorRTEngine(built)
    engine.infer(tiles(1))
    engine.close()
    engine.close()
    assert (machine.freed, machine.context_depth) == (3, 0)
    with pytest.raises(L2BTError, match="is closed"):
        engine.infer(tiles(1))


@pytest.mark.usefixtures("stand_ins")
def test_a_recorded_batch_size_gives_the_same(
    built: BuiltEngine, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime.engines.tensorrt.session, "CudaGraph", RecordedWork)
    engine = TensorRTEngine(built, cuda_graph=True)
    for seed in range(4):
        for count in (2, 1):
            given = tiles(count, seed)
            assert np.allclose(engine.infer(given), expected(given))
    engine.close()
    assert engine.description == "tensorrt 10.3.0 Orin fp16, CUDA graph"


@pytest.mark.usefixtures("stand_ins")
def test_a_failed_run_is_an_error_and_no_map(built: BuiltEngine, machine: Machine) -> None:
    engine = TensorRTEngine(built)
    machine.fails = True
    with pytest.raises(ModelError, match="failed on 1 tiles: looked at the plan"):
        engine.infer(tiles(1))
    machine.fails = False
    assert engine.infer(tiles(1)).shape == (1, GRID, GRID)
    engine.close()


@pytest.mark.usefixtures("stand_ins")
def test_tiles_of_another_size_are_refused(built: BuiltEngine) -> None:
    engine = TensorRTEngine(built)
    with pytest.raises(ModelError, match=r"the engine takes \(28, 28, 3\)"):
        engine.infer(np.zeros((1, 14, 14, 3), np.uint8))
    engine.close()


def test_a_plan_that_does_not_load_is_named_with_what_tensorrt_said(
    built: BuiltEngine, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = runtime.engines.tensorrt.session
    library = tensorrt_of(machine, loads=False)
    monkeypatch.setattr(module, "load_tensorrt", lambda: (library, None))
    monkeypatch.setattr(module, "require", lambda name: cuda_of(machine))
    with pytest.raises(ModelError, match="cannot load .*model.plan: looked at the plan"):
        TensorRTEngine(built)
    assert machine.context_depth == 0


@pytest.mark.usefixtures("stand_ins")
def test_no_context_is_current_between_calls(built: BuiltEngine, machine: Machine) -> None:
    # pycuda ends the process if a thread ends with one.
    engine = TensorRTEngine(built)
    assert machine.context_depth == 0
    engine.infer(tiles(1))
    assert machine.context_depth == 0
    engine.close()


@pytest.mark.usefixtures("stand_ins")
def test_an_engine_that_nobody_closed_gives_its_memory_back(
    built: BuiltEngine, machine: Machine
) -> None:
    engine = TensorRTEngine(built)
    engine.infer(tiles(1))
    del engine
    gc.collect()
    assert (machine.freed, machine.context_depth) == (3, 0)


@pytest.mark.usefixtures("stand_ins")
def test_closing_while_others_ask_ends_in_our_error_or_an_answer(built: BuiltEngine) -> None:
    engine = TensorRTEngine(built)
    others: list[BaseException] = []

    def ask() -> None:
        try:
            for _ in range(50):
                engine.infer(tiles(1))
        except L2BTError:
            pass
        except BaseException as error:
            others.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    closers = [threading.Thread(target=engine.close) for _ in range(2)]
    for thread in closers:
        thread.start()
    for thread in (*threads, *closers):
        thread.join()
    assert not others


@pytest.mark.usefixtures("stand_ins")
def test_a_graph_that_cannot_be_recorded_leaves_no_context_behind(
    built: BuiltEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(stream: int, work: Any) -> None:
        raise ModelError("no graph")

    monkeypatch.setattr(runtime.engines.tensorrt.session, "CudaGraph", fail)
    engine = TensorRTEngine(built, cuda_graph=True)
    engine.infer(tiles(1))
    for _ in range(3):
        with pytest.raises(ModelError, match="no graph"):
            engine.infer(tiles(1))
    assert len(engine._session._contexts) == 1
    engine.close()


def test_an_engine_of_another_network_is_refused(
    built: BuiltEngine, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.slot_dtype = np.int64
    library = tensorrt_of(machine, loads=True)
    monkeypatch.setattr(runtime.engines.tensorrt.session, "load_tensorrt", lambda: (library, None))
    monkeypatch.setattr(runtime.engines.tensorrt.session, "require", lambda name: cuda_of(machine))
    with pytest.raises(ModelError, match="'product' is .* int64; expected any number of int32"):
        TensorRTEngine(built)
    assert machine.context_depth == 0


def bias(value: float) -> dict[str, npt.NDArray[np.float32]]:
    return {"forward_student.input.bias": np.full(8, value, np.float32)}


@pytest.fixture
def live(built: BuiltEngine, machine: Machine) -> BuiltEngine:
    machine.bank = {BIAS: ((4, 1, 8), np.float16)}
    return built


@pytest.mark.usefixtures("live", "stand_ins")
def test_live_students_are_filled_replaced_and_emptied_on_the_gpu(
    built: BuiltEngine, machine: Machine
) -> None:
    engine = TensorRTEngine(built)
    given, slots = tiles(2), np.array([1, 2], np.int32)
    assert engine.capacity == 4
    assert np.isnan(engine.infer(given, slots)).all()
    engine.fill(1, bias(10))
    engine.fill(2, bias(20))
    plain = expected(given) + slots[:, None, None]
    added = np.array([10, 20])[:, None, None]
    assert np.allclose(engine.infer(given, slots), plain + added)
    engine.fill(2, bias(30))
    engine.clear(1)
    found = engine.infer(given, slots)
    assert np.isnan(found[0]).all()
    assert np.allclose(found[1], plain[1] + 30)
    engine.close()
    assert (machine.freed, machine.context_depth) == (4, 0)
    assert len(machine.threads) == 1


@pytest.mark.usefixtures("live", "stand_ins")
def test_a_weight_that_fp16_cannot_hold_leaves_the_slot_as_it_was(built: BuiltEngine) -> None:
    engine = TensorRTEngine(built)
    engine.fill(1, bias(10))
    before = engine.infer(tiles(1), np.array([1], np.int32))
    with pytest.raises(ModelError, match="more than float16 can"):
        engine.fill(1, bias(70_000))
    assert np.array_equal(engine.infer(tiles(1), np.array([1], np.int32)), before)
    engine.close()


@pytest.mark.usefixtures("stand_ins")
def test_an_engine_that_holds_its_students_refuses_others(built: BuiltEngine) -> None:
    engine = TensorRTEngine(built)
    assert engine.capacity == 0
    with pytest.raises(ModelError, match="--live-products"):
        engine.fill(0, bias(1))
    engine.close()
