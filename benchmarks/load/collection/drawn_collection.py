"""Many small images of the drawn product."""

from pathlib import Path

import cv2
import numpy as np

from train.data.synthetic import SyntheticSettings, open_synthetic
from train.data.synthetic_defects import Defect

_SIZE_WH = (180, 120)
_DEFECTIVE_SHARE = 0.05
_IN_A_FOLDER = 1000
_CUT = 7


def draw_collection(folder: Path, images: int) -> None:
    """Draw a collection: one image in twenty has a defect, and one is cut.

    Args:
        folder: Made; the images stand in folders in it.
        images: How many, at least eight.
    """
    drawn = open_synthetic(
        SyntheticSettings(
            train_images=12,
            test_good=3,
            test_defective=3,
            height=240,
            width=360,
            defects=(Defect("stain", 60), Defect("dent", 40), Defect("stain", 40)),
        )
    )
    small = [
        (one.is_defective, cv2.resize(one.pixels(), _SIZE_WH, interpolation=cv2.INTER_AREA))
        for one in (*drawn.train, *drawn.test)
    ]
    good = [pixels for is_defective, pixels in small if not is_defective]
    defective = [pixels for is_defective, pixels in small if is_defective]
    draw = np.random.default_rng(0)
    for number in range(images):
        place = folder / f"{number // _IN_A_FOLDER:04d}"
        place.mkdir(parents=True, exist_ok=True)
        some = defective if draw.random() < _DEFECTIVE_SHARE else good
        pixels = some[draw.integers(len(some))].astype(np.int16) + draw.integers(-3, 4)
        bgr = cv2.cvtColor(np.clip(pixels, 0, 255).astype(np.uint8), cv2.COLOR_RGB2BGR)
        path = place / f"{number:08d}.jpg"
        cv2.imwrite(str(path), bgr)
        if number == _CUT:
            path.write_bytes(path.read_bytes()[:-300])
