"""Stand-ins for TensorRT and CUDA, which keep "device memory" in numpy and insist on one thread.

Their network gives the mean of each tile plus its slot for its patch map.
"""

import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt

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
