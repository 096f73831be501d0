"""A camera's pixels become 8-bit RGB by the rule that the station file names."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.station.settings.pixel_rule import PIXEL_FORMATS, PixelScale
from runtime.station.sources.pixels import describe_rule, to_rgb


@given(
    black=st.integers(0, 4000),
    width=st.integers(1, 4095),
    values=st.lists(st.integers(0, 65535), min_size=1, max_size=40),
)
def test_values_go_in_proportion_from_black_to_white_and_are_cut_off_beyond(
    black: int, width: int, values: list[int]
) -> None:
    scale = PixelScale(black, black + width)
    content = np.array(values, "<u2").tobytes()
    image = to_rgb(content, pixels="Mono16", width=len(values), height=1, scale=scale)
    wanted = [min(max(value - black, 0) * 255 / width, 255) for value in values]
    assert np.abs(image[0, :, 0] - np.array(wanted)).max() <= 0.5 + 1e-9
    assert (image[..., 0] == image[..., 1]).all()
    assert (image[..., 0] == image[..., 2]).all()


def test_eight_bits_from_0_to_255_stay_as_they_are() -> None:
    values = np.arange(256, dtype=np.uint8)
    image = to_rgb(values.tobytes(), pixels="Mono8", width=16, height=16, scale=PixelScale(0, 255))
    assert (image[..., 1].ravel() == values).all()


@pytest.mark.parametrize("pattern", ["RG", "GR", "GB", "BG"])
def test_each_bayer_pattern_gives_a_plain_colour_back(pattern: str) -> None:
    colour = {"R": 200, "G": 90, "B": 30}
    two = pattern + {"RG": "GB", "GR": "BG", "GB": "RG", "BG": "GR"}[pattern]
    tile = np.array([[colour[two[0]], colour[two[1]]], [colour[two[2]], colour[two[3]]]], np.uint8)
    content = np.tile(tile, (8, 8)).tobytes()
    image = to_rgb(
        content, pixels=f"Bayer{pattern}8", width=16, height=16, scale=PixelScale(0, 255)
    )
    assert image[8, 8].tolist() == [200, 90, 30]


def test_blue_first_is_turned_round() -> None:
    content = bytes([1, 2, 3] * 4)
    image = to_rgb(content, pixels="BGR8", width=2, height=2, scale=PixelScale(0, 255))
    assert image[0, 0].tolist() == [3, 2, 1]


def test_too_few_bytes_are_refused() -> None:
    with pytest.raises(ValueError, match="8 bytes; a frame of 4 x 2 px has 16"):
        to_rgb(bytes(8), pixels="Mono12", width=4, height=2, scale=PixelScale(0, 4095))


def test_the_rule_is_told_in_words() -> None:
    said = describe_rule("BayerRG12", PixelScale(64, 4095))
    assert said == "BayerRG12, 64..4095 to 0..255, bilinear demosaicing"


def test_no_packed_format_is_taken() -> None:
    assert not [name for name in PIXEL_FORMATS if name.endswith(("p", "Packed"))]
