"""Bitmaps of one page of slots: changing and uniting the containers of postings.

A *container* holds the slots of one page that carry a tag, as uint16: up to ``FEW`` sorted
offsets into the page, or ``PAGE_WORDS`` words of a bitmap. Its length tells which; so do roaring
bitmaps (Chambi, Lemire et al., 2016), whose idea this is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamlsh.kernels.compiling import inlined, kernel

U16 = NDArray[np.uint16]
I64 = NDArray[np.int64]

PAGE_WORDS = 1024
"""Words of a page's bitmap: ``schema.LIVE_PAGE_SLOTS`` bits."""
FEW = PAGE_WORDS - 1
"""Most offsets of a container: one more, and the bitmap is as short."""


@inlined
def _switch_on(word: int, offset: int) -> int:
    return np.uint16(word | np.uint16(1) << np.uint16(offset & 15))


@inlined
def _unite(container: U16, bitmap: U16) -> None:
    """Switch a container's bits on."""
    if container.shape[0] == PAGE_WORDS:
        for i in range(PAGE_WORDS):
            bitmap[i] |= container[i]
        return
    for i in range(container.shape[0]):
        offset = np.int64(container[i]) & (16 * PAGE_WORDS - 1)
        bitmap[offset >> 4] = _switch_on(bitmap[offset >> 4], offset)


@kernel
def change_containers(
    stored: U16, starts: I64, changes: U16, firsts: I64, places: I64, changed: U16, lengths: I64
) -> None:
    """Add slots to containers and take slots out of them.

    Args:
        stored: the containers before, one after the other.
        starts: (m + 1,) where each begins; one without slots has no words.
        changes: ``offset << 1 | on`` of each slot that is added (on = 1) or taken out (0).
        firsts: (m + 1,) where the changes of each container begin.
        places: (m + 1,) where each may write: as many words as it held and is changed in, and
            no more than ``PAGE_WORDS``.
        changed: (places[m],) the containers afterwards, written.
        lengths: (m,) their words, written.
    """
    bitmap = np.empty(PAGE_WORDS, np.uint16)
    for c in range(lengths.shape[0]):
        bitmap[:] = 0
        _unite(stored[starts[c] : starts[c + 1]], bitmap)
        for i in range(firsts[c], firsts[c + 1]):
            offset = np.int64(changes[i] >> 1)
            word = _switch_on(bitmap[offset >> 4], offset)
            if changes[i] & 1 == 0:
                word = np.uint16(word ^ np.uint16(1) << np.uint16(offset & 15))
            bitmap[offset >> 4] = word
        place = places[c]
        held = 0
        for i in range(PAGE_WORDS):
            if bitmap[i] == 0 or held == PAGE_WORDS:
                continue
            for bit in range(16):
                if (bitmap[i] >> bit) & 1 != 0 and held < PAGE_WORDS:
                    changed[place + held] = 16 * i + bit
                    held += 1
        if held == PAGE_WORDS:
            changed[place : place + PAGE_WORDS] = bitmap
        lengths[c] = held


@kernel
def unite_containers(stored: U16, where: I64, bitmaps: U16) -> None:
    """Switch the bits of many containers on.

    Args:
        stored: the containers, one after the other.
        where: (m, 2) the bitmap that each belongs to, and its words.
        bitmaps: (n, PAGE_WORDS), changed.
    """
    start = 0
    for c in range(where.shape[0]):
        end = start + where[c, 1]
        _unite(stored[start:end], bitmaps[where[c, 0]])
        start = end
