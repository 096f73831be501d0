"""How a camera's pixels become the 8-bit RGB that a product is learned with.

The rule is written down, since a network that was trained with another one would see other parts.
"""

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

Layout: TypeAlias = Literal["mono", "RG", "GR", "GB", "BG", "rgb", "bgr"]
"""Grey, the first two pixels of a Bayer pattern, or three channels a pixel."""


@dataclass(frozen=True)
class PixelFormat:
    """What lies in a frame's bytes.

    Attributes:
        layout: Which values a pixel has.
        bits: Of a value.
    """

    layout: Layout
    bits: int


PIXEL_FORMATS = {
    **{f"Mono{bits}": PixelFormat("mono", bits) for bits in (8, 10, 12, 16)},
    **{
        f"Bayer{pattern}{bits}": PixelFormat(pattern, bits)
        for pattern in ("RG", "GR", "GB", "BG")
        for bits in (8, 10, 12, 16)
    },
    "RGB8": PixelFormat("rgb", 8),
    "BGR8": PixelFormat("bgr", 8),
}
"""By GenICam's names. Packed ones are left out: the camera can send the same unpacked."""

_RANGE = re.compile(r"(\d{1,5})\.\.(\d{1,5})")


@dataclass(frozen=True)
class PixelScale:
    """Which values become 0 and 255; those between go in proportion, those beyond are cut off.

    Attributes:
        black: Becomes 0.
        white: Becomes 255.
    """

    black: int
    white: int

    @classmethod
    def parse(cls, text: str) -> "PixelScale":
        """Read "0..4095".

        Raises:
            ValueError: It is not of that form, or not from low to high.
        """
        found = _RANGE.fullmatch(text)
        if not found or not int(found[1]) < int(found[2]) <= 65535:
            raise ValueError(
                f'scale {text!r}; expected the values that become 0 and 255, such as "0..4095"'
            )
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.black}..{self.white}"
