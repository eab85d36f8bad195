"""Scores from the stored rows: 4-bit codes first, then the float32 vectors themselves."""

from __future__ import annotations

import numpy as np
from numba import carray
from numpy.typing import NDArray

from streamlsh.kernels.compiling import inlined, kernel, pointer, prefetch
from streamlsh.kernels.scan import LIVE_SHIFT, is_live
from streamlsh.kernels.select import cut, sort_best_first

U32 = NDArray[np.uint32]
I64 = NDArray[np.int64]
F32 = NDArray[np.float32]

LANES = 16
CACHE_LINE = 64
AHEAD = 12
"""Candidates between asking for a row and using it."""


@inlined
def inner_product(query: F32, row: F32) -> float:
    """Inner product in sixteen running sums, added up in a fixed order.

    The same bits whatever the width of the machine's registers, and still vectorised.
    """
    dim = query.shape[0]
    sums = np.zeros(LANES, np.float32)
    whole = dim - dim % LANES
    for start in range(0, whole, LANES):
        for lane in range(LANES):
            sums[lane] += query[start + lane] * row[start + lane]
    for i in range(whole, dim):
        sums[i - whole] += query[i] * row[i]
    width = LANES // 2
    while width:
        for lane in range(width):
            sums[lane] += sums[lane + width]
        width //= 2
    return sums[0]


@inlined
def locate(
    slot: int, blocks: I64, strips: I64, first_strip: int, block_shift: int, strip_shift: int
) -> tuple[int, int, int]:
    """Where a slot's row is: (address of its slot block, its row, rows in that block)."""
    block = slot >> block_shift
    if block < blocks.shape[0] and blocks[block]:
        return blocks[block], slot & ((1 << block_shift) - 1), 1 << block_shift
    strip = (slot >> strip_shift) - first_strip
    return strips[strip], slot & ((1 << strip_shift) - 1), 1 << strip_shift


@inlined
def exact_score(query: F32, address: int, row: int, rows: int, code_width: int) -> float:
    """Cosine of a unit query and a stored row of a slot block.

    The block's sections: vectors (rows, dim) f4, codes (rows, code_width) u1, step (rows,) f4,
    inverse norms (rows,) f4.
    """
    dim = query.shape[0]
    vector = carray(pointer(address + 4 * dim * row), dim, np.float32)
    at = address + rows * (4 * dim + code_width + 4)
    inverse = carray(pointer(at), rows, np.float32)
    return inner_product(query, vector) * inverse[row]


@inlined
def _fetch_codes(
    slot: int,
    dim: int,
    blocks: I64,
    strips: I64,
    first_strip: int,
    block_shift: int,
    strip_shift: int,
    code_width: int,
) -> None:
    """Begin to load the codes and the step of a slot."""
    address, row, rows = locate(slot, blocks, strips, first_strip, block_shift, strip_shift)
    start = address + rows * 4 * dim + row * code_width
    for line in range(start, start + code_width, CACHE_LINE):
        prefetch(line)
    prefetch(address + rows * (4 * dim + code_width) + 4 * row)


@kernel
def rescore(
    slots: U32,
    scores: F32,
    held: int,
    rerank: int,
    exact: int,
    query: F32,
    query_codes: NDArray[np.int8],
    query_step: float,
    blocks: I64,
    strips: I64,
    first_strip: int,
    block_shift: int,
    strip_shift: int,
    code_width: int,
) -> int:
    """Cut to the best ``rerank`` by sketch, to the best ``exact`` by codes, score those exactly.

    Ties at a cut stay, so there may be more of each.

    Args:
        slots: candidates, permuted in place; the result stands in front, best first.
        scores: their sketch scores; the exact ones stand in front afterwards.
        held: number of candidates.
        rerank: how many are scored by their 4-bit codes.
        exact: how many are scored by their vectors.
        query: (dim,) unit vector.
        query_codes: (2 * code_width,) the query in signed bytes.
        query_step: value of one step of ``query_codes``.
        blocks: addresses of slot blocks, 0 for a block that is not there.
        strips: addresses of the open block's strips.
        first_strip: number of the first of them.
        block_shift: log2 of the rows of a block.
        strip_shift: log2 of the rows of a strip.
        code_width: bytes of a row's codes.

    Returns:
        How many slots were scored exactly.
    """
    held, _ = cut(slots, scores, held, rerank)
    dim = query.shape[0]
    if held > exact:
        total = np.int32(0)
        for i in range(2 * code_width):
            total += np.int32(query_codes[i])
        # Candidates are all over the file: ask for their pages and lines a few ahead.
        for c in range(min(AHEAD, held)):
            _fetch_codes(
                np.int64(slots[c]), dim, blocks, strips, first_strip, block_shift, strip_shift,
                code_width,
            )  # fmt: skip
        for c in range(held):
            if c + AHEAD < held:
                _fetch_codes(
                    np.int64(slots[c + AHEAD]), dim, blocks, strips, first_strip, block_shift,
                    strip_shift, code_width,
                )  # fmt: skip
            address, row, rows = locate(
                np.int64(slots[c]), blocks, strips, first_strip, block_shift, strip_shift
            )
            codes = carray(
                pointer(address + rows * 4 * dim + row * code_width), code_width, np.uint8
            )
            steps = carray(pointer(address + rows * (4 * dim + code_width)), rows, np.float32)
            low = np.int32(0)
            high = np.int32(0)
            for j in range(code_width):
                low += np.int32(query_codes[j]) * np.int32(codes[j] & 15)
                high += np.int32(query_codes[code_width + j]) * np.int32(codes[j] >> 4)
            product = np.float32(2 * (low + high) - 15 * total)
            scores[c] = product * (np.float32(0.5 * query_step) * steps[row])
        held, _ = cut(slots, scores, held, exact)
    for c in range(held):
        address, row, rows = locate(
            np.int64(slots[c]), blocks, strips, first_strip, block_shift, strip_shift
        )
        for line in range(address + 4 * dim * row, address + 4 * dim * (row + 1), CACHE_LINE):
            prefetch(line)
    for c in range(held):
        address, row, rows = locate(
            np.int64(slots[c]), blocks, strips, first_strip, block_shift, strip_shift
        )
        scores[c] = exact_score(query, address, row, rows, code_width)
    sort_best_first(slots, scores, held)
    return held


@kernel
def scan_rows(
    query: F32,
    slot_end: int,
    limit: int,
    live: I64,
    excluded: U32,
    blocks: I64,
    strips: I64,
    first_strip: int,
    block_shift: int,
    strip_shift: int,
    code_width: int,
    slots: U32,
    scores: F32,
) -> tuple[int, bool]:
    """Score every live row exactly; the best ``limit`` stand in front, best first.

    Args as in ``rescore``; ``excluded`` is sorted, ``slots`` and ``scores`` hold at
    least 2 * limit.

    Returns:
        How many slots stand in front: ``limit``, and those that tie with the last; and whether
        there was room for all ties. If not, try again with more room.
    """
    held = 0
    threshold = np.float32(-np.inf)
    skip = 0
    for slot in range(slot_end):
        while skip < excluded.shape[0] and np.int64(excluded[skip]) < slot:
            skip += 1
        if skip < excluded.shape[0] and np.int64(excluded[skip]) == slot:
            continue
        if live[slot >> LIVE_SHIFT] == 0 or not is_live(live, slot):
            continue
        address, row, rows = locate(slot, blocks, strips, first_strip, block_shift, strip_shift)
        score = exact_score(query, address, row, rows, code_width)
        if score >= threshold:
            slots[held] = slot
            scores[held] = score
            held += 1
            if held == slots.shape[0]:
                held, lowest = cut(slots, scores, held, limit)
                threshold = np.float32(lowest)
                if 4 * held > 3 * slots.shape[0]:
                    return 0, False
    held, _ = cut(slots, scores, held, limit)
    sort_best_first(slots, scores, held)
    return held, True
