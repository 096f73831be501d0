"""Drawn products: reproducible, and with defects whose size and mask are the truth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.errors import OptionError
from train.data.synthetic_defects import DEFECT_SIZES, Defect, longest_extent
from train.data.synthetic_product import draw_product

KINDS = sorted(DEFECT_SIZES)


def test_the_same_seed_draws_the_same_bytes() -> None:
    assert np.array_equal(draw_product(5).image, draw_product(5).image)


def test_another_seed_draws_another_picture() -> None:
    assert not np.array_equal(draw_product(5).image, draw_product(6).image)


def test_a_picture_is_at_least_1500_by_1000_px_by_default() -> None:
    assert draw_product(0).image.shape == (1000, 1500, 3)


@settings(max_examples=25)
@given(kind=st.sampled_from(KINDS), share=st.floats(0, 1), seed=st.integers(0, 10_000))
def test_a_defect_has_its_size_and_an_exact_mask(kind: str, share: float, seed: int) -> None:
    low, high = DEFECT_SIZES[kind]
    size_px = round(low + share * (high - low))
    good = draw_product(seed, height=500, width=750)
    drawn = draw_product(seed, height=500, width=750, defects=[Defect(kind, size_px)])
    assert abs(longest_extent(drawn.mask) - size_px) <= max(1, 0.1 * size_px)
    assert np.array_equal(
        drawn.image != good.image, (drawn.image != good.image) & drawn.mask[..., None]
    )
    changed = (drawn.image != good.image).any(axis=2)
    assert (changed == drawn.mask).mean() > 0.9999


def test_a_defect_that_cannot_fit_is_refused() -> None:
    with pytest.raises(OptionError, match="does not fit"):
        draw_product(0, height=64, width=96, defects=[Defect("stain", 200)])


@pytest.mark.parametrize(("kind", "size_px"), [("hole", 10), ("speck", 200), ("stain", 3)])
def test_a_defect_that_makes_no_sense_is_refused(kind: str, size_px: int) -> None:
    with pytest.raises(OptionError, match="use one of|give a whole number"):
        Defect(kind, size_px)
