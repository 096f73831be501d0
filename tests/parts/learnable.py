"""A small product that can learn, and what its inbox holds."""

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from PIL import Image

from runtime.feedback.inbox import Inbox
from runtime.images.decode import ImageArray
from train.data.synthetic import SyntheticSettings, open_synthetic
from train.data.synthetic_defects import Defect

Trained: TypeAlias = Callable[[str], Path]
"""From a name to the folder of a product and its memory."""
WHOLE = SyntheticSettings(
    train_images=10,
    test_good=5,
    test_defective=2,
    height=100,
    width=150,
    defects=(Defect("stain", 60), Defect("stain", 50)),
)


def content_of(pixels: ImageArray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def copy_of(trained: Path, tmp_path: Path) -> Path:
    for path in trained.iterdir():
        shutil.copytree(path, tmp_path / path.name)
    with Inbox(tmp_path / "feedback", "plate") as inbox:
        for number, sample in enumerate(open_synthetic(WHOLE).test):
            inbox.add(
                content_of(sample.pixels()),
                name=f"{number}.png",
                review="defect" if sample.is_defective else "good",
                who="ada",
                by_chance=not sample.is_defective,
            )
    return tmp_path / "plate"
