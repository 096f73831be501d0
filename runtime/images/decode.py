"""Images in: from a file, from encoded bytes or from an array, always to (H, W, 3) uint8 RGB.

Training, the in-process detector and the server all decode here, so that a pixel has the same
value everywhere. Pillow decodes because it refuses a file that ends too early, where OpenCV fills
the rest with grey. One rule holds for all formats:

* Pixels are taken as stored. Orientation tags are ignored, like the masks'.
* One image a file. Several pages, frames or previews are refused, since the first may be a preview.
* At most 8 bits a channel, in one channel (grey or a palette) or three (RGB, or the YCbCr of JPEG).
  Grey becomes three equal channels. More bits, transparency, CMYK and further channels are refused:
  how to make 8-bit RGB of them is the plant's decision.
"""

import io
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from runtime.errors import BadImageError

ImageArray: TypeAlias = npt.NDArray[np.uint8]
ImageLike: TypeAlias = "str | Path | bytes | ImageArray"

FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
MAX_SIDE_PX = 65_535
MAX_PIXELS = 16_384**2  # 0.8 GB of RGB; line scans may be long, but not also wide

# Pillow refuses twice this by itself, before it decodes; `check_size` refuses the rest.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
# An image is brought to RGB by so many pixels at a time, so that no second copy of it is held.
_BAND_PIXELS = 1 << 22

# One grey value a pixel says the same as three equal channels, so nothing is lost or guessed.
_EIGHT_BIT_MODES = {"RGB", "L", "1", "P"}
# TIFF's tags, and what undoes each orientation.
_BITS_A_SAMPLE, _ORIENTATION, _SAMPLES_A_PIXEL, _EXTRA_SAMPLES, _SAMPLE_FORMAT = (
    258,
    274,
    277,
    338,
    339,
)
_UNSIGNED, _UNDEFINED = 1, 4
_FIRST_ON_ITS_SIDE = 5
_TURNED_BACK = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def load_image(image: ImageLike, *, name: str | None = None) -> ImageArray:
    """Bring any kind of image to (H, W, 3) uint8 RGB.

    Args:
        image: A file's path, the bytes of an encoded file, or an (H, W, 3) uint8 RGB array.
        name: What to call the image in errors; by default its path, or "image".

    Raises:
        BadImageError: The image cannot be used; the message says why and what would be right.
    """
    if isinstance(image, (str, Path)):
        return read_image(Path(image))
    if isinstance(image, bytes):
        return decode_image(image, name=name or "image")
    return check_image(image, name=name or "image")


def read_image(path: Path) -> ImageArray:
    """Read an image file as (H, W, 3) uint8 RGB.

    Raises:
        BadImageError: The file cannot be read or decoded.
    """
    return decode_image(read_encoded(path), name=str(path))


def read_encoded(path: Path) -> bytes:
    """Read the bytes of an image file.

    Raises:
        BadImageError: The file cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadImageError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        # The path holds what no path can, such as NUL.
        raise BadImageError(f"{str(path)!r} cannot be read: {error}") from error


def decode_image(data: bytes, *, name: str = "image") -> ImageArray:
    """Decode the bytes of a JPEG, PNG, BMP, TIFF or WebP file to (H, W, 3) uint8 RGB.

    8-bit grey files become three equal channels.

    Raises:
        BadImageError: The bytes are no such file, are cut, or hold what the rule above refuses.
    """
    with _without_remarks(), _open(data, name) as picture:
        check_size(picture.height, picture.width, name=name)
        try:
            _check_kind(picture, name)
            return _rgb(_as_stored(picture))
        except BadImageError:
            raise
        except Exception as error:
            # Pillow raises many types for files that are damaged.
            raise BadImageError(
                f"{name} is damaged or cut ({error}); send the whole {picture.format} file"
            ) from error


def encoded_size(data: bytes, *, name: str = "image") -> tuple[int, int]:
    """Height and width in px of an encoded image, from its header alone.

    Raises:
        BadImageError: The bytes do not begin like an image file, or it is too large.
    """
    with _without_remarks(), _open(data, name) as picture:
        check_size(picture.height, picture.width, name=name)
        return _stored_size(picture)


def image_size(path: Path) -> tuple[int, int]:
    """Height and width in px of an image file, from its header alone.

    Raises:
        BadImageError: The file cannot be read, or does not begin like an image file.
    """
    try:
        with (
            _without_remarks(),
            path.open("rb") as file,
            Image.open(file, formats=FORMATS) as picture,
        ):
            return _stored_size(picture)
    except Exception as error:
        # Pillow raises many types for files that are damaged.
        raise BadImageError(f"{path} is not a readable image ({_short(error)})") from error


def check_image(image: object, *, name: str = "image") -> ImageArray:
    """Return the array if it is (H, W, 3) uint8 and not empty.

    Raises:
        BadImageError: Anything else.
    """
    if not isinstance(image, np.ndarray):
        raise BadImageError(
            f"{name} is a {type(image).__name__}; expected a path, encoded bytes, "
            "or an (H, W, 3) uint8 RGB array"
        )
    if image.ndim == 2:
        raise BadImageError(
            f"{name} is a grey array of shape {image.shape}; expected (H, W, 3): repeat the "
            "channel, e.g. numpy.repeat(image[..., None], 3, axis=2)"
        )
    if image.ndim != 3 or image.shape[2] != 3:
        cure = ": drop the fourth channel" if image.ndim == 3 and image.shape[2] == 4 else ""
        raise BadImageError(f"{name} has shape {image.shape}; expected (H, W, 3) RGB{cure}")
    if image.dtype != np.uint8:
        raise BadImageError(
            f"{name} has dtype {image.dtype}; expected uint8: scale it to 0..255 in the same way "
            "as the training images"
        )
    check_size(image.shape[0], image.shape[1], name=name)
    return np.ascontiguousarray(image)


def check_size(height: int, width: int, *, name: str = "image") -> None:
    """Refuse an image without pixels, or one beyond the size that memory is planned for.

    Raises:
        BadImageError: A side is under 1 px or over `MAX_SIDE_PX`, or the pixels are more than
            `MAX_PIXELS`.
    """
    if min(height, width) < 1 or max(height, width) > MAX_SIDE_PX or height * width > MAX_PIXELS:
        raise BadImageError(
            f"{name} is {width} x {height} px; each side must be 1 to {MAX_SIDE_PX} px, and all "
            f"pixels at most {MAX_PIXELS}"
        )


@contextmanager
def _without_remarks() -> Iterator[None]:
    """Keep Pillow's warnings about odd files from the user: an image is used or refused."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def _rgb(picture: Image.Image) -> ImageArray:
    height, width = picture.height, picture.width
    rows = max(1, _BAND_PIXELS // width)
    if height <= rows:
        return np.asarray(picture.convert("RGB"))
    pixels = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, rows):
        end = min(top + rows, height)
        pixels[top:end] = np.asarray(picture.crop((0, top, width, end)).convert("RGB"))
    return pixels


def _open(data: bytes, name: str) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except Exception as error:
        # Pillow raises many types for files that are damaged.
        raise BadImageError(
            f"{name} ({len(data)} bytes) is not a readable image ({_short(error)}); "
            "expected a JPEG, PNG, BMP, TIFF or WebP file"
        ) from error


def _short(error: Exception) -> str:
    # Pillow's own text names a BytesIO object, which says nothing to a user.
    return "unknown format" if isinstance(error, UnidentifiedImageError) else str(error)


def _check_kind(picture: Image.Image, name: str) -> None:
    if (pages := getattr(picture, "n_frames", 1)) > 1:
        raise BadImageError(
            f"{name} holds {pages} images (pages, frames or previews); expected one: save the one "
            "that is meant as a file of its own"
        )
    # Pillow opens 16-bit RGB files as "RGB" and drops the low bytes without a word, or worse.
    sixteen_bit = any(";16" in str(tile[3]) for tile in getattr(picture, "tile", []))
    tags = _tiff_tags(picture)
    deep = max(_numbers(tags, _BITS_A_SAMPLE), default=1) > 8
    measured = any(kind not in (_UNSIGNED, _UNDEFINED) for kind in _numbers(tags, _SAMPLE_FORMAT))
    if sixteen_bit or deep or measured or picture.mode.startswith(("I", "F")):
        raise BadImageError(
            f"{name} has more than 8 bits a channel; expected 8: scale it to 0..255 in the same "
            "way as the training images"
        )
    if picture.mode not in _EIGHT_BIT_MODES or "transparency" in picture.info:
        raise BadImageError(
            f"{name} has {picture.mode} pixels; expected RGB or grey without transparency: "
            "convert it and drop any alpha channel"
        )
    channels = max(_numbers(tags, _SAMPLES_A_PIXEL), default=1)
    if channels > len(picture.getbands()) or _EXTRA_SAMPLES in tags:
        raise BadImageError(
            f"{name} has {channels} channels; expected RGB or grey: save those alone"
        )


def _as_stored(picture: Image.Image) -> Image.Image:
    """The picture, turned back where Pillow turned it: TIFF alone, by its tag."""
    orientation = _tiff_orientation(picture)
    picture.load()
    back = _TURNED_BACK.get(orientation)
    return picture if back is None else picture.transpose(back)


def _stored_size(picture: Image.Image) -> tuple[int, int]:
    """Height and width in px as stored."""
    if _tiff_orientation(picture) >= _FIRST_ON_ITS_SIDE:
        return picture.width, picture.height
    return picture.height, picture.width


def _tiff_orientation(picture: Image.Image) -> int:
    return next(iter(_numbers(_tiff_tags(picture), _ORIENTATION)), 1)


def _tiff_tags(picture: Image.Image) -> Mapping[int, Any]:
    return getattr(picture, "tag_v2", {}) if picture.format == "TIFF" else {}


def _numbers(tags: Mapping[int, Any], tag: int) -> tuple[int, ...]:
    value = tags.get(tag, ())
    return tuple(value) if isinstance(value, tuple) else (value,)
