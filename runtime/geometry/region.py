"""What an anomaly map is, and the regions in it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

AnomalyMap = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Region:
    """A connected area of the anomaly map above the product's pixel threshold.

    Attributes:
        x_px: Left column of its bounding box in the original image.
        y_px: Top row of its bounding box.
        width_px: Width of its bounding box.
        height_px: Height of its bounding box.
        area_px: Its pixels.
        peak: The anomaly map's highest value in it.
    """

    x_px: int
    y_px: int
    width_px: int
    height_px: int
    area_px: int
    peak: float
