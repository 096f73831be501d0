"""Small parts that need no files: an image, a card."""

import io

import numpy as np
from PIL import Image

from runtime.geometry.geometry import GeometrySettings
from runtime.images.decode import ImageArray
from runtime.products.card import ProductCard, TeacherCard, Threshold
from train.settings import DEMO_TEACHER, TeacherSettings

SMALL_IMAGE_SIZE = 224
# Two blocks of the demo teacher in place of eight: what a test says of files, servers and commands
# holds for any depth, and tracing, compiling and computing take a quarter of the time.
SHALLOW_LAYERS = (1, 2)
SHALLOW_TEACHER = TeacherSettings(teacher=DEMO_TEACHER, layers=SHALLOW_LAYERS)


def make_card(**changes: object) -> ProductCard:
    fields: dict[str, object] = {
        "product": "plate",
        "teacher": TeacherCard(
            name="dinov2-small-demo",
            weights_source="a test",
            weights_sha256="0" * 64,
            layers=(4, 8),
            dimension=384,
        ),
        "geometry": GeometrySettings(image_size=SMALL_IMAGE_SIZE),
        "threshold": Threshold(image_score=0.1, pixel_value=0.2, method="a test", good_images=3),
        "students_sha256": "1" * 64,
    }
    return ProductCard(**{**fields, **changes})  # type: ignore[arg-type]


def random_image(height: int, width: int, seed: int = 0) -> ImageArray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def png(seed: int = 0, *, height: int = 40, width: int = 60) -> bytes:
    file = io.BytesIO()
    Image.fromarray(random_image(height, width, seed)).save(file, "PNG")
    return file.getvalue()
