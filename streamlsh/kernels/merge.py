"""Merging segments: several sorted bucket tables into one, without their dead entries."""

from __future__ import annotations

import numpy as np
from numba import carray
from numpy.typing import NDArray

from streamlsh.kernels.compiling import inlined, kernel, pointer
from streamlsh.kernels.runs import BLOCK_BYTES
from streamlsh.kernels.scan import SLOTS_AT, is_live

U32 = NDArray[np.uint32]
I64 = NDArray[np.int64]

F_AT = 256
NONE = 2**32

SOURCE, ENTRY, LAST, ENTRIES = range(4)


def start_place() -> I64:
    """The ``place`` of a merge that has not begun; see ``merge_segments``."""
    return np.array([0, 0, -1, 0], np.int64)


@kernel
def merge_segments(
    sources: I64,
    chunks: I64,
    per_chunk: int,
    live: I64,
    at: I64,
    place: I64,
    room: int,
    most: int,
    codes: U32,
    starts: U32,
    out: I64,
) -> tuple[int, int, int]:
    """Write live entries of several segments, bucket after bucket; go on where a call stopped.

    Within a bucket the entries follow each other as the sources do. A call stops when its room is
    full or when it has read enough, also within a bucket; the next one begins with what this
    one left in ``at`` and ``place``, and together they write what a single one would have.

    Args:
        sources: (s, 4) of (codes held, their address, address of the starts, first chunk).
        chunks: addresses of entry chunks, source after source.
        per_chunk: entries in a chunk, of the sources and of the result.
        live: addresses of the live bitmap's pages.
        at: (s,) each source's current bucket, as an index; changed. All have come to their ends
            when nothing is left.
        place: (4,) the source in the current bucket, how many of its entries there
            are done, the last code written or -1, and the entries written by all calls; changed.
        room: how many entries this call may write.
        most: how many it may read, dead ones included.
        codes: as long as the sources' codes together, or as ``room``: written, the occupied
            buckets; one that an earlier call began is not among them.
        starts: as long, written: where each begins, counted from the first call's first entry.
        out: addresses of chunks, written; the first is the one that the first entry falls into.

    Returns:
        Buckets and entries written, and entries read.
    """
    count = sources.shape[0]
    written = place[ENTRIES]
    first_chunk = written // per_chunk
    end = written + room
    buckets = 0
    read = 0
    while True:
        bucket = NONE
        for s in range(count):
            if at[s] < sources[s, 0]:
                held = carray(pointer(sources[s, 1]), sources[s, 0], np.uint32)
                bucket = min(bucket, np.int64(held[at[s]]))
        if bucket == NONE:
            break
        # Sources that are done with this bucket stand at later ones.
        for s in range(place[SOURCE], count):
            if at[s] == sources[s, 0]:
                continue
            held = carray(pointer(sources[s, 1]), sources[s, 0], np.uint32)
            if np.int64(held[at[s]]) != bucket:
                continue
            bounds = carray(pointer(sources[s, 2]), sources[s, 0] + 1, np.uint32)
            first = np.int64(bounds[at[s]])
            for entry in range(first + place[ENTRY], np.int64(bounds[at[s] + 1])):
                if written == end or read == most:
                    place[SOURCE], place[ENTRY] = s, entry - first
                    place[ENTRIES] = written
                    return buckets, written + room - end, read
                read += 1
                block, lane = _place(chunks, sources[s, 3], per_chunk, entry)
                slot = carray(pointer(block + SLOTS_AT), 8, np.uint32)[lane]
                if is_live(live, np.int64(slot)):
                    if place[LAST] != bucket:
                        codes[buckets] = bucket
                        starts[buckets] = written
                        buckets += 1
                        place[LAST] = bucket
                    target, target_lane = _place(out, -first_chunk, per_chunk, written)
                    _copy(block, lane, target, target_lane)
                    written += 1
            at[s] += 1
            place[ENTRY] = 0
        place[SOURCE] = 0
    place[ENTRIES] = written
    return buckets, written + room - end, read


@kernel
def gather_entries(places: I64, out: int) -> None:
    """Copy entries, in an order, into blocks that follow each other.

    Args:
        places: of each entry the address of its block, a multiple of 8, plus its lane.
        out: address of the blocks, written.
    """
    for entry in range(places.shape[0]):
        lane = places[entry] & 7
        _copy(places[entry] - lane, lane, out + (entry >> 3) * BLOCK_BYTES, entry & 7)


@inlined
def _place(chunks: I64, first_chunk: int, per_chunk: int, entry: int) -> tuple[int, int]:
    """Address of an entry's block, and its lane there."""
    chunk = entry // per_chunk
    inside = entry - chunk * per_chunk
    return chunks[first_chunk + chunk] + (inside >> 3) * BLOCK_BYTES, inside & 7


@inlined
def _copy(source: int, lane: int, target: int, place: int) -> None:
    """Copy one entry from a block to another."""
    old = carray(pointer(source), 32, np.uint64)
    new = carray(pointer(target), 32, np.uint64)
    for k in range(4):
        new[8 * k + place] = old[8 * k + lane]
    # f, a and the slots: two runs of sixteen-bit numbers, one of thirty-two.
    small = carray(pointer(source + F_AT), 16, np.uint16)
    written = carray(pointer(target + F_AT), 16, np.uint16)
    written[place] = small[lane]
    written[8 + place] = small[8 + lane]
    slots = carray(pointer(source + SLOTS_AT), 8, np.uint32)
    carray(pointer(target + SLOTS_AT), 8, np.uint32)[place] = slots[lane]
