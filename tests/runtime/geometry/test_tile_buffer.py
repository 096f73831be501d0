"""Memory for tiles: kept from cut to cut, and never shared between threads."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from runtime.geometry.geometry import GeometrySettings
from runtime.geometry.tile_buffer import TileBuffer
from tests.parts.small import random_image

TILES = GeometrySettings(image_size=112, kind="tiles", overlap_wh=(14, 14))


def test_the_same_memory_is_given_again() -> None:
    buffer = TileBuffer()
    first = buffer.take(5, (28, 28))
    second = buffer.take(3, (28, 28))
    assert first.shape == (5, 28, 28, 3)
    assert second.shape == (3, 28, 28, 3)
    assert np.shares_memory(first, second)


def test_it_grows_where_more_is_needed() -> None:
    buffer = TileBuffer()
    buffer.take(1, (28, 28))
    assert buffer.take(9, (56, 42)).shape == (9, 42, 56, 3)


def test_each_thread_has_its_own() -> None:
    buffer = TileBuffer()
    ours = buffer.take(2, (28, 28))
    with ThreadPoolExecutor(1) as pool:
        theirs = pool.submit(buffer.take, 2, (28, 28)).result()
    assert not np.shares_memory(ours, theirs)


def test_cuts_into_kept_memory_are_those_into_fresh_memory() -> None:
    buffer = TileBuffer()
    for seed, (height, width) in enumerate([(300, 200), (50, 70), (1, 400), (300, 310)]):
        image = random_image(height, width, seed)
        geometry = TILES.for_image(height, width)
        assert np.array_equal(geometry.cut(image, buffer), geometry.cut(image))
