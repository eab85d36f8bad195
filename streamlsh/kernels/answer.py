"""From probed buckets to neighbours: everything after hashing, for a batch of queries at once."""

from __future__ import annotations

import numpy as np
from numba import carray
from numpy.typing import NDArray

from streamlsh.kernels.compiling import inlined, kernel, pointer
from streamlsh.kernels.encode import query_bytes
from streamlsh.kernels.rerank import rescore
from streamlsh.kernels.runs import (
    list_runs,
    list_whole_runs,
)
from streamlsh.kernels.scan import (
    PENDING,
    look_through,
    scan_runs,
)
from streamlsh.kernels.select import cut, merge_copies
from streamlsh.kernels.where import (
    BLOCKS_PER_CHUNK,
    BUCKETS,
    CHUNK_COUNT,
    CHUNKS,
    CODE_WIDTH,
    SEGMENT_COUNT,
    SEGMENTS,
)

U32 = NDArray[np.uint32]
I64 = NDArray[np.int64]
F32 = NDArray[np.float32]
U64 = NDArray[np.uint64]

NOTES = 4
"""Numbers that are noted of a query: see ``notes`` of ``answer_queries``."""


@kernel
def answer_queries(
    where: I64,
    live: I64,
    excluded: U32,
    queries: F32,
    planes: U64,
    deltas: F32,
    buckets: U32,
    bases: F32,
    counts: I64,
    copies: int,
    rerank: int,
    entries: int,
    slots: U32,
    scores: F32,
    notes: I64,
) -> int:
    """The nearest items of every query among the entries of its probed buckets.

    Args:
        where: see ``streamlsh.kernels.where``.
        live: addresses of the bitmap's pages of slots that may be returned, 0 for none.
        excluded: sorted slots that may not be returned.
        queries: (n, dim), contiguous, as the metric wants them.
        planes: (n, 4, words) bit planes of the projected queries.
        deltas: (n,) their quantisation steps.
        buckets: (n, p) probed buckets of each query, distinct, most promising first.
        bases: (n, p) <centre, query> of each.
        counts: (n,) how many of them count; -1 for all buckets up to the first of them.
        copies: tables in which an item must appear.
        rerank: items to score by their 4-bit codes.
        entries: entries to keep by their sketches, of which an item may have several.
        slots: (n, exact), written: the items scored exactly, best first.
        scores: (n, exact), written: their scores, higher being nearer.
        notes: (n, 4), written: how many items were scored exactly, entries scored, pairs
            dropped because they tied with one that was kept, and buckets probed.

    Returns:
        The smallest number of items that a query found.
    """
    fewest = slots.shape[1]
    codes = np.empty(2 * where[CODE_WIDTH], np.int8)
    for q in range(queries.shape[0]):
        _answer(
            where, live, excluded, queries[q], planes[q], deltas[q], buckets[q], bases[q],
            counts[q], copies, rerank, entries, codes, slots[q], scores[q], notes[q],
        )  # fmt: skip
        fewest = min(fewest, notes[q, 0])
    return fewest


@inlined
def _answer(
    where: I64,
    live: I64,
    excluded: U32,
    query: F32,
    planes: U64,
    delta: float,
    buckets: U32,
    bases: F32,
    count: int,
    copies: int,
    rerank: int,
    entries: int,
    codes: NDArray[np.int8],
    best: U32,
    best_scores: F32,
    notes: I64,
) -> None:
    segments = carray(pointer(where[SEGMENTS]), (where[SEGMENT_COUNT], 4), np.int64)
    chunks = carray(pointer(where[CHUNKS]), where[CHUNK_COUNT], np.int64)
    room = max(count, 0) * where[SEGMENT_COUNT] + where[CHUNK_COUNT]
    runs = np.empty((room, 3), np.int64)
    run_bases = np.empty(room, np.float32)
    if count < 0:
        held, scored = list_whole_runs(
            np.int64(buckets[0]), bases[0], segments, chunks, where[BLOCKS_PER_CHUNK], runs,
            run_bases,
        )  # fmt: skip
    else:
        held, scored = list_runs(
            buckets, bases, count, where[BUCKETS], segments, chunks, where[BLOCKS_PER_CHUNK],
            runs, run_bases,
        )  # fmt: skip
    # Copies can only be counted before anything is cut.
    limit = scored + 1 if copies > 1 else entries
    slots = np.empty(2 * limit, np.uint32)
    scores = np.empty(2 * limit, np.float32)
    pending = np.empty(8 * PENDING, np.float32)
    pending_blocks = np.empty(PENDING, np.int64)
    state = np.zeros(3, np.int64)
    threshold = np.full(1, -np.inf, np.float32)
    scan_runs(
        runs, run_bases, held, planes, delta, live, excluded, limit, pending,
        pending_blocks, slots, scores, state, threshold, where,
    )  # fmt: skip
    look_through(
        live, excluded, limit, pending, pending_blocks, slots, scores, state, threshold, where
    )
    held, lowest, dropped = cut(slots, scores, state[0], limit, where)
    if held == limit and lowest == threshold[0]:
        dropped += state[1]
    held = merge_copies(slots, scores, held, copies)
    step = query_bytes(query, codes)
    exact = best.shape[0]
    held, more = rescore(where, slots, scores, held, rerank, exact, query, codes, step)
    for i in range(held):
        best[i] = slots[i]
        best_scores[i] = scores[i]
    notes[0] = held
    notes[1] = scored
    notes[2] = dropped + more
    notes[3] = abs(count)
