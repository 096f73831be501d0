"""How an image is judged: patch maps to map, score and regions, by the product's card."""

import numpy as np
import numpy.typing as npt

from runtime.errors import ModelError
from runtime.geometry.geometry import Geometry
from runtime.geometry.region import AnomalyMap, Region
from runtime.products.card import ProductCard


def judge(
    patch_maps: npt.NDArray[np.float32], geometry: Geometry, card: ProductCard, *, want_map: bool
) -> tuple[AnomalyMap | None, float, tuple[Region, ...]]:
    """From the network's patch maps to the map, the score and the regions of one image.

    Args:
        patch_maps: (N, rows, columns) float32, the image's tiles in order.
        geometry: That of the image.
        card: The product's card.
        want_map: Whether the full-resolution map is computed.

    Returns:
        The (H, W) float32 map, None if it is not wanted; the score; the regions.

    Raises:
        ModelError: The maps hold NaN or infinity: the network or its precision is broken.
    """
    if not np.isfinite(patch_maps).all():
        raise ModelError(
            "the network gave NaN or infinity for this image; run it at a higher precision, and "
            "look whether the product's slot in the bank is filled"
        )
    pixel_map = geometry.pixel_map(patch_maps)
    anomaly_map = pixel_map.pixels() if want_map else None
    return anomaly_map, pixel_map.score(), pixel_map.regions(card.threshold.pixel_value)
