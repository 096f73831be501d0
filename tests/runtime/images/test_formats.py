"""One rule for the files of all formats: taken as stored, or refused with what to do."""

import io
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from PIL import Image

from runtime.errors import BadImageError
from runtime.images.decode import decode_image, encoded_size
from tests.parts.small import random_image
from tests.parts.tiff import tiff

RGB = random_image(6, 10)
GREY = RGB[..., 0]
DEEP = RGB.astype(np.uint16) * 257
EXACT_FORMATS = ("PNG", "BMP", "TIFF", "WEBP")


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    if kind == "WEBP":
        options["lossless"] = True
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def palette_of_two() -> Image.Image:
    """Background at index 1, as tools write it that reduce colours."""
    picture = Image.fromarray((GREY > 127).astype(np.uint8), "P")
    picture.putpalette([200, 10, 30, 0, 0, 0])
    return picture


def two_colours() -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.where(
        (GREY > 127)[..., None], np.zeros(3, np.uint8), np.array([200, 10, 30], np.uint8)
    )


ACCEPTED: dict[str, tuple[Callable[[], bytes], Any]] = {
    **{
        f"{kind}, RGB": (partial(encoded, Image.fromarray(RGB), kind), RGB)
        for kind in EXACT_FORMATS
    },
    **{
        f"{kind}, grey": (
            partial(encoded, Image.fromarray(GREY), kind),
            np.repeat(GREY[..., None], 3, axis=2),
        )
        for kind in EXACT_FORMATS
    },
    **{
        f"{kind}, palette": (partial(encoded, palette_of_two(), kind), two_colours())
        for kind in ("PNG", "BMP", "TIFF")
    },
    **{
        f"{kind}, 1 bit": (
            partial(encoded, Image.fromarray(GREY > 127), kind),
            np.repeat((GREY > 127)[..., None], 3, axis=2).astype(np.uint8) * 255,
        )
        for kind in ("PNG", "BMP", "TIFF")
    },
    "TIFF, RGB in planes": (lambda: tiff(RGB, planar=True), RGB),
    "TIFF, RGB with undefined turn": (lambda: tiff(RGB, orientation=1), RGB),
    **{
        f"TIFF, orientation {turn}": (partial(tiff, RGB, orientation=turn), RGB)
        for turn in range(2, 9)
    },
    **{
        f"TIFF in planes, orientation {turn}": (
            partial(tiff, RGB, planar=True, orientation=turn),
            RGB,
        )
        for turn in (3, 6)
    },
}


def with_orientation(kind: str, turn: int) -> bytes:
    exif = Image.Exif()
    exif[274] = turn
    return encoded(Image.fromarray(RGB), kind, exif=exif)


for _kind in ("PNG", "WEBP"):
    for _turn in range(2, 9):
        ACCEPTED[f"{_kind}, orientation {_turn}"] = (
            partial(with_orientation, _kind, _turn),
            RGB,
        )


@pytest.mark.parametrize("name", ACCEPTED)
def test_a_file_is_taken_with_its_pixels_as_stored(name: str) -> None:
    make, expected = ACCEPTED[name]
    found = decode_image(make())
    assert found.shape == expected.shape
    assert (found == expected).all()
    assert encoded_size(make()) == expected.shape[:2]


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_jpegs_orientation_is_ignored_like_all_others(turn: int) -> None:
    assert (decode_image(with_orientation("JPEG", turn))
            == decode_image(encoded(Image.fromarray(RGB), "JPEG"))).all()  # fmt: skip


def pages(kind: str, **options: Any) -> bytes:
    others = [Image.fromarray(random_image(6, 10, seed=seed)) for seed in (1, 2)]
    return encoded(Image.fromarray(RGB), kind, save_all=True, append_images=others, **options)


def with_alpha(kind: str) -> bytes:
    return encoded(Image.fromarray(np.dstack([RGB, GREY])), kind)


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "TIFF, two pages": (lambda: tiff(RGB, RGB), "holds 2 images"),
    "TIFF, a preview first": (lambda: tiff(RGB[:2, :2], RGB), "holds 2 images"),
    "APNG": (lambda: pages("PNG"), "holds 3 images"),
    "WebP, animated": (lambda: pages("WEBP"), "holds 3 images"),
    "MPO": (lambda: pages("MPO"), "holds 3 images"),
    "TIFF, 16-bit RGB": (lambda: tiff(DEEP), "more than 8 bits"),
    "TIFF, 16-bit RGB in planes": (lambda: tiff(DEEP, planar=True), "more than 8 bits"),
    "TIFF, 16-bit grey": (lambda: tiff(DEEP[..., 0]), "more than 8 bits"),
    "TIFF, 32-bit grey": (lambda: tiff(GREY.astype(np.uint32)), "more than 8 bits"),
    "TIFF, float grey": (lambda: tiff(GREY.astype(np.float32)), "more than 8 bits"),
    "TIFF, RGB and one more": (lambda: tiff(np.dstack([RGB, GREY])), "channels|RGBA|RGBX"),
    "TIFF, RGB and two more": (lambda: tiff(np.dstack([RGB, GREY, GREY])), "channels"),
    "TIFF, two greys": (lambda: tiff(RGB[..., :2]), "channels|LA"),
    "PNG, 16-bit grey": (lambda: encoded(Image.fromarray(DEEP[..., 0]), "PNG"), "more than 8"),
    "PNG, RGBA": (lambda: with_alpha("PNG"), "alpha channel"),
    "PNG, LA": (
        lambda: encoded(Image.fromarray(np.dstack([GREY, GREY]), "LA"), "PNG"),
        "alpha channel",
    ),
    "WebP, RGBA": (lambda: with_alpha("WEBP"), "alpha channel"),
    "TIFF, RGBA": (lambda: with_alpha("TIFF"), "alpha channel|channels"),
    "JPEG, CMYK": (lambda: encoded(Image.fromarray(RGB).convert("CMYK"), "JPEG"), "CMYK"),
    "TIFF, CMYK": (lambda: encoded(Image.fromarray(RGB).convert("CMYK"), "TIFF"), "CMYK"),
    "TIFF, Lab": (lambda: encoded(Image.fromarray(RGB).convert("LAB"), "TIFF"), "LAB"),
    "GIF": (lambda: encoded(Image.fromarray(RGB), "GIF"), "expected a JPEG, PNG"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_would_be_guessed_at_is_refused_with_what_to_do(name: str) -> None:
    make, reason = REFUSED[name]
    with pytest.raises(BadImageError, match=reason) as refusal:
        decode_image(make(), name="part.tif")
    assert "part.tif" in str(refusal.value)
