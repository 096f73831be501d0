"""Whether the ways find the same: at the original resolution, and on an image of their own size."""

from collections.abc import Sequence

import numpy as np
from PIL import Image
from tqdm import tqdm

from benchmarks.evaluation.metrics.image_metrics import measure_images
from benchmarks.evaluation.metrics.pixel_metrics import PixelEvaluator
from benchmarks.peers.explicit import at_original_size
from benchmarks.peers.result import Accuracy, Agreement
from benchmarks.peers.ways import Way
from runtime.errors import DatasetError
from runtime.images.decode import ImageArray
from train.data.dataset import Sample


def measure_accuracy(way: Way, samples: Sequence[Sample]) -> Accuracy:
    """Let a way inspect labelled images, and hold its scores and maps against their labels.

    Raises:
        DatasetError: A mask is wrong, or a map holds NaN.
    """
    defective = tuple(sample.is_defective for sample in samples)
    pixels = PixelEvaluator(good_images=defective.count(False))
    scores = []
    for sample in tqdm(samples, way.name, unit="image", leave=False):
        image = sample.pixels()
        answer = way.inspect(image, way.has_map)
        scores.append(answer.score)
        height, width = image.shape[:2]
        mask = sample.mask(height, width)
        if answer.anomaly_map is None or mask is None:
            continue
        try:
            anomaly_map = at_original_size(answer.anomaly_map, height, width)
            pixels.add(sample.name, anomaly_map, mask, is_defective=sample.is_defective)
        except ValueError as error:
            raise DatasetError(f"{way.name}, {sample.name}: {error}") from error
    image_metrics = measure_images(scores, defective)
    found = pixels.result()
    return Accuracy(
        scores=tuple(scores),
        defective=defective,
        image_auroc=image_metrics.auroc if image_metrics else None,
        aupro_30=found.metrics.overlap.aupro["exact"]["30%"] if found else None,
    )


def measure_agreement(way: Way, reference: Way, image: ImageArray, *, image_size: int) -> Agreement:
    """Hold a way against another on an image of the network's size, where no size is changed."""
    shrunk = Image.fromarray(image).resize((image_size, image_size), Image.Resampling.BICUBIC)
    pixels = np.array(shrunk)
    expected, found = reference.inspect(pixels, True), way.inspect(pixels, True)
    assert expected.anomaly_map is not None
    assert found.anomaly_map is not None
    difference = np.abs(expected.anomaly_map - found.anomaly_map)
    return Agreement(
        name=way.name,
        map_difference=float(difference.max()),
        score_difference=abs(expected.score - found.score),
        map_peak=float(expected.anomaly_map.max()),
    )
