"""Scores from the stored rows: 4-bit codes first, then the float32 vectors themselves.

A slot block's columns: vectors (rows, dim) f4, codes (rows, code_width) u1, step (rows,) f4,
inverse norms (rows,) f4; see ``streamlsh.storage.rows``.
"""

from __future__ import annotations

import numpy as np
from numba import carray
from numpy.typing import NDArray

from streamlsh.kernels.compiling import CACHE_LINE, inlined, kernel, pointer, prefetch
from streamlsh.kernels.scan import LIVE_SHIFT, is_among, is_live
from streamlsh.kernels.select import cut, sort_best_first
from streamlsh.kernels.sums import LANES, inner_sums, squared_sums, sum_lanes
from streamlsh.kernels.tiles import nibble_sums
from streamlsh.kernels.where import (
    CODE_WIDTH,
    COSINE,
    DIM,
    EUCLIDEAN,
    METRIC,
    SLOT_END,
    locate,
)

U32 = NDArray[np.uint32]
I64 = NDArray[np.int64]
F32 = NDArray[np.float32]

AHEAD = 12
"""Candidates between asking for a row and using it."""


@inlined
def inner_product(query: int, row: int, dim: int, lanes: F32) -> float:
    """Inner product of two vectors at addresses, in sixteen running sums of fixed order.

    The same bits whatever the width of the machine's registers, and still vectorised.
    """
    inner_sums(query, row, dim // LANES, lanes.ctypes.data)
    whole = dim - dim % LANES
    if whole < dim:
        x = carray(pointer(query), dim, np.float32)
        y = carray(pointer(row), dim, np.float32)
        for i in range(whole, dim):
            lanes[i - whole] += x[i] * y[i]
    return sum_lanes(lanes)


@inlined
def squared_distance(query: int, row: int, dim: int, lanes: F32) -> float:
    """Squared Euclidean distance of two vectors at addresses, summed likewise."""
    squared_sums(query, row, dim // LANES, lanes.ctypes.data)
    whole = dim - dim % LANES
    if whole < dim:
        x = carray(pointer(query), dim, np.float32)
        y = carray(pointer(row), dim, np.float32)
        for i in range(whole, dim):
            difference = x[i] - y[i]
            lanes[i - whole] += difference * difference
    return sum_lanes(lanes)


@inlined
def exact_score(where: I64, query: int, slot: int, lanes: F32) -> float:
    """Score of a stored row, higher being nearer.

    Cosine of a unit query, inner product, or the negated squared Euclidean distance.
    """
    address, row, rows = locate(where, slot)
    dim = where[DIM]
    vector = address + 4 * dim * row
    if where[METRIC] == EUCLIDEAN:
        return -squared_distance(query, vector, dim, lanes)
    product = inner_product(query, vector, dim, lanes)
    if where[METRIC] == COSINE:
        at = address + rows * (4 * dim + where[CODE_WIDTH] + 4)
        product *= carray(pointer(at), rows, np.float32)[row]
    return product


@inlined
def nibble_product(codes: int, query: int, width: int) -> int:
    """Integer product of a query's signed bytes and a row's 4-bit codes, both at addresses.

    Byte j of the codes holds coordinate j in its low half and coordinate ``width + j`` above.
    """
    whole = width - width % 64
    total = nibble_sums(codes, query, width, whole // 64)
    if whole < width:
        packed = carray(pointer(codes), width, np.uint8)
        signed = carray(pointer(query), 2 * width, np.int8)
        for j in range(whole, width):
            total += np.int64(signed[j]) * np.int64(packed[j] & 15)
            total += np.int64(signed[width + j]) * np.int64(packed[j] >> 4)
    return total


@inlined
def _fetch_codes(where: I64, slot: int) -> None:
    """Begin to load the codes, the step and the inverse norm of a slot."""
    address, row, rows = locate(where, slot)
    width = where[CODE_WIDTH]
    codes = address + rows * 4 * where[DIM]
    start = codes + row * width
    for line in range(start, start + width, CACHE_LINE):
        prefetch(line)
    steps = codes + rows * width
    prefetch(steps + 4 * row)
    if where[METRIC] != COSINE:
        prefetch(steps + 4 * rows + 4 * row)


@inlined
def rescore(
    where: I64,
    slots: U32,
    scores: F32,
    held: int,
    rerank: int,
    exact: int,
    query: F32,
    query_codes: NDArray[np.int8],
    query_step: float,
) -> tuple[int, int]:
    """Cut to the best ``rerank`` by sketch, to the best ``exact`` by codes, score those exactly.

    Args:
        where: see ``streamlsh.kernels.where``.
        slots: candidates, permuted in place; the result stands in front, best first.
        scores: their sketch scores; the exact ones stand in front afterwards.
        held: number of candidates.
        rerank: how many are scored by their 4-bit codes.
        exact: how many are scored by their vectors.
        query: (dim,) as the metric wants it: a unit vector under cosine.
        query_codes: (2 * code_width,) the query in signed bytes.
        query_step: value of one step of ``query_codes``.

    Returns:
        How many slots were scored exactly; and how many were dropped that tied with one kept.
    """
    held, _, dropped = cut(slots, scores, held, rerank, where)
    dim = where[DIM]
    width = where[CODE_WIDTH]
    if held > exact:
        total = np.int32(0)
        for i in range(2 * width):
            total += np.int32(query_codes[i])
        # Candidates are all over the file: ask for their pages and lines a few ahead.
        for c in range(min(AHEAD, held)):
            _fetch_codes(where, np.int64(slots[c]))
        for c in range(held):
            if c + AHEAD < held:
                _fetch_codes(where, np.int64(slots[c + AHEAD]))
            address, row, rows = locate(where, np.int64(slots[c]))
            codes = address + rows * 4 * dim
            steps = carray(pointer(codes + rows * width), 2 * rows, np.float32)
            product = nibble_product(codes + row * width, query_codes.ctypes.data, width)
            score = np.float32(2 * product - 15 * np.int64(total)) * np.float32(
                np.float32(0.5 * query_step) * steps[row]
            )
            if where[METRIC] != COSINE:
                inverse = steps[rows + row]
                length = np.float32(1.0) / inverse if inverse > 0.0 else np.float32(0.0)
                score *= length
                if where[METRIC] == EUCLIDEAN:
                    score -= np.float32(0.5) * (length * length)
            scores[c] = score
        held, _, more = cut(slots, scores, held, exact, where)
        dropped += more
    for c in range(held):
        address, row, rows = locate(where, np.int64(slots[c]))
        for line in range(address + 4 * dim * row, address + 4 * dim * (row + 1), CACHE_LINE):
            prefetch(line)
        prefetch(address + rows * (4 * dim + width + 4) + 4 * row)
    lanes = np.empty(LANES, np.float32)
    for c in range(held):
        scores[c] = exact_score(where, query.ctypes.data, np.int64(slots[c]), lanes)
    sort_best_first(slots, scores, held)
    return held, dropped


@kernel
def scan_rows(
    where: I64, query: F32, limit: int, live: I64, excluded: U32, slots: U32, scores: F32
) -> int:
    """Score every live row exactly; the best ``limit`` stand in front, best first.

    Args as in ``rescore``; ``excluded`` is sorted, ``slots`` and ``scores`` hold 2 * limit.

    Returns:
        How many slots stand in front.
    """
    held = 0
    threshold = np.float32(-np.inf)
    lanes = np.empty(LANES, np.float32)
    for slot in range(where[SLOT_END]):
        if live[slot >> LIVE_SHIFT] == 0 or not is_live(live, slot):
            continue
        if is_among(excluded, slot):
            continue
        score = exact_score(where, query.ctypes.data, slot, lanes)
        if score >= threshold:
            slots[held] = slot
            scores[held] = score
            held += 1
            if held == slots.shape[0]:
                held, threshold, _ = cut(slots, scores, held, limit, where)
    held, _, _ = cut(slots, scores, held, limit, where)
    sort_best_first(slots, scores, held)
    return held
