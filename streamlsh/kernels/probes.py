"""The order in which sign-hash buckets are probed: one heap over all tables.

Flipping bit j of a table's key costs the squared margin of the query at that hyperplane; a
bucket's score is the sum over its flipped bits. Bucket sets are generated in order of score by
the shift and expand moves of Lv et al. (VLDB 2007), from one heap that all tables share.
"""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamlsh.kernels.compiling import inlined, kernel
from streamlsh.kernels.encode import project_frozen, query_planes
from streamlsh.kernels.frozen import OWN, WIDTH

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]


@inlined
def sign_probes(
    projected: F32, tables: int, width: int, reach: float, buckets: NDArray[np.uint32]
) -> int:
    """The most promising buckets of a query over all tables, best first.

    Args:
        projected: the query's projections; those of table t are ``t * width`` onwards.
        tables: number of tables.
        width: bits of a table's key.
        reach: largest score of a bucket; a query's own buckets score 0.
        buckets: as many as wanted, written: ``t << width | key``.

    Returns:
        How many were written: at most ``tables << width``.
    """
    count = buckets.shape[0]
    home = np.zeros(tables, np.int64)
    order = np.empty((tables, width), np.int64)
    margins = np.empty((tables, width), np.float32)
    written = 0
    for t in range(tables):
        row = np.empty(width, np.float32)
        for j in range(width):
            value = projected[t * width + j]
            row[j] = value * value
            if value >= 0.0:
                home[t] |= 1 << j
        order[t] = np.argsort(row, kind="mergesort")
        for j in range(width):
            margins[t, j] = row[order[t, j]]
    heap: list[Any] = [(np.float32(0.0), np.int64(0), np.int64(0)) for _ in range(0)]
    for t in range(tables):
        if written == count:
            return written
        buckets[written] = np.uint32((t << width) | home[t])
        written += 1
        heapq.heappush(heap, (margins[t, 0], np.int64(t), np.int64(1)))
    while written < count and len(heap) > 0:
        score, t, flips = heapq.heappop(heap)
        if score > reach:
            break
        key = home[t]
        last = 0
        for rank in range(width):
            if (flips >> rank) & 1:
                key ^= 1 << order[t, rank]
                last = rank
        buckets[written] = np.uint32((t << width) | key)
        written += 1
        if last + 1 < width:
            more = score + margins[t, last + 1]
            heapq.heappush(heap, (more, t, flips | (1 << (last + 1))))
            shifted = more - margins[t, last]
            heapq.heappush(heap, (shifted, t, (flips ^ (1 << last)) | (1 << (last + 1))))
    return written


TABLES, BITS = range(OWN, OWN + 2)
"""Places of what ``probe_signs`` wants of a family's frozen parts, after its directions: how many
tables there are, and bits of a table's key."""


@kernel
def probe_signs(
    frozen: I64,
    queries: F32,
    reach: float,
    planes: NDArray[np.uint64],
    deltas: F32,
    buckets: NDArray[np.uint32],
    bases: F32,
    counts: I64,
) -> None:
    """From queries to sketches and to the most promising buckets of sign hashing.

    The arguments are as in ``probe_cells``; reach is as in ``sign_probes``.
    Bases are zero, and there is no overflow.
    """
    width = frozen[WIDTH]
    projected = np.empty((1, width), np.float32)
    bases[:] = 0.0
    for row in range(queries.shape[0]):
        project_frozen(frozen, queries[row : row + 1], projected)
        deltas[row] = query_planes(projected[0], width, 1.0, planes[row])
        counts[row] = sign_probes(projected[0], frozen[TABLES], frozen[BITS], reach, buckets[row])
