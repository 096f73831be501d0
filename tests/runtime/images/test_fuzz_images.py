"""Damaged and hostile images: each is decoded or refused, and costs no more than it declares."""

import io
import random
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.lib.stride_tricks import as_strided
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from runtime.errors import BadImageError
from runtime.images.decode import check_image, decode_image, encoded_size, image_size, load_image
from tests.parts.fuzz import mutations
from tests.parts.small import random_image

# Any warning fails these tests.
pytestmark = pytest.mark.filterwarnings("error")


def encode(kind: str, mode: str = "RGB", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(random_image(24, 31)).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def with_tags() -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112], tags[0x010E] = 6, "a part"
    return tags


def long_text() -> PngInfo:
    info = PngInfo()
    info.add_text("comment", "a" * 2_000_000, zip=True)
    return info


VALID = {
    "JPEG": [encode("JPEG"), encode("JPEG", "L"), encode("JPEG", progressive=True)],
    "JPEG with tags": [encode("JPEG", exif=with_tags())],
    "PNG": [encode("PNG"), encode("PNG", "P"), encode("PNG", "1"), encode("PNG", exif=with_tags())],
    "PNG with a text that unpacks to megabytes": [encode("PNG", pnginfo=long_text())],
    "BMP": [encode("BMP"), encode("BMP", "P"), encode("BMP", "1")],
    "TIFF": [
        encode("TIFF"),
        *(encode("TIFF", compression=c) for c in ("tiff_lzw", "tiff_adobe_deflate", "jpeg")),
    ],
    "WebP": [encode("WEBP"), encode("WEBP", lossless=True, exif=with_tags())],
}


def check_decoding(data: bytes) -> None:
    """Either an image of the size that the header declares, or BadImageError."""
    try:
        size = encoded_size(data)
    except BadImageError:
        with pytest.raises(BadImageError):
            decode_image(data)
        return
    try:
        pixels = decode_image(data)
    except BadImageError:
        return
    assert pixels.shape == (*size, 3)
    assert pixels.dtype == np.uint8


@pytest.mark.parametrize("kind", VALID)
def test_a_damaged_file_is_decoded_or_refused(kind: str) -> None:
    for data in mutations(VALID[kind], 1_000, seed=len(kind)):
        check_decoding(data)


def test_random_bytes_are_refused_behind_every_formats_first_bytes() -> None:
    chance = random.Random(0)
    for start in (b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\0", b"MM\0*", b"RIFF"):
        for _ in range(150):
            check_decoding(start + chance.randbytes(chance.randrange(300)))


def test_a_damaged_file_on_the_disk_gives_a_size_or_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "part.png"
    for data in mutations([data for kind in VALID.values() for data in kind], 500, seed=1):
        path.write_bytes(data)
        try:
            assert min(image_size(path)) >= 0
        except BadImageError as error:
            assert "part.png is not a readable image" in str(error)


@pytest.mark.parametrize("path", ["a\0b.png", "a" * 5_000, "\ud800.png"])
def test_a_path_that_cannot_be_is_refused(path: str) -> None:
    with pytest.raises(BadImageError, match="cannot be read"):
        load_image(path)


def test_pillows_remarks_about_a_file_do_not_reach_the_user() -> None:
    honest = encode("TIFF", tiffinfo={270: "a part"})
    tag = struct.pack("<HH", 270, 2)
    at = honest.index(tag) + len(tag)
    data = honest[:at] + struct.pack("<I", 1_000_000) + honest[at + 4 :]
    with pytest.warns(UserWarning, match="Tag data larger than file"):
        Image.open(io.BytesIO(data))
    assert encoded_size(data) == (24, 31)
    with pytest.raises(BadImageError, match="268435456"):
        encoded_size(png_header(20_000, 20_000))


# Files that declare more than they hold ----------------------------------------------------------


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_header(width: int, height: int, *, bits: int = 8, colour: int = 2) -> bytes:
    fields = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", fields) + chunk(b"IDAT", b"")


def black_png(side: int) -> bytes:
    """A few kilobytes that unpack to a whole image of one bit a pixel."""
    pack = zlib.compressobj(9)
    rows = b"".join(pack.compress(bytes(side // 8 + 1)) for _ in range(side)) + pack.flush()
    start = png_header(side, side, bits=1, colour=0).removesuffix(chunk(b"IDAT", b""))
    return start + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def _name(value: object) -> str:
    return value if isinstance(value, str) else ""


def bombs() -> Iterator[tuple[str, bytes]]:
    for width, height in ((60_000, 60_000), (1, 2**31 - 1), (2**31 - 1, 1), (20_000, 20_000)):
        yield f"PNG {width} x {height}", png_header(width, height)
    yield "PNG 0 x 0", png_header(0, 0)
    jpeg = encode("JPEG")
    frame = jpeg.index(b"\xff\xc0")
    yield "JPEG", jpeg[: frame + 5] + struct.pack(">HH", 60_000, 60_000) + jpeg[frame + 9 :]
    for width, height in ((60_000, 60_000), (1, 2**31 - 1), (-1, 5), (5, -(2**31))):
        bmp = encode("BMP")
        yield f"BMP {width} x {height}", bmp[:18] + struct.pack("<ii", width, height) + bmp[26:]
    tiff = encode("TIFF")
    for code in (struct.pack("<HHI", 256, 4, 1), struct.pack("<HHI", 256, 3, 1)):
        tiff = tiff.replace(code + struct.pack("<I", 31), code + struct.pack("<I", 60_000))
    yield "TIFF", tiff.replace(struct.pack("<I", 24), struct.pack("<I", 60_000))
    yield "PNG that unpacks", black_png(20_000)


# The peak is read from the process's own record; getrusage's holds that of its parent too.
MEASURE = """
import sys
from runtime.errors import BadImageError
from runtime.images.decode import decode_image

def peak_mb():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) // 1024

data = sys.stdin.buffer.read()
before = peak_mb()
try:
    found = "x".join(map(str, decode_image(data).shape))
except BadImageError:
    found = "refused"
print(found, peak_mb() - before)
"""


def decode_apart(data: bytes) -> tuple[str, int]:
    """What came of decoding in a process of its own, and the memory that it took in MB."""
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", MEASURE], input=data, capture_output=True, check=False
    )
    assert result.returncode == 0, result.stderr.decode()
    assert result.stderr == b""
    found, memory_mb = result.stdout.split()
    return found.decode(), int(memory_mb)


@pytest.mark.parametrize(("name", "data"), list(bombs()), ids=_name)
def test_a_size_that_is_too_large_is_refused_before_memory_is_taken(name: str, data: bytes) -> None:
    found, memory_mb = decode_apart(data)
    assert found == "refused", name
    assert memory_mb < 32


def test_the_largest_file_costs_its_pixels_and_what_pillow_holds_of_them() -> None:
    data = black_png(16_000)
    assert len(data) < 100_000
    found, memory_mb = decode_apart(data)
    assert found == "16000x16000x3"
    # 3 bytes a pixel of RGB and 1 of grey, and a band on the way from one to the other.
    assert memory_mb < (3 + 1) * 16_000**2 / 2**20 + 128


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P"])
def test_an_image_that_is_decoded_in_bands_has_the_pixels_of_one_that_is_not(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encode("PNG", mode)
    whole = decode_image(data)
    monkeypatch.setattr("runtime.images.decode._BAND_PIXELS", 100)
    assert np.array_equal(decode_image(data), whole)


# Arrays ------------------------------------------------------------------------------------------


@settings(max_examples=500)
@given(
    st.data(),
    st.one_of(arrays.scalar_dtypes(), arrays.array_dtypes(), st.just(np.dtype(object))),
    arrays.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=5),
)
def test_an_array_of_any_kind_is_accepted_or_refused(
    data: st.DataObject, dtype: np.dtype[np.generic], shape: tuple[int, ...]
) -> None:
    check_array(np.zeros(shape, data.draw(st.sampled_from([dtype, np.dtype(np.uint8)]))))


@settings(max_examples=300)
@given(
    st.tuples(*[st.sampled_from([0, 1, 3, 70_000, 2**28])] * 2, st.sampled_from([0, 1, 3, 4])),
    st.tuples(*[st.sampled_from([0, 1, -1, 3])] * 3),
)
def test_a_view_that_claims_more_than_there_is_is_refused(
    shape: tuple[int, ...], strides: tuple[int, ...]
) -> None:
    memory = np.zeros(2 * 3 * 16, np.uint8)[48:]
    if max(shape) > 3:
        check_array(as_strided(memory, shape, strides))
    else:
        check_array(as_strided(memory, shape, strides).copy()[::-1])


def check_array(array: np.ndarray) -> None:  # type: ignore[type-arg]
    try:
        pixels = check_image(array)
    except BadImageError:
        return
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert min(pixels.shape) >= 1
    assert pixels.flags.c_contiguous
    assert np.array_equal(pixels, array)
