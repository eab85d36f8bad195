"""Scanning probed buckets: from addresses of entry blocks to scored candidate slots.

An *entry block* holds eight entries: ``words`` x 8 sketch words (word k of all eight side by
side), eight halves f, eight halves a, eight uint32 slots; see ``streamlsh.buckets.layout``.
"""

from __future__ import annotations

import numpy as np
from numba import carray
from numpy.typing import NDArray

from streamlsh.kernels.compiling import add_mismatches, half, inlined, kernel, pointer
from streamlsh.kernels.select import cut

U32 = NDArray[np.uint32]
I64 = NDArray[np.int64]
F32 = NDArray[np.float32]
U64 = NDArray[np.uint64]

LIVE_SHIFT = 14
"""log2 of the slots that one page of the live bitmap covers."""


@inlined
def is_live(live: I64, slot: int) -> bool:
    """Whether a slot's bit is on; a page that was never written has no address and no bits."""
    address = live[slot >> LIVE_SHIFT]
    if address == 0:
        return False
    bit = slot & ((1 << LIVE_SHIFT) - 1)
    page = carray(pointer(address), (1 << LIVE_SHIFT) // 64, np.uint64)
    return (page[bit >> 6] >> np.uint64(bit & 63)) & np.uint64(1) != 0


@inlined
def find_bucket(codes: U32, bucket: int, buckets: int) -> int:
    """Place of a bucket among a segment's sorted, distinct codes, or -1.

    Codes are distinct numbers below ``buckets``, so bucket b stands at b at the latest and at
    b - (number of codes that are missing) at the earliest: in a well filled segment the search
    is over before it starts.
    """
    count = codes.shape[0]
    low = max(0, bucket - (buckets - count))
    high = min(bucket, count - 1)
    while low <= high:
        middle = (low + high) >> 1
        code = codes[middle]
        if code == bucket:
            return middle
        if code < bucket:
            low = middle + 1
        else:
            high = middle - 1
    return -1


@kernel
def count_entries(buckets: U32, total_buckets: int, segments: I64) -> int:
    """How many entries the segments hold in these buckets, dead ones included."""
    found = 0
    for s in range(segments.shape[0]):
        codes = carray(pointer(segments[s, 1]), segments[s, 0], np.uint32)
        starts = carray(pointer(segments[s, 2]), segments[s, 0] + 1, np.uint32)
        for p in range(buckets.shape[0]):
            place = find_bucket(codes, np.int64(buckets[p]), total_buckets)
            if place >= 0:
                found += np.int64(starts[place + 1]) - np.int64(starts[place])
    return found


@kernel
def scan_buckets(
    buckets: U32,
    bases: F32,
    total_buckets: int,
    segments: I64,
    chunks: I64,
    blocks_per_chunk: int,
    tail: I64,
    tail_entries: int,
    entries_per_group: int,
    planes: U64,
    delta: float,
    live: I64,
    excluded: U32,
    limit: int,
    slots: U32,
    scores: F32,
) -> tuple[int, int, bool]:
    """Score every live entry of the probed buckets; keep the best ``limit``.

    An entry's score is ``base + a + f * <signs, query>``. The live and exclusion tests come
    before the cut, and only on entries that pass the running threshold.

    Args:
        buckets: (p,) distinct probed buckets, most promising first.
        bases: (p,) <centre, query> of each.
        total_buckets: number of buckets of the family.
        segments: (s, 4) of (codes held, their address, address of the starts, first chunk).
        chunks: addresses of entry chunks, segment after segment.
        blocks_per_chunk: entry blocks in a chunk.
        tail: addresses of the tail's groups.
        tail_entries: entries in the tail.
        entries_per_group: entries a tail group holds, followed there by their uint32 buckets.
        planes: (4, words) bit planes of the query.
        delta: the query's quantisation step.
        live: addresses of the live bitmap's pages, 0 where there is none.
        excluded: sorted slots that may not be returned.
        limit: how many entries to keep.
        slots: at least (2 * limit,), written.
        scores: as many, written.

    Returns:
        Pairs held: ``limit``, and those that tie with the last; entries scored, dead ones
        included; and whether there was room for all ties. If not, try again with more room.
    """
    progress = np.zeros(3, np.int64)
    threshold = np.full(1, -np.inf, np.float32)
    mismatch = np.empty(8, np.uint64)
    for p in range(buckets.shape[0]):
        for s in range(segments.shape[0]):
            codes = carray(pointer(segments[s, 1]), segments[s, 0], np.uint32)
            place = find_bucket(codes, np.int64(buckets[p]), total_buckets)
            if place >= 0:
                starts = carray(pointer(segments[s, 2]), segments[s, 0] + 1, np.uint32)
                _scan_run(
                    chunks, segments[s, 3], blocks_per_chunk, np.int64(starts[place]),
                    np.int64(starts[place + 1]), bases[p], planes, delta, live, excluded,
                    limit, slots, scores, progress, threshold, mismatch,
                )  # fmt: skip
    if tail_entries:
        rank = np.zeros(total_buckets, np.int32)
        for p in range(buckets.shape[0]):
            rank[buckets[p]] = p + 1
        _scan_tail(
            tail, tail_entries, entries_per_group, rank, bases, planes, delta, live, excluded,
            limit, slots, scores, progress, threshold, mismatch,
        )  # fmt: skip
    held, _ = cut(slots, scores, progress[0], limit)
    return held, progress[1], progress[2] == 0


@kernel
def scan_table(
    bases: F32,
    total_buckets: int,
    segments: I64,
    chunks: I64,
    blocks_per_chunk: int,
    tail: I64,
    tail_entries: int,
    entries_per_group: int,
    planes: U64,
    delta: float,
    live: I64,
    excluded: U32,
    limit: int,
    slots: U32,
    scores: F32,
) -> tuple[int, int, bool]:
    """Score every live entry of the first table, bucket after bucket as they are stored.

    Args:
        bases: (buckets of the first table,) <centre, query> of each, in order.
        total_buckets: as in ``scan_buckets``, like the arguments after it.
        segments: see there.
        chunks: see there.
        blocks_per_chunk: see there.
        tail: see there.
        tail_entries: see there.
        entries_per_group: see there.
        planes: see there.
        delta: see there.
        live: see there.
        excluded: see there.
        limit: see there.
        slots: see there.
        scores: see there.

    Returns:
        Pairs held: ``limit``, and those that tie with the last; entries scored, dead ones
        included; and whether there was room for all ties. If not, try again with more room.
    """
    progress = np.zeros(3, np.int64)
    threshold = np.full(1, -np.inf, np.float32)
    mismatch = np.empty(8, np.uint64)
    count = bases.shape[0]
    for s in range(segments.shape[0]):
        codes = carray(pointer(segments[s, 1]), segments[s, 0], np.uint32)
        starts = carray(pointer(segments[s, 2]), segments[s, 0] + 1, np.uint32)
        place = 0
        while place < codes.shape[0] and codes[place] < count:
            first = np.int64(starts[place])
            base = bases[codes[place]]
            place += 1
            # Neighbouring buckets with one centre are one run of entries.
            while place < codes.shape[0] and codes[place] < count and bases[codes[place]] == base:
                place += 1
            end = np.int64(starts[place])
            _scan_run(
                chunks, segments[s, 3], blocks_per_chunk, first, end, base, planes, delta, live,
                excluded, limit, slots, scores, progress, threshold, mismatch,
            )  # fmt: skip
    if tail_entries:
        rank = np.zeros(total_buckets, np.int32)
        for bucket in range(count):
            rank[bucket] = bucket + 1
        _scan_tail(
            tail, tail_entries, entries_per_group, rank, bases, planes, delta, live, excluded,
            limit, slots, scores, progress, threshold, mismatch,
        )  # fmt: skip
    held, _ = cut(slots, scores, progress[0], limit)
    return held, progress[1], progress[2] == 0


@inlined
def _scan_run(
    chunks: I64,
    first_chunk: int,
    blocks_per_chunk: int,
    first: int,
    end: int,
    base: float,
    planes: U64,
    delta: float,
    live: I64,
    excluded: U32,
    limit: int,
    slots: U32,
    scores: F32,
    progress: I64,
    threshold: F32,
    mismatch: U64,
) -> None:
    """Score entries ``first..end`` of a segment."""
    progress[1] += end - first
    block = first >> 3
    while block << 3 < end:
        address = chunks[first_chunk + block // blocks_per_chunk]
        inside = block % blocks_per_chunk
        stop = min(blocks_per_chunk, inside + ((end + 7) >> 3) - block)
        while inside < stop:
            low = max(first - (block << 3), 0)
            high = min(end - (block << 3), 8)
            _scan_block(
                address, inside, low, high, base, planes, delta, live, excluded, limit, slots,
                scores, progress, threshold, mismatch,
            )  # fmt: skip
            inside += 1
            block += 1


@inlined
def _scan_tail(
    tail: I64,
    tail_entries: int,
    entries_per_group: int,
    rank: NDArray[np.int32],
    bases: F32,
    planes: U64,
    delta: float,
    live: I64,
    excluded: U32,
    limit: int,
    slots: U32,
    scores: F32,
    progress: I64,
    threshold: F32,
    mismatch: U64,
) -> None:
    """Score the tail's entries in buckets of a rank above 0; ``bases`` is by rank - 1."""
    code_offset = entries_per_group * (8 * planes.shape[1] + 8)
    for group in range((tail_entries + entries_per_group - 1) // entries_per_group):
        address = tail[group]
        codes = carray(pointer(address + code_offset), entries_per_group, np.uint32)
        for entry in range(min(entries_per_group, tail_entries - group * entries_per_group)):
            probe = rank[codes[entry]]
            if probe:
                progress[1] += 1
                lane = entry & 7
                _scan_block(
                    address, entry >> 3, lane, lane + 1, bases[probe - 1], planes, delta, live,
                    excluded, limit, slots, scores, progress, threshold, mismatch,
                )  # fmt: skip


@inlined
def _scan_block(
    address: int,
    block: int,
    low: int,
    high: int,
    base: float,
    planes: U64,
    delta: float,
    live: I64,
    excluded: U32,
    limit: int,
    slots: U32,
    scores: F32,
    progress: I64,
    threshold: F32,
    mismatch: U64,
) -> None:
    """Score lanes ``low..high`` of one entry block and keep those above the threshold.

    ``progress`` is (pairs held, entries scored, ties lost), ``threshold`` is (1,), ``mismatch``
    (8,) scratch. (Numbers in arrays of one, because a tuple of arrays, or many values to return,
    cost three times the scan itself in reference counts.)
    """
    words = planes.shape[1]
    start = address + 8 * block * (8 * words + 8)
    for lane in range(8):
        mismatch[lane] = np.uint64(0)
    for k in range(words):
        add_mismatches(
            mismatch.ctypes.data, start + 64 * k, planes[0, k], planes[1, k], planes[2, k],
            planes[3, k],
        )  # fmt: skip
    at = start + 64 * words
    f = carray(pointer(at), 8, np.uint16)
    a = carray(pointer(at + 16), 8, np.uint16)
    numbers = carray(pointer(at + 32), 8, np.uint32)
    full = np.float32(15 * 64 * words)
    for lane in range(low, high):
        along = np.float32(delta) * (full - np.float32(2 * np.int64(mismatch[lane])))
        score = np.float32(base) + (half(a[lane]) + half(f[lane]) * along)
        if score >= threshold[0]:
            slot = np.int64(numbers[lane])
            if is_live(live, slot) and not _among(excluded, slot):
                held = progress[0]
                slots[held] = numbers[lane]
                scores[held] = score
                held += 1
                if held == slots.shape[0]:
                    held, threshold[0] = cut(slots, scores, held, limit)
                    if 4 * held > 3 * slots.shape[0]:
                        progress[2] = 1  # ties fill the room; the result will not be used
                        held = limit
                progress[0] = held


@inlined
def _among(sorted_slots: U32, slot: int) -> bool:
    """Whether a slot is in a sorted list, usually an empty one."""
    low = 0
    high = sorted_slots.shape[0]
    while low < high:
        middle = (low + high) >> 1
        if np.int64(sorted_slots[middle]) < slot:
            low = middle + 1
        else:
            high = middle
    return low < sorted_slots.shape[0] and np.int64(sorted_slots[low]) == slot
