"""Test images that were also learned from: their scores say nothing."""

import hashlib
from collections import defaultdict

from train.data.dataset import Dataset, FileSample, Sample


def images_also_in_training(dataset: Dataset) -> dict[str, str]:
    """Test images whose content is that of a training image.

    Files are compared by size first, so that few have to be read.

    Returns:
        The training image's name by the test image's.
    """
    of_size: dict[int, list[Sample]] = defaultdict(list)
    for sample in dataset.train:
        of_size[_size(sample)].append(sample)
    digests: dict[int, dict[str, str]] = {}
    found: dict[str, str] = {}
    for sample in dataset.test:
        size = _size(sample)
        if size not in of_size:
            continue
        if size not in digests:
            digests[size] = {_digest(other): other.name for other in of_size[size]}
        if (name := digests[size].get(_digest(sample))) is not None:
            found[sample.name] = name
    return found


def _size(sample: Sample) -> int:
    # Only files tell their size without being read; images that are drawn share one key, and are
    # drawn to be compared.
    if not isinstance(sample, FileSample):
        return 0
    try:
        return sample.image_path.stat().st_size
    except OSError:
        # Whoever reads it says what is wrong; it is like no other.
        return -1 - id(sample)


def _digest(sample: Sample) -> str:
    return hashlib.sha256(sample.content()).hexdigest()
