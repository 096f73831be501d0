"""Memory for tiles that is kept from image to image.

Fresh memory of this size comes from the system page by page, each zeroed first: for 12 megapixels
that takes twice as long as the cutting.
"""

import threading

import numpy as np
import numpy.typing as npt


class TileBuffer:
    """Hands out memory for tiles, the same again and again; each thread has its own.

    What `take` gives is valid until the same thread takes again.
    """

    def __init__(self) -> None:
        self._kept = threading.local()

    def take(self, tiles: int, tile_wh: tuple[int, int]) -> npt.NDArray[np.uint8]:
        """(N, tile's height, tile's width, 3) uint8 of any content."""
        width, height = tile_wh
        size = tiles * height * width * 3
        kept: npt.NDArray[np.uint8] | None = getattr(self._kept, "memory", None)
        if kept is None or kept.size < size:
            kept = np.empty(size, np.uint8)
            self._kept.memory = kept
        return kept[:size].reshape(tiles, height, width, 3)
