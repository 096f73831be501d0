"""The thresholds, from good images that the students have not been trained on."""

from collections.abc import Iterable

import numpy as np

from runtime.inspection import AnomalyMap
from runtime.product import Threshold
from runtime.scoring import image_score


def threshold_from_good_maps(
    anomaly_maps: Iterable[AnomalyMap], *, seen_in_training: bool = False
) -> Threshold:
    """The highest score, and the highest map value, of the good images.

    With n images that are exchangeable with the line's good parts, the next good part exceeds
    their highest score with a probability of at most 1 / (n + 1).

    Args:
        anomaly_maps: Of good images; one is in memory at a time.
        seen_in_training: Whether the students were trained on them; then the bound does not hold,
            and the method says so.
    """
    scores: list[float] = []
    peaks: list[float] = []
    for anomaly_map in anomaly_maps:
        scores.append(image_score(anomaly_map))
        peaks.append(float(np.max(anomaly_map)))
    count = len(scores)
    method = (
        f"highest of {count} good images that the students were trained on; more false alarms "
        "than one in that many are to be expected"
        if seen_in_training
        else f"highest of {count} held-out good images; a good image exceeds it with a "
        f"probability of at most 1/{count + 1}"
    )
    return Threshold(
        image_score=max(scores), pixel_value=max(peaks), method=method, good_images=count
    )
