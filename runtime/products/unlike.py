"""From which score on an image is unlike all good ones.

Scores of good images are spread about evenly around their middle once their logarithm is taken. An
image is called unlike the others if it lies further above the middle than five times their usual
distance from it (the median absolute deviation, in units of a normal distribution's standard
deviation). On macaroni1 one or two of a hundred good images do, and a third of the defective ones.
"""

from collections.abc import Sequence

import numpy as np

DEVIATIONS = 5
_FEWEST_IMAGES = 8
# Of the median absolute deviation of a normal distribution.
_TO_STANDARD_DEVIATION = 1.4826


def unlike_bound(scores: Sequence[float]) -> float:
    """The score above which an image is unlike the good ones; infinite where they are too few.

    Args:
        scores: Of good images, by students that were not trained on them.
    """
    if len(scores) < _FEWEST_IMAGES:
        return float("inf")
    logarithms = np.log(np.maximum(scores, 1e-12))
    middle = float(np.median(logarithms))
    spread = _TO_STANDARD_DEVIATION * float(np.median(np.abs(logarithms - middle)))
    return float(np.exp(middle + DEVIATIONS * spread))
