"""TIFF files of every kind, written byte by byte: Pillow writes a few kinds alone."""

import struct

import numpy as np
import numpy.typing as npt

_SHORT, _LONG = 3, 4


def tiff(
    *pages: npt.NDArray[np.generic],
    planar: bool = False,
    orientation: int | None = None,
    samples_in_colour: int = 3,
) -> bytes:
    """An uncompressed little-endian TIFF file.

    Args:
        pages: (H, W) or (H, W, C) each, of any unsigned, signed or float type.
        planar: One plane a channel instead of all channels of a pixel together.
        orientation: The tag's value; no tag if None.
        samples_in_colour: Channels beyond are extra samples of unknown meaning.
    """
    content = bytearray(b"II*\0\0\0\0\0")
    link = 4
    for page in pages:
        pixels = page if page.ndim == 3 else page[..., None]
        height, width, channels = pixels.shape
        planes = [pixels[..., c] for c in range(channels)] if planar else [pixels]
        offsets, sizes = [], []
        for plane in planes:
            data = np.ascontiguousarray(plane).tobytes()
            offsets.append(len(content))
            sizes.append(len(data))
            content += data + b"\0" * (len(data) % 2)
        bits = 8 * pixels.dtype.itemsize
        kind = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
        entries: list[tuple[int, int, list[int]]] = [
            (256, _LONG, [width]),
            (257, _LONG, [height]),
            (258, _SHORT, [bits] * channels),
            (259, _SHORT, [1]),
            (262, _SHORT, [2 if channels >= 3 else 1]),
            (273, _LONG, offsets),
            *([(274, _SHORT, [orientation])] if orientation is not None else []),
            (277, _SHORT, [channels]),
            (278, _LONG, [height]),
            (279, _LONG, sizes),
            (284, _SHORT, [2 if planar else 1]),
        ]
        extra = channels - (samples_in_colour if channels >= 3 else 1)
        if extra > 0:
            entries.append((338, _SHORT, [0] * extra))
        entries.append((339, _SHORT, [kind] * channels))
        link = _append_directory(content, link, entries)
    return bytes(content)


def _append_directory(
    content: bytearray, link: int, entries: list[tuple[int, int, list[int]]]
) -> int:
    """Append a page's directory, point `link` at it, and return where the next link stands."""
    packed = []
    for tag, kind, values in entries:
        data = struct.pack(f"<{len(values)}{'H' if kind == _SHORT else 'I'}", *values)
        if len(data) > 4:
            place = len(content)
            content += data + b"\0" * (len(data) % 2)
            data = struct.pack("<I", place)
        packed.append(struct.pack("<HHI", tag, kind, len(values)) + data.ljust(4, b"\0"))
    start = len(content)
    content[link : link + 4] = struct.pack("<I", start)
    content += struct.pack("<H", len(packed)) + b"".join(packed) + b"\0\0\0\0"
    return len(content) - 4
