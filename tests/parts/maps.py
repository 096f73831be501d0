"""When two anomaly maps are the same."""

import numpy as np

from runtime.geometry.region import AnomalyMap


def is_same_map(found: AnomalyMap, expected: AnomalyMap, *, tolerance: float = 1e-5) -> bool:
    """Whether maps differ by the order of float32 sums alone, as a share of the highest value.

    Maps have no scale of their own: the paper's are below 1, a judge's are around 1 or 10.
    """
    if found.shape != expected.shape:
        return False
    return bool(np.abs(found - expected).max() <= tolerance * np.abs(expected).max())
