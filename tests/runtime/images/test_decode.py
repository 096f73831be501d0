"""What counts as an image, and what the refusals say."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from runtime.errors import BadImageError
from runtime.images.decode import check_image, decode_image, encoded_size, load_image, read_image
from tests.parts.small import random_image


def encode(array: np.ndarray, kind: str = "PNG") -> bytes:  # type: ignore[type-arg]
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind)
    return buffer.getvalue()


def test_a_png_decodes_to_its_own_pixels() -> None:
    image = random_image(7, 11)
    assert np.array_equal(decode_image(encode(image)), image)


def test_an_eight_bit_grey_file_becomes_three_equal_channels() -> None:
    grey = random_image(5, 6)[..., 0]
    assert np.array_equal(decode_image(encode(grey)), np.repeat(grey[..., None], 3, axis=2))


def test_the_size_of_an_encoded_image_is_read_from_its_header() -> None:
    assert encoded_size(encode(random_image(30, 40), "JPEG")) == (30, 40)


def test_orientation_tags_are_ignored_like_the_masks() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.fromarray(random_image(20, 30)).save(buffer, "JPEG", exif=exif)
    assert decode_image(buffer.getvalue()).shape == (20, 30, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_file_cut_in_half_is_refused(kind: str) -> None:
    data = encode(random_image(64, 64), kind)
    with pytest.raises(BadImageError, match="damaged or cut"):
        decode_image(data[: len(data) // 2])


def test_a_text_file_named_jpg_is_refused_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "part.jpg"
    path.write_text("this is no picture")
    with pytest.raises(BadImageError, match=r"part\.jpg .* not a readable image"):
        read_image(path)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.png"
    path.touch()
    with pytest.raises(BadImageError, match="not a readable image"):
        read_image(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadImageError, match="gone.png cannot be read"):
        read_image(tmp_path / "gone.png")


def test_a_sixteen_bit_grey_file_is_refused() -> None:
    deep = np.full((4, 4), 40_000, np.uint16)
    with pytest.raises(BadImageError, match="more than 8 bits"):
        decode_image(encode(deep))


def test_a_sixteen_bit_colour_file_is_refused_though_pillow_would_open_it() -> None:
    import cv2

    ok, data = cv2.imencode(".png", np.full((4, 4, 3), 40_000, np.uint16))
    assert ok
    with pytest.raises(BadImageError, match="more than 8 bits"):
        decode_image(data.tobytes())


def test_a_file_with_an_alpha_channel_is_refused() -> None:
    with pytest.raises(BadImageError, match="drop any alpha channel"):
        decode_image(encode(np.zeros((4, 4, 4), np.uint8)))


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((0, 5, 3), np.uint8), "5 x 0 px"),
        (np.zeros((5, 0, 3), np.uint8), "0 x 5 px"),
        (np.zeros((5, 5), np.uint8), "repeat the channel"),
        (np.zeros((5, 5, 4), np.uint8), "drop the fourth channel"),
        (np.zeros((5, 5, 1), np.uint8), r"expected \(H, W, 3\)"),
        (np.zeros((1, 5, 5, 3), np.uint8), r"expected \(H, W, 3\)"),
        (np.zeros((5, 5, 3), np.uint16), "expected uint8"),
        (np.zeros((5, 5, 3), np.float32), "expected uint8"),
        (np.zeros((1, 70_000, 3), np.uint8), "1 to 65535 px"),
    ],
)
def test_an_unfit_array_is_refused_with_what_would_be_right(
    array: np.ndarray,  # type: ignore[type-arg]
    reason: str,
) -> None:
    with pytest.raises(BadImageError, match=reason):
        check_image(array)


def test_something_else_than_an_image_is_refused() -> None:
    with pytest.raises(BadImageError, match="is a int"):
        load_image(3)  # type: ignore[arg-type]


def test_a_view_is_accepted_and_made_contiguous() -> None:
    image = random_image(6, 8)
    assert np.array_equal(check_image(image[:, ::-1]), image[:, ::-1])
