"""Counting the pixels of a test set by their value, losslessly and in one pass.

A test set has hundreds of millions of pixels, but its scores lie within a few powers of two, and
between two powers of two there are only 2^23 float32 values. So each value gets a counter of its
own: nothing is rounded, and memory depends on the range of the values, not on the number of images:
32 MiB for each factor of two.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Keys = npt.NDArray[np.uint32]
Counts = npt.NDArray[np.int64]

_PAGE_BITS = 14
_PAGE_VALUES = 1 << _PAGE_BITS
_PAGES = 1 << (32 - _PAGE_BITS)
_SIGN = np.uint32(1 << 31)
# Temporary arrays of this many pixels stay in the processor's cache.
_CHUNK_PIXELS = 1 << 17
# A 32-bit counter may be filled by one value in every pixel (a masked area, say).
_COUNTER_LIMIT = (1 << 32) - 1
_HIGHEST_KEY = (1 << 32) - 1
_PENDING_LIMIT = 1 << 22


def to_keys(values: npt.NDArray[np.float32]) -> Keys:
    """Float32 values as integers in the same order; -0.0 and 0.0 become the same.

    Args:
        values: Any shape, without NaN.

    Returns:
        As many uint32, one-dimensional.
    """
    flat = np.ascontiguousarray(values, np.float32).ravel()
    if flat.size and int(flat.view(np.int32).min()) >= 0:
        return flat.view(np.uint32) | _SIGN
    bits = (flat + np.float32(0)).view(np.uint32)
    # Positive floats are ordered like their bits, negative ones in reverse.
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def to_values(keys: Keys) -> npt.NDArray[np.float32]:
    """The values that `to_keys` made the keys of."""
    keys = np.asarray(keys, np.uint32)
    return np.where(keys & _SIGN, keys ^ _SIGN, ~keys).astype(np.uint32).view(np.float32)


@dataclass(frozen=True, kw_only=True)
class _Index:
    """Sums over the counters, which answer questions about ranks."""

    pages: Counts
    pixels_from_page: Counts
    pixels_from_sparse: Counts


class ScoreCounts:
    """How many pixels have each value.

    Values lie in pages of 16,384 neighbours, which get memory when the first of them comes. When
    `page_memory_bytes` is spent, values of further pages are kept as a sorted list, losslessly
    too, at 12 bytes for each different value.

    Args:
        page_memory_bytes: The most memory for pages; it is only reserved, and taken when it is
            written. The default holds sixteen factors of two between the lowest and highest value.
    """

    def __init__(self, *, page_memory_bytes: int = 512 << 20) -> None:
        self.total = 0
        self._first_counter_of_page = np.full(_PAGES, -1, np.int64)
        self._counters = np.zeros(page_memory_bytes // 4 // _PAGE_VALUES * _PAGE_VALUES, np.uint32)
        self._used_pages = 0
        self._counted_since_drain = 0
        self._sparse_keys: Keys = np.empty(0, np.uint32)
        self._sparse_counts: Counts = np.empty(0, np.int64)
        self._pending: list[Keys] = []
        self._pending_size = 0
        self._cached_index: _Index | None = None

    @property
    def used_bytes(self) -> int:
        """Memory of the pages and lists that hold the counts."""
        pages = self._used_pages * _PAGE_VALUES * self._counters.itemsize
        return pages + self._sparse_keys.nbytes + self._sparse_counts.nbytes

    def add(self, keys: Keys) -> None:
        """Count pixels, given by the keys of their values."""
        for start in range(0, keys.size, _CHUNK_PIXELS):
            self._add_chunk(keys[start : start + _CHUNK_PIXELS])
        self.total += keys.size
        self._cached_index = None

    def above_and_tied(self, keys: Keys) -> tuple[Counts, Counts]:
        """For each key the number of counted pixels with a higher value, and with the same."""
        above, tied = np.empty(keys.shape, np.int64), np.empty(keys.shape, np.int64)
        for start in range(0, keys.size, _CHUNK_PIXELS):
            chunk = slice(start, start + _CHUNK_PIXELS)
            wide = keys[chunk].astype(np.int64)
            above[chunk] = self._count_from(wide + 1)
            tied[chunk] = self._count_from(wide) - above[chunk]
        return above, tied

    def keys_at(self, positions: Counts) -> Keys:
        """The keys at positions (from 0) among all counted pixels, sorted, lowest first.

        Raises:
            IndexError: A position is not below the number of pixels.
        """
        if positions.size and not 0 <= positions.min() <= positions.max() < self.total:
            raise IndexError(f"positions {positions} among {self.total} pixels")
        low = np.zeros(positions.shape, np.int64)
        high = np.full(positions.shape, _HIGHEST_KEY, np.int64)
        # The highest key that total - position pixels reach.
        while (low < high).any():
            middle = (low + high + 1) // 2
            reached = self._count_from(middle) >= self.total - positions
            low, high = np.where(reached, middle, low), np.where(reached, high, middle - 1)
        return low.astype(np.uint32)

    def _add_chunk(self, keys: Keys) -> None:
        if self._counted_since_drain + keys.size > _COUNTER_LIMIT:
            self._drain_full_counters()
        self._counted_since_drain += keys.size
        pages = keys >> np.uint32(_PAGE_BITS)
        counters = self._first_counter_of_page[pages]
        if counters.min() < 0:
            self._open_pages(np.unique(pages[counters < 0]))
            counters = self._first_counter_of_page[pages]
            if (without_page := counters < 0).any():
                self._keep_sparse(keys[without_page])
                keys, counters = keys[~without_page], counters[~without_page]
        counters += keys & np.uint32(_PAGE_VALUES - 1)
        np.add.at(self._counters, counters, np.uint32(1))

    def _open_pages(self, pages: Keys) -> None:
        first = self._used_pages * _PAGE_VALUES
        room = (self._counters.size - first) // _PAGE_VALUES
        opened = pages[:room]
        self._first_counter_of_page[opened] = first + _PAGE_VALUES * np.arange(opened.size)
        self._used_pages += opened.size

    def _keep_sparse(self, keys: Keys) -> None:
        self._pending.append(keys)
        self._pending_size += keys.size
        if self._pending_size > _PENDING_LIMIT:
            self._merge_pending()

    def _merge_pending(self) -> None:
        if not self._pending:
            return
        keys, counts = np.unique(np.concatenate(self._pending), return_counts=True)
        self._pending, self._pending_size = [], 0
        self._merge(keys, counts.astype(np.int64))

    def _merge(self, keys: Keys, counts: Counts) -> None:
        both = np.concatenate([self._sparse_keys, keys])
        self._sparse_keys, place = np.unique(both, return_inverse=True)
        merged = np.zeros(self._sparse_keys.size, np.int64)
        np.add.at(merged, place, np.concatenate([self._sparse_counts, counts]))
        self._sparse_counts = merged

    def _drain_full_counters(self) -> None:
        """Move large counts to the sparse list, so that no counter can overflow."""
        used = self._counters[: self._used_pages * _PAGE_VALUES]
        large = np.flatnonzero(used > _COUNTER_LIMIT // 2)
        pages = np.flatnonzero(self._first_counter_of_page >= 0)
        page_of_block = np.empty(self._used_pages, np.int64)
        page_of_block[self._first_counter_of_page[pages] // _PAGE_VALUES] = pages
        keys = page_of_block[large // _PAGE_VALUES] * _PAGE_VALUES + large % _PAGE_VALUES
        self._merge(keys.astype(np.uint32), used[large].astype(np.int64))
        used[large] = 0
        # What is left is at most half full.
        self._counted_since_drain = _COUNTER_LIMIT // 2

    def _index(self) -> _Index:
        if self._cached_index is None:
            self._merge_pending()
            pages = np.flatnonzero(self._first_counter_of_page >= 0)
            firsts = self._first_counter_of_page[pages]
            blocks = self._counters[: self._used_pages * _PAGE_VALUES].reshape(-1, _PAGE_VALUES)
            sums = blocks.sum(axis=1, dtype=np.int64)[firsts // _PAGE_VALUES]
            self._cached_index = _Index(
                pages=pages,
                pixels_from_page=_sums_to_the_end(sums),
                pixels_from_sparse=_sums_to_the_end(self._sparse_counts),
            )
        return self._cached_index

    def _count_from(self, keys: Counts) -> Counts:
        """Pixels whose value is at least that of each key; keys up to the highest one plus 1."""
        index = self._index()
        found: Counts = index.pixels_from_sparse[np.searchsorted(self._sparse_keys, keys)]
        wanted_pages = keys >> _PAGE_BITS
        # All pages behind the wanted one, and that part of it which begins at the key.
        found = found + index.pixels_from_page[np.searchsorted(index.pages, wanted_pages, "right")]
        order = np.argsort(wanted_pages, kind="stable")
        different, starts = np.unique(wanted_pages[order], return_index=True)
        for page, members in zip(different, np.split(order, starts[1:]), strict=True):
            first = self._first_counter_of_page[page] if page < _PAGES else -1
            if first >= 0:
                counters = self._counters[first : first + _PAGE_VALUES]
                found[members] += _sums_to_the_end(counters)[keys[members] & (_PAGE_VALUES - 1)]
        return found


def _sums_to_the_end(counts: npt.NDArray[Any]) -> Counts:
    """For each place the sum from there to the end, and 0 for the place behind the last."""
    sums = np.zeros(counts.size + 1, np.int64)
    np.cumsum(counts[::-1], dtype=np.int64, out=sums[-2::-1] if counts.size else sums[:0])
    return sums
