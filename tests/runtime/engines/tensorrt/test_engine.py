"""The engine in process: batches, buffers and threads, with stand-ins for TensorRT and CUDA.

What only a GPU can show is not shown here.
"""

import gc
import threading
from collections.abc import Iterator
from pathlib import Path
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
from tests.parts.gpu_stand_in import (
    BIAS,
    GRID,
    LARGEST,
    SIDE,
    Machine,
    RecordedWork,
    cuda_of,
    tensorrt_of,
)


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
