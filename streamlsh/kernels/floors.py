"""p-stable hashing: integer hashes, the bucket numbers they are mixed to, and their probe order."""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np
from numba import carray
from numpy.typing import NDArray

from streamlsh.kernels.compiling import inlined, kernel, pointer
from streamlsh.kernels.encode import query_planes
from streamlsh.kernels.hadamard import rotate, sketch_point
from streamlsh.kernels.lifting import draw_in

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
U32 = NDArray[np.uint32]
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]

MOST = 2.0**52
"""Hashes are cut to this magnitude: beyond it float64 numbers have no fractions."""
SEED = np.uint64(0x9E3779B97F4A7C15)


@inlined
def project_point(point: F32, columns: F64, offsets: F64, width: float, out: F64) -> None:
    """``(a . v + b) / w`` for every hash, in float64 and one fixed order of additions.

    Args:
        point: (dim,).
        columns: (dim, hashes) the vectors a, as columns.
        offsets: (hashes,) the numbers b.
        width: w.
        out: (hashes,), written.
    """
    for j in range(out.shape[0]):
        out[j] = 0.0
    for i in range(point.shape[0]):
        value = np.float64(point[i])
        for j in range(out.shape[0]):
            out[j] += value * columns[i, j]
    for j in range(out.shape[0]):
        out[j] = min(max((out[j] + offsets[j]) / width, -MOST), MOST)


@inlined
def bucket_number(hashes: I64, table: int, bits: int) -> int:
    """The bucket of a table's hashes, from ``table << bits`` on.

    A single hash is its own number, modulo ``2 ** bits``: no two share a bucket within a range
    of so many. Several are mixed to so many bits, one after the other, by the finish of
    splitmix64 (Vigna), from a start of the table's own. Two keys that meet by chance in one
    bucket only add candidates.
    """
    mask = (np.int64(1) << bits) - 1
    if hashes.shape[0] == 1:
        return (table << bits) | ((hashes[0] + (np.int64(1) << (bits - 1))) & mask)
    key = np.uint64(table + 1) * SEED
    for value in hashes:
        key = (key ^ np.uint64(value)) * SEED
        key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        key ^= key >> np.uint64(31)
    return (table << bits) | np.int64(key >> np.uint64(64 - bits))


@kernel
def hash_points(points: F32, columns: F64, offsets: F64, width: float, out: I64) -> None:
    """The integer hashes ``floor((a . v + b) / w)`` of (n, dim) points, (n, hashes), written."""
    values = np.empty(out.shape[1], np.float64)
    for row in range(points.shape[0]):
        project_point(points[row], columns, offsets, width, values)
        for j in range(values.shape[0]):
            out[row, j] = np.int64(np.floor(values[j]))


@kernel
def encode_by_floors(
    points: F32,
    columns: F64,
    offsets: F64,
    width: float,
    bits_of_number: int,
    centre: F32,
    scale: float,
    signs: F32,
    buckets: U32,
    bits: U64,
    f: F32,
    a: F32,
) -> None:
    """From vectors to the buckets of every table, and one sketch for Euclidean scores.

    A score is ``<q, x> - |x|^2 / 2`` of centred and scaled vectors.

    Args:
        points: (n, dim), contiguous.
        columns: as in ``project_point``, like the next two; the hashes table after table.
        offsets: see there.
        width: see there.
        bits_of_number: as in ``bucket_number``.
        centre: (dim,) subtracted for the sketch.
        scale: and what the rest is multiplied by.
        signs: (n,) of the sketch's rotation.
        buckets: (n, tables), written.
        bits: (n, words), written.
        f: (n,), written.
        a: (n,), written.
    """
    tables = buckets.shape[1]
    hashes = columns.shape[1] // tables
    values = np.empty(columns.shape[1], np.float64)
    key = np.empty(hashes, np.int64)
    point = np.empty(points.shape[1], np.float32)
    work = np.empty((2, signs.shape[0]), np.float32)
    for row in range(points.shape[0]):
        project_point(points[row], columns, offsets, width, values)
        for table in range(tables):
            for j in range(hashes):
                key[j] = np.int64(np.floor(values[table * hashes + j]))
            buckets[row, table] = bucket_number(key, table, bits_of_number)
        square = draw_in(points[row], centre, scale, False, point)
        f[row] = sketch_point(work[rotate(point, signs, work)], square, bits[row])
        a[row] = np.float32(-0.5) * np.float32(square)


@inlined
def floor_probes(values: F64, tables: int, bits: int, reach: float, buckets: U32) -> int:
    """The most promising buckets of a query over all tables, best first (Lv et al. 2007).

    Moving hash i to its neighbour costs x_i(delta)^2: the squared way to that border, in bucket
    lengths. Sets of moves are made in order of their cost by shifting and expanding, from one
    heap that all tables share; a hash moves one way at most.

    Args:
        values: (tables * hashes,) as ``project_point`` gives them.
        tables: how many tables.
        bits: as in ``bucket_number``.
        reach: largest cost; a query's own buckets cost 0.
        buckets: as many as wanted, written, distinct.

    Returns:
        How many were written: at most 3 ** hashes of each table.
    """
    count = buckets.shape[0]
    hashes = values.shape[0] // tables
    moves = 2 * hashes
    home = np.empty((tables, hashes), np.int64)
    order = np.empty((tables, hashes), np.int64)
    costs = np.empty((tables, moves), np.float64)
    up = np.empty((tables, hashes), np.bool_)
    for table in range(tables):
        near = np.empty(hashes, np.float64)
        for j in range(hashes):
            value = values[table * hashes + j]
            floor = np.floor(value)
            home[table, j] = np.int64(floor)
            up[table, j] = value - floor > 0.5
            near[j] = min(value - floor, 1.0 - (value - floor))
        order[table] = np.argsort(near, kind="mergesort")
        for rank in range(hashes):  # the way to the other border is as long as the rest
            way = near[order[table, rank]]
            costs[table, rank] = way * way
            costs[table, moves - 1 - rank] = (1.0 - way) * (1.0 - way)
    size = 64
    while size < 2 * count:
        size *= 2
    seen = np.full(size, -1, np.int64)
    key = np.empty(hashes, np.int64)
    heap: list[Any] = [(0.0, np.int64(table), np.int64(0)) for table in range(tables)]
    written = 0
    while written < count and len(heap) > 0:
        cost, table, chosen = heapq.heappop(heap)
        if cost > reach:
            break
        last = -1
        clash = -1
        for j in range(hashes):
            key[j] = home[table, j]
        for rank in range(moves):
            if (chosen >> rank) & 1:
                last = rank
                if (chosen >> (moves - 1 - rank)) & 1:
                    clash = rank
                near_side = rank < hashes
                j = order[table, rank if near_side else moves - 1 - rank]
                key[j] += 1 if up[table, j] == near_side else -1
        if clash < 0:
            number = bucket_number(key, table, bits)
            at = np.int64(np.uint64(number) * SEED >> np.uint64(32)) & (size - 1)
            while seen[at] >= 0 and seen[at] != number:
                at = (at + 1) & (size - 1)
            if seen[at] < 0:
                seen[at] = number
                buckets[written] = number
                written += 1
        if last < 0:
            heapq.heappush(heap, (costs[table, 0], table, np.int64(1)))
        elif last + 1 < moves and (clash < 0 or clash == last):
            shifted = (chosen ^ (np.int64(1) << last)) | (np.int64(1) << (last + 1))
            step = costs[table, last + 1] - costs[table, last]
            heapq.heappush(heap, (cost + step, table, shifted))
            if clash < 0:
                more = chosen | (np.int64(1) << (last + 1))
                heapq.heappush(heap, (cost + costs[table, last + 1], table, more))
    return written


(
    COLUMNS, OFFSETS, HASHES, DIM, LENGTH, TABLES, NUMBER_BITS, CENTRE, SCALE, SIGNS, WIDTH,
) = range(1, 12)  # fmt: skip
"""Places of what ``probe_floors`` wants in the array of a family's frozen parts: the vectors a as
columns and the numbers b, of which there are HASHES over all tables for vectors of length DIM; w;
how many tables; bits of a bucket's number in a table; of the sketch: the centre, the scale, and the
signs of its rotation with their number."""


@kernel
def probe_floors(
    frozen: I64,
    queries: F32,
    reach: float,
    planes: U64,
    deltas: F32,
    buckets: U32,
    bases: F32,
    counts: I64,
) -> None:
    """From queries to sketches and to the most promising buckets.

    The arguments are as in ``probe_cells``; reach is as in ``floor_probes``.
    Bases are zero, and there is no overflow.
    """
    numbers = frozen.view(np.float64)
    hashes, dim, width = frozen[HASHES], frozen[DIM], frozen[WIDTH]
    columns = carray(pointer(frozen[COLUMNS]), (dim, hashes), np.float64)
    offsets = carray(pointer(frozen[OFFSETS]), hashes, np.float64)
    centre = carray(pointer(frozen[CENTRE]), dim, np.float32)
    signs = carray(pointer(frozen[SIGNS]), width, np.float32)
    values = np.empty(hashes, np.float64)
    point = np.empty(dim, np.float32)
    work = np.empty((2, width), np.float32)
    bits = 64 * planes.shape[2]
    bases[:] = 0.0
    for row in range(queries.shape[0]):
        draw_in(queries[row], centre, numbers[SCALE], True, point)
        turned = work[rotate(point, signs, work)]
        deltas[row] = query_planes(turned[:bits], bits, 1.0, planes[row])
        project_point(queries[row], columns, offsets, numbers[LENGTH], values)
        counts[row] = floor_probes(values, frozen[TABLES], frozen[NUMBER_BITS], reach, buckets[row])
