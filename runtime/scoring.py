"""From an anomaly map to the image's score and its regions."""

import cv2
import numpy as np

from runtime.inspection import AnomalyMap, Region

TOP_FRACTION = 0.001


def image_score(anomaly_map: AnomalyMap) -> float:
    """Mean of the highest 0.1 % of the pixels (at least one), as in the paper."""
    values = anomaly_map.ravel()
    count = max(1, int(values.size * TOP_FRACTION))
    highest = np.partition(values, values.size - count)[values.size - count :]
    # Rounded to float32, as the server sends it: the verdict must not depend on the way.
    return float(np.float32(highest.mean(dtype=np.float64)))


def find_regions(anomaly_map: AnomalyMap, pixel_threshold: float) -> tuple[Region, ...]:
    """The 8-connected areas above the threshold, highest peak first.

    Args:
        anomaly_map: (H, W) float32.
        pixel_threshold: Pixels above it belong to a region.
    """
    above = (anomaly_map > pixel_threshold).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(above, connectivity=8)
    peaks = np.full(count, -np.inf, np.float32)
    inside = above.astype(bool)
    np.maximum.at(peaks, labels[inside], anomaly_map[inside])
    regions = [
        Region(
            x_px=int(stats[label, cv2.CC_STAT_LEFT]),
            y_px=int(stats[label, cv2.CC_STAT_TOP]),
            width_px=int(stats[label, cv2.CC_STAT_WIDTH]),
            height_px=int(stats[label, cv2.CC_STAT_HEIGHT]),
            area_px=int(stats[label, cv2.CC_STAT_AREA]),
            peak=float(peaks[label]),
        )
        for label in range(1, count)
    ]
    return tuple(sorted(regions, key=lambda region: -region.peak))
