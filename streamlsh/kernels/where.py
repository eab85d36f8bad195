"""One small array that tells kernels where everything of a commit is.

Handing a kernel an array costs a tenth of a microsecond, so a view packs its addresses and sizes
into one array of int64 (``where``), made once a commit; these are the places in it.
"""

from __future__ import annotations

import numpy as np
from numba import carray
from numpy.typing import NDArray

from streamlsh.kernels.compiling import inlined, pointer

I64 = NDArray[np.int64]

SEGMENTS = 0
"""Address of the segments' table, (SEGMENT_COUNT, 4) int64; see ``runs.list_runs``. The last may
be the tail."""
SEGMENT_COUNT = 1
CHUNKS = 2
"""Address of the addresses of all segments' chunks, CHUNK_COUNT of them."""
CHUNK_COUNT = 3
BLOCKS_PER_CHUNK = 4
BUCKETS = 5
"""Buckets of the family, over all tables."""
BLOCKS = 6
"""Address of the addresses of slot blocks, 0 for one that stands in strips alone."""
BLOCK_COUNT = 7
STRIPS = 8
"""Address of the addresses of the open block's strips, 0 for one that stands in the block."""
OPEN_BLOCK = 9
"""Number of the open block; of none, one that no slot is in."""
BLOCK_SHIFT = 10
"""log2 of the rows of a block."""
STRIP_SHIFT = 11
CODE_WIDTH = 12
"""Bytes of a row's 4-bit codes."""
DIM = 13
SLOT_END = 14
METRIC = 15
NAMES = 16
"""Address of the addresses of name blocks, of which there are as many as of slot blocks."""
NAME_STRIPS = 17
"""Address of the addresses of the open block's name strips, as many as of strips."""
VALUES_END = 18
"""Address behind the last value that is known to be in the file: no id may end past it."""
SIZE = 19

MOST_ID = 511
"""Bytes of the longest id."""

COSINE, INNER_PRODUCT, EUCLIDEAN = 0, 1, 2
"""The metrics, by number."""


@inlined
def locate(where: I64, slot: int) -> tuple[int, int, int]:
    """Where a slot's row is: (address of its slot block, its row, rows in that block)."""
    shift = where[BLOCK_SHIFT]
    block = slot >> shift
    if block == where[OPEN_BLOCK]:
        strip = _strip(where, where[STRIPS], slot)
        if strip:
            small = where[STRIP_SHIFT]
            return strip, slot & ((1 << small) - 1), 1 << small
    blocks = carray(pointer(where[BLOCKS]), where[BLOCK_COUNT], np.int64)
    return blocks[block], slot & ((1 << shift) - 1), 1 << shift


@inlined
def _strip(where: I64, table: int, slot: int) -> int:
    """Address of the strip that holds a slot of the open block, or 0."""
    shift = where[BLOCK_SHIFT]
    inside = (slot & ((1 << shift) - 1)) >> where[STRIP_SHIFT]
    return carray(pointer(table), (1 << shift) >> where[STRIP_SHIFT], np.int64)[inside]


@inlined
def _name_block(where: I64, slot: int) -> tuple[int, int]:
    """The name block of a slot: (its address, log2 of its slots)."""
    shift = where[BLOCK_SHIFT]
    block = slot >> shift
    if block == where[OPEN_BLOCK]:
        strip = _strip(where, where[NAME_STRIPS], slot)
        if strip:
            return strip, where[STRIP_SHIFT]
    return carray(pointer(where[NAMES]), where[BLOCK_COUNT], np.int64)[block], shift


@inlined
def locate_end(where: I64, slot: int) -> int:
    """Address of the number that says where the id of a slot's item ends."""
    address, shift = _name_block(where, slot)
    return address + 4 * (slot & ((1 << shift) - 1))


@inlined
def locate_name(where: I64, slot: int) -> tuple[int, int]:
    """Where the id of a slot's item is: (address of its bytes, how many).

    A damaged block may say anything: an id that cannot be, or is not in the file, counts as empty.
    """
    address, shift = _name_block(where, slot)
    rows = 1 << shift
    row = slot & (rows - 1)
    ends = carray(pointer(address), rows, np.uint32)
    first = np.int64(ends[row - 1]) if row else 0
    length = np.int64(ends[row]) - first
    begin = address + 4 * rows + first
    if length < 0 or length > MOST_ID or begin + length > where[VALUES_END]:
        return address, np.int64(0)
    return begin, length


@inlined
def compare_names(where: I64, slot: int, other: int) -> int:
    """Below, at or above zero as the first slot's id sorts before, with or after the other's."""
    address, length = locate_name(where, slot)
    other_address, other_length = locate_name(where, other)
    text = carray(pointer(address), length, np.uint8)
    other_text = carray(pointer(other_address), other_length, np.uint8)
    for at in range(min(length, other_length)):
        if text[at] != other_text[at]:
            return np.int64(text[at]) - np.int64(other_text[at])
    return length - other_length
