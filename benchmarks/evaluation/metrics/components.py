"""Defects as the field counts them: 8-connected components of the mask, and their sizes."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

QUARTILES = ("Q1", "Q2", "Q3", "Q4")


@dataclass(frozen=True, kw_only=True)
class Component:
    """One connected defect.

    Attributes:
        image: Name of its image.
        x_px: Left column of its bounding box.
        y_px: Top row of its bounding box.
        width_px: Width of its bounding box.
        height_px: Height of its bounding box.
        size_px: Its pixels.
        peak: The anomaly map's highest value in it.
    """

    image: str
    x_px: int
    y_px: int
    width_px: int
    height_px: int
    size_px: int
    peak: float


@dataclass(frozen=True, kw_only=True)
class LabelledPixels:
    """The defect pixels of one image.

    Attributes:
        positions: (P,) int64, places in the flattened image.
        component: (P,) int64, number of each pixel's component, from 0.
        boxes: (C, 5) int32: left, top, width, height and size of each component, in px.
    """

    positions: npt.NDArray[np.int64]
    component: npt.NDArray[np.int64]
    boxes: npt.NDArray[np.int32]


def label_components(mask: npt.NDArray[np.bool_]) -> LabelledPixels:
    """Find the 8-connected components of an (H, W) mask."""
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    positions = np.flatnonzero(mask)
    component = labels.ravel()[positions].astype(np.int64) - 1
    return LabelledPixels(
        positions=positions, component=component, boxes=boxes[1:].astype(np.int32)
    )


@dataclass(frozen=True, kw_only=True)
class SizeQuartiles:
    """The components of a test set, parted by size into four bins.

    Attributes:
        limits_px: The quartiles q1, q2, q3 of the sizes (linear interpolation between sizes).
        bin_of_component: (C,) 0 for sizes up to q1, 1 for those above it up to q2, and so on.
        sizes_px: (C,) the sizes.
    """

    limits_px: tuple[float, float, float]
    bin_of_component: npt.NDArray[np.int64]
    sizes_px: npt.NDArray[np.int64]

    @classmethod
    def of(cls, sizes_px: Sequence[int]) -> "SizeQuartiles":
        """Part components by their sizes, of which there is at least one."""
        sizes = np.asarray(sizes_px, np.int64)
        q1, q2, q3 = (float(limit) for limit in np.quantile(sizes, [0.25, 0.5, 0.75]))
        return cls(
            limits_px=(q1, q2, q3),
            bin_of_component=np.searchsorted([q1, q2, q3], sizes, side="left").astype(np.int64),
            sizes_px=sizes,
        )

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """(4,) components in each bin."""
        return np.bincount(self.bin_of_component, minlength=len(QUARTILES)).astype(np.int64)
