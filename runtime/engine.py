"""What runs the network: one small interface, whatever library is behind it."""

from typing import Protocol

import numpy as np
import numpy.typing as npt


class Engine(Protocol):
    """A loaded network that holds resources until it is closed."""

    @property
    def description(self) -> str:
        """Library, device and precision, as the answers name them."""

    def infer(self, tiles: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """(N, S, S, 3) uint8 tiles to (N, S/patch, S/patch) float32 patch maps."""

    def close(self) -> None:
        """Give the resources back; the engine cannot be used afterwards."""
