"""From slots to the ids of their items."""

from __future__ import annotations

import numpy as np
from numba import carray
from numpy.typing import NDArray

from streamlsh.kernels.compiling import inlined, kernel, pointer, prefetch
from streamlsh.kernels.where import compare_names, locate_end, locate_name

I64 = NDArray[np.int64]
U32 = NDArray[np.uint32]
F32 = NDArray[np.float32]


@kernel
def name_hits(
    where: I64,
    slots: U32,
    scores: F32,
    notes: I64,
    k: int,
    text: NDArray[np.uint8],
    ends: I64,
) -> int:
    """Order hits of equal score by id, cut to the best ``k``, and write out their ids.

    Args:
        where: see ``streamlsh.kernels.where``.
        slots: (n, most) hits of each query, best first; those of equal score are permuted.
        scores: (n, most) their scores.
        notes: (n, 4) how many hits each query has stands first; cut to ``k``.
        k: hits wanted.
        text: written: the ids' bytes, a zero after each, as far as there is room.
        ends: (n * k,), written: where each hit's id ends, before its zero.

    Returns:
        The bytes of all that; if more than ``text`` holds, call again with room for them.
    """
    size = 0
    hit = 0
    for row in range(slots.shape[0]):
        held = notes[row, 0]
        first = 0
        while first < min(held, k):
            end = first + 1
            while end < held and scores[row, end] == scores[row, first]:
                end += 1
            if end - first > 1:
                _sort_by_name(where, slots[row, first:end])
            first = end
        notes[row, 0] = min(held, k)
        # Hits are all over the file: ask for all of their names before the first is read.
        for i in range(notes[row, 0]):
            prefetch(locate_end(where, np.int64(slots[row, i])))
        for i in range(notes[row, 0]):
            address, _ = locate_name(where, np.int64(slots[row, i]))
            prefetch(address)
        for i in range(notes[row, 0]):
            address, length = locate_name(where, np.int64(slots[row, i]))
            if size + length < text.shape[0]:
                name = carray(pointer(address), length, np.uint8)
                for at in range(length):
                    text[size + at] = name[at]
                text[size + length] = 0
            ends[hit] = size + length
            size += length + 1
            hit += 1
    return size


@inlined
def _sort_by_name(where: I64, slots: U32) -> None:
    """Sort slots by their items' ids (heapsort: the copies of one vector may be thousands)."""
    count = slots.shape[0]
    for start in range(count // 2 - 1, -1, -1):
        _sift(where, slots, start, count)
    for end in range(count - 1, 0, -1):
        slots[0], slots[end] = slots[end], slots[0]
        _sift(where, slots, 0, end)


@inlined
def _sift(where: I64, slots: U32, root: int, end: int) -> None:
    """Let the slot at ``root`` sink until no child's id sorts after its own."""
    while 2 * root + 1 < end:
        child = 2 * root + 1
        right = min(child + 1, end - 1)
        if compare_names(where, np.int64(slots[child]), np.int64(slots[right])) < 0:
            child = right
        if compare_names(where, np.int64(slots[root]), np.int64(slots[child])) >= 0:
            return
        slots[root], slots[child] = slots[child], slots[root]
        root = child
