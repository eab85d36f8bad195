"""Checking leaf pages of LMDB's B-trees, thousands in the time that NumPy takes for one.

What is checked is what ``storage.pages`` and ``storage.walking`` check for a single page; they say
what is wrong with the page that is found here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamlsh.kernels.compiling import inlined, kernel

U8 = NDArray[np.uint8]
U16 = NDArray[np.uint16]
I64 = NDArray[np.int64]

PAGE_BYTES = 4096
HEADER_BYTES = 16
NODE_BYTES = 8
LEAF = 2
BIG = 1
MOST_KEY = 511


@inlined
def _number(words: U16, at: int, count: int) -> int:
    """A number of ``count`` 16-bit words; one of four is cut to what no file reaches."""
    value = np.int64(0)
    for i in range(min(count, 3)):
        value |= np.int64(words[at + i]) << (16 * i)
    if count == 4:
        value |= np.int64(min(words[at + 3], 15)) << 48
    return value


@inlined
def _sorts_before(raw: U8, first: int, length: int, second: int, other_length: int) -> bool:
    """Whether the key at ``first`` sorts before the one at ``second``."""
    for i in range(min(length, other_length)):
        if raw[first + i] != raw[second + i]:
            return raw[first + i] < raw[second + i]
    return length < other_length


@inlined
def _is_sound(raw: U8, words: U16, number: int, ends: I64) -> bool:
    """Whether a leaf page's header, nodes and order of keys are sound; ``ends`` is zero between."""
    start = number * PAGE_BYTES
    base = start >> 1
    lower = np.int64(words[base + 6])
    upper = np.int64(words[base + 7])
    if _number(words, base, 4) != number or words[base + 5] != LEAF:
        return False
    if lower < HEADER_BYTES + 2 or lower > upper or upper > PAGE_BYTES or lower & 1 != 0:
        return False
    count = (lower - HEADER_BYTES) >> 1
    sound = True
    before = np.int64(0)
    before_size = np.int64(0)
    for i in range(count):
        offset = np.int64(words[base + 8 + i])
        if offset & 1 != 0 or offset > PAGE_BYTES - NODE_BYTES:
            sound = False
            break
        node = base + (offset >> 1)
        size = _number(words, node, 2)
        flags = words[node + 2]
        key_size = np.int64(words[node + 3])
        end = offset + NODE_BYTES + key_size + (8 if flags == BIG else size)
        if flags > BIG or key_size < 1 or key_size > MOST_KEY or end > PAGE_BYTES:
            sound = False
            break
        key = start + offset + NODE_BYTES
        if i > 0 and not _sorts_before(raw, before, before_size, key, key_size):
            sound = False
            break
        before = key
        before_size = key_size
        ends[offset >> 1] = (end + 1) & ~1
    # Nodes fill the page from its end without a gap.
    at = upper
    for _ in range(count):
        if not sound or at >= PAGE_BYTES or ends[at >> 1] == 0:
            sound = False
            break
        at = ends[at >> 1]
    ends[:] = 0
    return sound and at == PAGE_BYTES


@kernel
def check_leaves(
    raw: U8, words: U16, branch: int, numbers: I64, large: I64, counts: I64
) -> tuple[int, int, int]:
    """Check the leaf pages below a branch page, each for itself and against the branch's keys.

    Args:
        raw: the file's bytes.
        words: the same as 16-bit words.
        branch: number of the branch page, which is sound.
        numbers: (n,) its children's, all within the file.
        large: where to write the first pages of large values; room for as many as there can be.
        counts: where to write how many pages the size of each needs.

    Returns:
        The place of the first child that is not sound, or -1; how many large values there are; and
        the entries of all children.
    """
    ends = np.zeros(PAGE_BYTES // 2, np.int64)
    held = 0
    entries = 0
    parent = branch * PAGE_BYTES
    for i in range(numbers.shape[0]):
        number = numbers[i]
        if not _is_sound(raw, words, number, ends):
            return i, held, entries
        start = number * PAGE_BYTES
        base = start >> 1
        count = (np.int64(words[base + 6]) - HEADER_BYTES) >> 1
        for side in range(2):  # from this child's key in the branch to below the next one's
            place = i + side
            if place == 0 or place == numbers.shape[0]:
                continue
            bound = parent + np.int64(words[(parent >> 1) + 8 + place])
            bound_size = np.int64(words[(bound >> 1) + 3])
            key = start + np.int64(words[base + 8 + (count - 1 if side else 0)])
            below = _sorts_before(
                raw, key + NODE_BYTES, np.int64(words[(key >> 1) + 3]), bound + NODE_BYTES,
                bound_size,
            )  # fmt: skip
            if below != (side == 1):
                return i, held, entries
        for j in range(count):
            node = base + (np.int64(words[base + 8 + j]) >> 1)
            if words[node + 2] == BIG:
                value = (node << 1) + NODE_BYTES + np.int64(words[node + 3])
                first = np.int64(0)
                for k in range(6):
                    first |= np.int64(raw[value + k]) << (8 * k)
                if raw[value + 6] != 0 or raw[value + 7] != 0:
                    first = np.int64(1) << 52
                large[held] = first
                counts[held] = (_number(words, node, 2) + HEADER_BYTES - 1) // PAGE_BYTES + 1
                held += 1
        entries += count
    return -1, held, entries
