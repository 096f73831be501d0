"""The bank of students of a TensorRT engine that takes it as inputs, in the GPU's memory."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from runtime.engines.bank_weights import PREFIX, BankWeights, Tensors
from runtime.errors import ModelError

if TYPE_CHECKING:
    import tensorrt as trt


class GpuBank:
    """Each tensor of the bank once on the host and once on the GPU; made with the context current.

    Args:
        tensorrt: The module.
        cuda: The module `pycuda.driver`.
        engine: A loaded engine.

    Attributes:
        memory: Where each tensor is on the GPU, by its name in the network; empty where the engine
            holds its students itself.
    """

    def __init__(self, tensorrt: Any, cuda: Any, engine: "trt.ICudaEngine") -> None:
        self._cuda = cuda
        self._host: dict[str, npt.NDArray[np.floating[Any]]] = {}
        self.memory: dict[str, Any] = {}
        for index in range(engine.num_io_tensors):
            name = engine.get_tensor_name(index)
            if name.startswith(PREFIX):
                dtype = tensorrt.nptype(engine.get_tensor_dtype(name))
                # Not a number until it is filled: a mistaken slot cannot look like a map.
                self._host[name] = np.full(tuple(engine.get_tensor_shape(name)), np.nan, dtype)
        self._weights = BankWeights(self._host) if self._host else None
        for name, tensor in self._host.items():
            self.memory[name] = cuda.mem_alloc(tensor.nbytes)
        self._upload()

    @property
    def capacity(self) -> int:
        """Slots; 0 where the engine holds its students itself."""
        return self._weights.capacity if self._weights is not None else 0

    def fill(self, slot: int, students: Tensors) -> None:
        """Put a product's students into a slot; see `BankWeights.fill`."""
        self._replaceable().fill(slot, students)
        self._upload()

    def clear(self, slot: int) -> None:
        """Empty a slot; see `BankWeights.clear`."""
        self._replaceable().clear(slot)
        self._upload()

    def close(self) -> None:
        """Give the GPU's memory back, with the context current."""
        while self.memory:
            self.memory.popitem()[1].free()

    def _replaceable(self) -> BankWeights:
        if self._weights is None:
            raise ModelError(
                "this engine holds the students that it was built with; build it with l2bt engine "
                "--live-products to replace them while it is loaded"
            )
        return self._weights

    def _upload(self) -> None:
        # The whole tensor: a bank of 16 for a ViT-B is 113 MB, and products change seldom.
        for name, tensor in self._host.items():
            self._cuda.memcpy_htod(self.memory[name], tensor)
