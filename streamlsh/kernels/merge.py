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


@kernel
def merge_segments(
    sources: I64,
    chunks: I64,
    per_chunk: int,
    live: I64,
    codes: U32,
    starts: U32,
    out: I64,
) -> tuple[int, int]:
    """Write the live entries of several segments, bucket after bucket.

    Within a bucket the entries follow each other as the sources do, so sources in order of age
    leave them in order of their slots.

    Args:
        sources: (s, 4) of (codes held, their address, address of the starts, first chunk).
        chunks: addresses of entry chunks, source after source.
        per_chunk: entries in a chunk, of the sources and of the result.
        live: addresses of the live bitmap's pages.
        codes: as long as all sources' codes together, written: the occupied buckets.
        starts: one longer, written: where each begins, and where the last ends.
        out: addresses of chunks with room for all entries, written.

    Returns:
        Buckets and entries written.
    """
    count = sources.shape[0]
    at = np.zeros(count, np.int64)
    buckets = 0
    entries = 0
    while True:
        bucket = NONE
        for s in range(count):
            if at[s] < sources[s, 0]:
                held = carray(pointer(sources[s, 1]), sources[s, 0], np.uint32)
                bucket = min(bucket, np.int64(held[at[s]]))
        if bucket == NONE:
            break
        first = entries
        for s in range(count):
            if at[s] == sources[s, 0]:
                continue
            held = carray(pointer(sources[s, 1]), sources[s, 0], np.uint32)
            if np.int64(held[at[s]]) != bucket:
                continue
            bounds = carray(pointer(sources[s, 2]), sources[s, 0] + 1, np.uint32)
            for entry in range(np.int64(bounds[at[s]]), np.int64(bounds[at[s] + 1])):
                block, lane = _place(chunks, sources[s, 3], per_chunk, entry)
                slot = carray(pointer(block + SLOTS_AT), 8, np.uint32)[lane]
                if is_live(live, np.int64(slot)):
                    target, place = _place(out, 0, per_chunk, entries)
                    _copy(block, lane, target, place)
                    entries += 1
            at[s] += 1
        if entries > first:
            codes[buckets] = bucket
            starts[buckets] = first
            buckets += 1
    starts[buckets] = entries
    return buckets, entries


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
