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
"""Address of the segments' table, (SEGMENT_COUNT, 4) int64; see ``scan.list_runs``."""
SEGMENT_COUNT = 1
CHUNKS = 2
"""Address of the addresses of all segments' chunks, CHUNK_COUNT of them."""
CHUNK_COUNT = 3
BLOCKS_PER_CHUNK = 4
TAIL_BUCKETS = 5
"""Address of the buckets of the tail's TAIL_ENTRIES entries, sorted; see ``layout.sort_groups``."""
TAIL_ENTRIES = 6
TAIL_PLACES = 7
"""Address of where each of them is: its block's address, and its lane."""
BUCKETS = 8
"""Buckets of the family, over all tables."""
BLOCKS = 9
"""Address of the addresses of slot blocks, 0 for a block that was emptied."""
BLOCK_COUNT = 10
STRIPS = 11
"""Address of the addresses of the open block's strips."""
STRIP_COUNT = 12
FIRST_STRIP = 13
BLOCK_SHIFT = 14
"""log2 of the rows of a block."""
STRIP_SHIFT = 15
CODE_WIDTH = 16
"""Bytes of a row's 4-bit codes."""
DIM = 17
SLOT_END = 18
METRIC = 19
NAMES = 20
"""Address of the addresses of name blocks, of which there are as many as of slot blocks."""
NAME_STRIPS = 21
"""Address of the addresses of the open block's name strips, as many as of strips."""
SIZE = 22

COSINE, INNER_PRODUCT, EUCLIDEAN = 0, 1, 2
"""The metrics, by number."""


@inlined
def locate(where: I64, slot: int) -> tuple[int, int, int]:
    """Where a slot's row is: (address of its slot block, its row, rows in that block)."""
    shift = where[BLOCK_SHIFT]
    block = slot >> shift
    if block < where[BLOCK_COUNT]:
        blocks = carray(pointer(where[BLOCKS]), where[BLOCK_COUNT], np.int64)
        if blocks[block]:
            return blocks[block], slot & ((1 << shift) - 1), 1 << shift
    small = where[STRIP_SHIFT]
    strips = carray(pointer(where[STRIPS]), where[STRIP_COUNT], np.int64)
    strip = (slot >> small) - where[FIRST_STRIP]
    return strips[strip], slot & ((1 << small) - 1), 1 << small


@inlined
def _name_block(where: I64, slot: int) -> tuple[int, int]:
    """The name block of a slot: (its address, log2 of its slots)."""
    shift = where[BLOCK_SHIFT]
    block = slot >> shift
    if block < where[BLOCK_COUNT]:
        address = carray(pointer(where[NAMES]), where[BLOCK_COUNT], np.int64)[block]
        if address:
            return address, shift
    small = where[STRIP_SHIFT]
    strips = carray(pointer(where[NAME_STRIPS]), where[STRIP_COUNT], np.int64)
    return strips[(slot >> small) - where[FIRST_STRIP]], small


@inlined
def locate_end(where: I64, slot: int) -> int:
    """Address of the number that says where the id of a slot's item ends."""
    address, shift = _name_block(where, slot)
    return address + 4 * (slot & ((1 << shift) - 1))


@inlined
def locate_name(where: I64, slot: int) -> tuple[int, int]:
    """Where the id of a slot's item is: (address of its bytes, how many)."""
    address, shift = _name_block(where, slot)
    rows = 1 << shift
    row = slot & (rows - 1)
    ends = carray(pointer(address), rows, np.uint32)
    first = np.int64(ends[row - 1]) if row else 0
    return address + 4 * rows + first, np.int64(ends[row]) - first


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
