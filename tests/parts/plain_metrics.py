"""The pixel metrics as their definitions say them: slow, and easy to check by reading.

Only tests use them, on small maps.
"""

import itertools
import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class LabelledMap:
    anomaly_map: npt.NDArray[np.float32]
    mask: npt.NDArray[np.bool_]
    is_defective: bool


def components(images: list[LabelledMap]) -> list[npt.NDArray[np.float32]]:
    """The scores of each component's pixels."""
    found = []
    for image in images:
        count, labels = cv2.connectedComponents(image.mask.astype(np.uint8), connectivity=8)
        found += [image.anomaly_map[labels == label] for label in range(1, count)]
    return found


def good_scores(images: list[LabelledMap]) -> npt.NDArray[np.float32]:
    return np.concatenate([image.anomaly_map[~image.mask] for image in images])


def au_pro(
    parts: list[npt.NDArray[np.float32]], good: npt.NDArray[np.float32], limit: float
) -> float:
    """Trapezoidal area over every threshold that there is."""
    thresholds = np.unique(np.concatenate([good, *parts]))[::-1]
    points = [(0.0, 0.0)]
    for threshold in thresholds:
        rate = float((good >= threshold).mean())
        points.append((rate, float(np.mean([(part >= threshold).mean() for part in parts]))))
    area = 0.0
    for (rate, overlap), (next_rate, next_overlap) in itertools.pairwise(points):
        if rate >= limit:
            break
        if next_rate > limit:
            share = (limit - rate) / (next_rate - rate)
            next_rate, next_overlap = limit, overlap + share * (next_overlap - overlap)
        area += (next_rate - rate) * (overlap + next_overlap) / 2
    return area / limit


def aupimo(images: list[LabelledMap], lower: float = 1e-5, upper: float = 1e-4) -> list[float]:
    """The recall of each defective image, averaged over the logarithm of the rate in small steps.

    The rate is the mean of the good images' own rates; between two thresholds rate and recall move
    in a straight line.
    """
    good = [image.anomaly_map.ravel() for image in images if not image.is_defective]
    thresholds = np.unique(np.concatenate(good))[::-1]
    rates = np.array([[(one >= t).mean() for one in good] for t in thresholds]).mean(axis=1)
    areas = []
    for image in images:
        if not image.mask.any():
            continue
        part = image.anomaly_map[image.mask]
        corners_rate, corners_recall = [0.0], [0.0]
        for threshold, rate in zip(thresholds, rates, strict=True):
            # First upwards, by the defect's pixels above the good one, then sideways.
            corners_rate += [corners_rate[-1], rate]
            corners_recall += [float((part > threshold).mean()), float((part >= threshold).mean())]
        steps = np.exp(np.linspace(math.log(lower), math.log(upper), 20_001))
        middle = np.sqrt(steps[1:] * steps[:-1])
        # Of several corners at one rate the last one counts to the right of it.
        rate_at, recall_at = np.array(corners_rate), np.array(corners_recall)
        place = np.searchsorted(rate_at, middle, side="right")
        left, right = place - 1, np.minimum(place, rate_at.size - 1)
        width = np.maximum(rate_at[right] - rate_at[left], 1e-300)
        share = (middle - rate_at[left]) / width
        recall = recall_at[left] + share * (recall_at[right] - recall_at[left])
        areas.append(float(recall.mean()))
    return areas
