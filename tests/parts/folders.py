"""A data set on disk, as a user has one."""

from pathlib import Path

import numpy as np
from PIL import Image

from tests.parts.command import l2bt
from train.data.dataset import Dataset


def write_samples(dataset: Dataset, folder: Path) -> Path:
    """Write a data set in the layout "folder": `good/`, `test/` and `masks/`."""

    def save(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], *parts: str) -> None:
        path = folder.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)

    for number, sample in enumerate(dataset.train):
        save(sample.pixels(), "good", f"{number:03d}.png")
    for number, sample in enumerate(dataset.test):
        kind = "defect" if sample.is_defective else "good"
        pixels = sample.pixels()
        save(pixels, "test", kind, f"{number:03d}.png")
        mask = sample.mask(*pixels.shape[:2])
        if sample.is_defective and mask is not None:
            save(np.where(mask, 255, 0).astype(np.uint8), "masks", kind, f"{number:03d}.png")
    return folder


def draw_bolt_and_nut(root: Path) -> Path:
    """Draw two small products in MVTec AD's layout."""
    size = ("--height", 120, "--width", 180)
    for seed, name in enumerate(("bolt", "nut")):
        counts = ("--train-images", 4, "--test-good", 2, "--test-defective", 4, "--seed", seed)
        drawn = l2bt("synthesize", name, *counts, *size, folder=root)
        assert drawn.returncode == 0, drawn.stderr
        (root / name / "train").mkdir()
        (root / name / "good").rename(root / name / "train" / "good")
        (root / name / "masks").rename(root / name / "ground_truth")
    return root
