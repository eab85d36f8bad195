"""Runs: where in the segments the entries of probed buckets stand.

The tail is one of them: a reader lays it out in its own memory; see ``layout.sort_groups``.

A *run* is what one bucket has in one segment: entries that follow each other, as rows of an
array (address of the first block, first lane, end lane counted from there).
"""

from __future__ import annotations

import numpy as np
from numba import carray
from numpy.typing import NDArray

from streamlsh.kernels.compiling import inlined, pointer, prefetch

U32 = NDArray[np.uint32]
I64 = NDArray[np.int64]
F32 = NDArray[np.float32]

BLOCK_BYTES = 320
"""Bytes of an entry block."""


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


@inlined
def list_runs(
    buckets: U32,
    bases: F32,
    count: int,
    total_buckets: int,
    segments: I64,
    chunks: I64,
    blocks_per_chunk: int,
    runs: I64,
    run_bases: F32,
) -> tuple[int, int]:
    """The runs of the first ``count`` buckets, bucket after bucket.

    Buckets of one base that follow each other in a segment become one run: a scan of a whole
    table meets few borders. A run ends with its chunk.

    Args:
        buckets: probed buckets, distinct.
        bases: <centre, query> of each.
        count: how many there are.
        total_buckets: number of buckets of the family.
        segments: (s, 4) of (codes held, their address, address of the starts, first chunk).
        chunks: addresses of entry chunks, segment after segment.
        blocks_per_chunk: entry blocks in a chunk.
        runs: (r, 3), written; r is at least buckets times segments, and all chunks.
        run_bases: (r,), written.

    Returns:
        How many runs there are and the entries in them, dead ones included.
    """
    held = 0
    entries = 0
    per_chunk = np.int64(blocks_per_chunk << 3)
    last_end = np.empty(segments.shape[0], np.int64)
    last_run = np.empty(segments.shape[0], np.int64)
    for s in range(segments.shape[0]):
        last_end[s] = -1
        last_run[s] = 0
    # The directories are no smaller than a cache, and the buckets are all over them.
    for p in range(count):
        for s in range(segments.shape[0]):
            place = min(np.int64(buckets[p]), segments[s, 0] - 1)
            prefetch(segments[s, 1] + 4 * place)
            prefetch(segments[s, 2] + 4 * place)
    for p in range(count):
        for s in range(segments.shape[0]):
            codes = carray(pointer(segments[s, 1]), segments[s, 0], np.uint32)
            place = find_bucket(codes, np.int64(buckets[p]), total_buckets)
            if place < 0:
                continue
            starts = carray(pointer(segments[s, 2]), segments[s, 0] + 1, np.uint32)
            first = np.int64(starts[place])
            end = np.int64(starts[place + 1])
            entries += end - first
            before = last_run[s]
            follows = first == last_end[s] and first % per_chunk != 0
            if follows and run_bases[before] == bases[p]:
                step = min(end, (first // per_chunk + 1) * per_chunk) - first
                runs[before, 2] += step
                first += step
            while first < end:
                chunk = first // per_chunk
                inside = first - chunk * per_chunk
                stop = min(end - chunk * per_chunk, per_chunk)
                address = chunks[segments[s, 3] + chunk] + (inside >> 3) * BLOCK_BYTES
                runs[held, 0] = address
                runs[held, 1] = inside & 7
                runs[held, 2] = stop - (inside - (inside & 7))
                run_bases[held] = bases[p]
                last_run[s] = held
                held += 1
                first = chunk * per_chunk + stop
            last_end[s] = end
    return held, entries


@inlined
def list_whole_runs(
    last: int,
    base: float,
    segments: I64,
    chunks: I64,
    blocks_per_chunk: int,
    runs: I64,
    run_bases: F32,
) -> tuple[int, int]:
    """The runs of all buckets up to ``last``, which share one base: a run a chunk.

    Args:
        last: number of the last bucket.
        base: <centre, query> of all of them.
        segments: as in ``list_runs``, like the next two.
        chunks: see there.
        blocks_per_chunk: see there.
        runs: (chunks, 3), written as in ``list_runs``.
        run_bases: (chunks,), written.

    Returns:
        How many runs there are, and the entries in them, dead ones included.
    """
    held = 0
    entries = 0
    per_chunk = np.int64(blocks_per_chunk << 3)
    for s in range(segments.shape[0]):
        codes = carray(pointer(segments[s, 1]), segments[s, 0], np.uint32)
        starts = carray(pointer(segments[s, 2]), segments[s, 0] + 1, np.uint32)
        low = first_from(codes, last + 1)
        end = np.int64(starts[low])
        entries += end
        for first in range(0, end, per_chunk):
            runs[held, 0] = chunks[segments[s, 3] + first // per_chunk]
            runs[held, 1] = 0
            runs[held, 2] = min(end - first, per_chunk)
            run_bases[held] = base
            held += 1
    return held, entries


@inlined
def first_from(numbers: U32, wanted: int) -> int:
    """The first place of sorted numbers at which one is no less than another number."""
    low = 0
    high = numbers.shape[0]
    while low < high:
        middle = (low + high) >> 1
        if np.int64(numbers[middle]) < wanted:
            low = middle + 1
        else:
            high = middle
    return low
