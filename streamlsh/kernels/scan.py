"""Scanning probed buckets: from addresses of entry blocks to scored candidate slots.

An *entry block* holds eight entries: 4 x 8 sketch words (word k of all eight side by side),
eight halves f, eight halves a, eight uint32 slots; see ``streamlsh.buckets.layout``.

The scan walks the runs of ``streamlsh.kernels.runs`` and asks for the memory of the next ones
while it scores.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray
from numpy.typing import NDArray

from streamlsh.kernels.compiling import (
    CACHE_LINE,
    at_least,
    inlined,
    kernel,
    lowest_bit,
    pointer,
    prefetch,
    score_eight,
)
from streamlsh.kernels.runs import BLOCK_BYTES, first_from
from streamlsh.kernels.select import cut, keep_best

U32 = NDArray[np.uint32]
I64 = NDArray[np.int64]
F32 = NDArray[np.float32]
U64 = NDArray[np.uint64]

LIVE_SHIFT = 14
"""log2 of the slots that one page of the live bitmap covers."""
SLOTS_AT = 288
"""Where its slots begin."""
PENDING = 1024
"""Blocks that are scored before their scores are looked through."""
STRIDE = 8
"""One of so many scores is sampled for a first guess of what is far from the best."""
RUNS_AHEAD = 3
BLOCKS_AHEAD = 6
"""Runs, and blocks of a run, between asking for memory and using it."""


@inlined
def is_live(live: I64, slot: int) -> bool:
    """Whether a slot's bit is on; a page that was never written has no address and no bits.

    Nor has one that is past all slots, as the slot of a damaged entry may be.
    """
    page_number = slot >> LIVE_SHIFT
    if page_number >= live.shape[0]:
        return False
    address = live[page_number]
    if address == 0:
        return False
    bit = slot & ((1 << LIVE_SHIFT) - 1)
    page = carray(pointer(address), (1 << LIVE_SHIFT) // 64, np.uint64)
    return (page[bit >> 6] >> np.uint64(bit & 63)) & np.uint64(1) != 0


@inlined
def is_among(sorted_slots: U32, slot: int) -> bool:
    """Whether a slot is in a sorted list, usually an empty one."""
    place = first_from(sorted_slots, slot)
    return place < sorted_slots.shape[0] and np.int64(sorted_slots[place]) == slot


@inlined
def fetch_blocks(address: int, count: int) -> None:
    """Begin to load the first blocks of a run."""
    for line in range(address, address + count * BLOCK_BYTES, CACHE_LINE):
        prefetch(line)


@inlined
def scan_runs(
    runs: I64,
    run_bases: F32,
    count: int,
    planes: U64,
    delta: float,
    live: I64,
    excluded: U32,
    limit: int,
    pending: F32,
    pending_blocks: I64,
    slots: U32,
    scores: F32,
    state: I64,
    threshold: F32,
    where: I64,
) -> None:
    """Score every entry of the runs; keep at least the best ``limit`` of the live ones.

    Scores are first written out, a few thousand at a time, and looked through afterwards: a
    branch an entry costs more than the entry. (Numbers in arrays of one, because a tuple of
    arrays, or many values to return, cost three times the scan itself in reference counts.)

    Args:
        runs: (r, 3) of (address of the first block, first lane, end lane).
        run_bases: (r,) <centre, query> of each run's bucket.
        count: how many there are.
        planes: (4, 4) bit planes of the query by word.
        delta: the query's quantisation step.
        live: addresses of the live bitmap's pages, 0 where there is none.
        excluded: sorted slots that may not be returned.
        limit: how many entries to keep.
        pending: (8 * PENDING,) scores not yet looked through.
        pending_blocks: (PENDING,) the addresses of their blocks.
        slots: at least (2 * limit,), written.
        scores: as many, written.
        state: (3,) updated: pairs held, pairs dropped that tied with the last kept, and blocks
            pending.
        threshold: (1,) updated: scores below it are not among the best.
        where: see ``streamlsh.kernels.where``.
    """
    words = _plane_tuple(planes)
    at = pending.ctypes.data
    step = np.float32(delta)
    waiting = state[2]
    for r in range(min(RUNS_AHEAD, count)):
        fetch_blocks(runs[r, 0], min((runs[r, 2] + 7) >> 3, BLOCKS_AHEAD))
    for r in range(count):
        if r + RUNS_AHEAD < count:
            ahead = r + RUNS_AHEAD
            fetch_blocks(runs[ahead, 0], min((runs[ahead, 2] + 7) >> 3, BLOCKS_AHEAD))
        block = runs[r, 0]
        end = runs[r, 2]
        base = run_bases[r]
        lanes = (255 << runs[r, 1]) & 255
        last = block + ((end + 7) >> 3) * BLOCK_BYTES
        while end > 0:
            soon = block + BLOCKS_AHEAD * BLOCK_BYTES
            if soon < last:
                fetch_blocks(soon, 1)
            if end < 8:
                lanes &= (1 << end) - 1
            score_eight(block, words, step, base, lanes, at + 32 * waiting)
            pending_blocks[waiting] = block
            waiting += 1
            if waiting == PENDING:
                state[2] = waiting
                look_through(
                    live, excluded, limit, pending, pending_blocks, slots, scores, state,
                    threshold, where,
                )  # fmt: skip
                waiting = 0
            lanes = 255
            block += BLOCK_BYTES
            end -= 8
    state[2] = waiting


@kernel
def look_through(
    live: I64,
    excluded: U32,
    limit: int,
    pending: F32,
    pending_blocks: I64,
    slots: U32,
    scores: F32,
    state: I64,
    threshold: F32,
    where: I64,
) -> None:
    """Keep those pending entries that may be among the best, if they may be returned.

    The live and exclusion tests come before any cut. The arguments are as in ``scan_runs``.
    """
    count = 8 * state[2]
    state[2] = 0
    low = threshold[0]
    if state[0] == 0 and count > 4 * limit:
        # Most are far from the best: begin with as many as a sample promises, and some more.
        sample = np.empty(count // STRIDE, np.float32)
        for i in range(sample.shape[0]):
            sample[i] = pending[i * STRIDE]
        enough = min(sample.shape[0], limit // STRIDE + limit // (2 * STRIDE) + 2)
        low = keep_best(np.empty(sample.shape[0], np.uint32), sample, sample.shape[0], enough)
    high = np.float32(np.inf)
    while True:
        _keep(
            low, high, count, live, excluded, limit, pending, pending_blocks, slots, scores,
            state, threshold, where,
        )  # fmt: skip
        if state[0] >= limit or low <= threshold[0]:
            break
        high = low
        low = threshold[0]


@inlined
def _keep(
    low: float,
    high: float,
    count: int,
    live: I64,
    excluded: U32,
    limit: int,
    pending: F32,
    pending_blocks: I64,
    slots: U32,
    scores: F32,
    state: I64,
    threshold: F32,
    where: I64,
) -> None:
    """Keep the pending entries with scores of at least ``low`` and below ``high``."""
    for first in range(0, count, 16):
        bits = at_least(pending.ctypes.data + 4 * first, max(low, threshold[0]))
        if first + 16 > count:
            bits &= (1 << (count - first)) - 1
        while bits:
            place = first + lowest_bit(bits)
            bits &= bits - 1
            score = pending[place]
            if score >= high or score == -np.inf or score < threshold[0]:
                continue
            numbers = carray(pointer(pending_blocks[place >> 3] + SLOTS_AT), 8, np.uint32)
            slot = np.int64(numbers[place & 7])
            if is_live(live, slot) and not is_among(excluded, slot):
                held = state[0]
                slots[held] = slot
                scores[held] = score
                held += 1
                if held == slots.shape[0]:
                    held, lowest, dropped = cut(slots, scores, held, limit, where)
                    state[1] = dropped + (state[1] if lowest == threshold[0] else 0)
                    threshold[0] = lowest
                state[0] = held


@inlined
def _plane_tuple(planes: U64) -> tuple[Any, ...]:
    """The sixteen plane words, word after word, as ``score_eight`` wants them."""
    return (
        planes[0, 0], planes[1, 0], planes[2, 0], planes[3, 0],
        planes[0, 1], planes[1, 1], planes[2, 1], planes[3, 1],
        planes[0, 2], planes[1, 2], planes[2, 2], planes[3, 2],
        planes[0, 3], planes[1, 3], planes[2, 3], planes[3, 3],
    )  # fmt: skip
