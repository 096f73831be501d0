"""A network recorded as one CUDA graph, between pinned buffers on the host."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

# PyTorch's kernels and allocator settle in the first runs.
_WARM_UP_RUNS = 3


class Recorded:
    """What a network does with a batch of one size, launched as one.

    Args:
        network: Takes tensors of the GPU and gives one; it must not wait for the device.
        inputs: An example of the batch, on the GPU; the graph reads from copies of it.
        pool: Another recording's `pool`, to share its memory: then the two must not run at once.

    Attributes:
        found: Where the result stands on the GPU after a launch.
        host_inputs: Pinned memory that `whole` takes the batch from.
        host_found: Pinned memory that `whole` brings the result to.
        pool: Its memory on the GPU.
    """

    def __init__(
        self, network: Callable[..., Tensor], *inputs: Tensor, pool: Any | None = None
    ) -> None:
        self._inputs = [one.clone() for one in inputs]
        stream: Any = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP_RUNS):
                network(*self._inputs)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, pool=pool):
            self.found = network(*self._inputs)
        self.pool = self._graph.pool()
        self.host_inputs = [one.cpu().pin_memory() for one in self._inputs]
        self.host_found = torch.empty_like(self.found, device="cpu").pin_memory()

    def launch(self) -> None:
        """Enqueue it."""
        self._graph.replay()

    def whole(self) -> None:
        """From the host's memory to the host's memory; waits."""
        for there, here in zip(self._inputs, self.host_inputs, strict=True):
            there.copy_(here, non_blocking=True)
        self._graph.replay()
        self.host_found.copy_(self.found, non_blocking=True)
        torch.cuda.current_stream().synchronize()
