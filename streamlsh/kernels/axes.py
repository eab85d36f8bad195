"""Cross-polytope hashing: nearest signed axes, and the order in which buckets are probed.

A table rotates a vector several times, each time by other signs, and joins the coordinates: so
many axes to choose from. Its code is ``2 j + [x_j < 0]`` of the largest coordinate by magnitude.
"""

from __future__ import annotations

import numpy as np
from numba import carray
from numpy.typing import NDArray

from streamlsh.kernels.compiling import at_least, inlined, kernel, lowest_bit, pointer
from streamlsh.kernels.encode import query_planes
from streamlsh.kernels.hadamard import rotate, sketch_point

F32 = NDArray[np.float32]
U32 = NDArray[np.uint32]
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]

GRID_BITS = 20
"""Coordinates of a query are ranked in steps of the largest one over 2 to this."""
DIGIT_BITS = 10
"""Bits by which integers are sorted at a time."""
LANES = 16


@inlined
def _largest(values: F32) -> float:
    """The largest magnitude; as integers, which compare alike and as many at a time as fit."""
    bits = values.view(np.int32)
    most = np.int32(0)
    for i in range(bits.shape[0]):
        most = max(most, bits[i] & np.int32(0x7FFFFFFF))
    one = np.empty(1, np.int32)
    one[0] = most
    return one.view(np.float32)[0]


@kernel
def encode_by_axes(
    points: F32, centre: F32, signs: F32, buckets: U32, bits: U64, f: F32, a: F32
) -> None:
    """From unit vectors to the buckets of every table, and one sketch.

    Args:
        points: (n, dim), contiguous.
        centre: (dim,) subtracted first.
        signs: (tables, rotations, width); the sketch is cut from the very first.
        buckets: (n, tables), written: the code, counted on from table to table.
        bits: (n, words), written.
        f: (n,), written, see ``sketch_point``.
        a: (n,), written: <centre, x - centre>, the part of a score that is known exactly.
    """
    tables, rotations, width = signs.shape
    dim = points.shape[1]
    point = np.empty(dim, np.float32)
    work = np.empty((2, width), np.float32)
    for row in range(points.shape[0]):
        square = np.float32(0.0)
        known = np.float32(0.0)
        for i in range(dim):
            value = points[row, i] - centre[i]
            point[i] = value
            square += value * value
            known += value * centre[i]
        for table in range(tables):
            code = 0
            most = np.float32(-1.0)
            for rotation in range(rotations):
                rotated = work[rotate(point, signs[table, rotation], work)]
                if table == 0 and rotation == 0:
                    f[row] = sketch_point(rotated, square, bits[row])
                largest = _largest(rotated)
                if largest > most:  # of equal coordinates the first one counts
                    most = largest
                    j = 0
                    while abs(rotated[j]) != largest:
                        j += 1
                    code = 2 * (rotation * width + j) + (1 if rotated[j] < 0.0 else 0)
            buckets[row, table] = table * (2 * rotations * width) + code
        a[row] = known


@inlined
def _count_from(sizes: F32, limit: float) -> int:
    """How many of the sizes are no less than a limit."""
    count = np.int32(0)
    for i in range(sizes.shape[0]):
        count += np.int32(sizes[i] >= limit)
    return np.int64(count)


@inlined
def _limit(sizes: F32, most: int, least: float) -> tuple[float, int]:
    """A size that at least ``most`` of the sizes reach, and few more.

    Args:
        sizes: whole numbers up to 2 to ``GRID_BITS``.
        most: how many are wanted.
        least: the smallest limit allowed.

    Returns:
        The limit, and how many reach it.
    """
    low = np.int64(least)
    high = (np.int64(1) << GRID_BITS) + 1
    total = sizes.shape[0] if low == 0 else _count_from(sizes, np.float32(low))
    # Some too many do no harm: they are sorted, and the last ones cut off.
    while high - low > 1 and total > most + most // 4:
        middle = (low + high) >> 1
        count = _count_from(sizes, np.float32(middle))
        if count < most:
            high = middle
        else:
            low = middle
            total = count
    return np.float32(low), total


@inlined
def sort_falling(keys: I64, values: I64) -> I64:
    """Values in falling order of keys up to 2 to ``GRID_BITS``; equal keys keep their order."""
    size = 1 << DIGIT_BITS
    count = keys.shape[0]
    other_keys = np.empty(count, np.int64)
    other_values = np.empty(count, np.int64)
    starts = np.empty(size, np.int64)
    for shift in range(0, GRID_BITS + 1, DIGIT_BITS):
        starts[:] = 0
        for i in range(count):
            starts[size - 1 - ((keys[i] >> shift) & (size - 1))] += 1
        total = 0
        for digit in range(size):
            held = starts[digit]
            starts[digit] = total
            total += held
        for i in range(count):
            digit = size - 1 - ((keys[i] >> shift) & (size - 1))
            other_keys[starts[digit]] = keys[i]
            other_values[starts[digit]] = values[i]
            starts[digit] += 1
        keys, other_keys = other_keys, keys
        values, other_values = other_values, values
    return values


@inlined
def axis_probes(coordinates: F32, reach: float, sizes: F32, buckets: U32) -> int:
    """The buckets whose axes are nearest to a query, over all tables, nearest first.

    Args:
        coordinates: the query's, table after table, a multiple of sixteen.
        reach: buckets are left out whose axes' products with the query are less than the best
            by more than this.
        sizes: as many, scratch.
        buckets: as many as wanted, written: ``2 j + [s < 0]`` of coordinate j and sign s.

    Returns:
        How many were written: at most twice the coordinates.
    """
    count = coordinates.shape[0]
    most = buckets.shape[0]
    highest = _largest(coordinates)
    scale = np.float32(1 << GRID_BITS) / highest if highest > 0.0 else np.float32(0.0)
    for j in range(count):
        sizes[j] = np.floor(abs(coordinates[j]) * scale)
    # In steps: a bucket may be that much less than the best.
    step = np.float64(1 << GRID_BITS)
    within = min(np.float64(reach) * np.float64(scale), 3.0 * step) if highest > 0.0 else step
    limit, total = _limit(sizes, min(most, count), np.float32(max(np.ceil(step - within), 0.0)))
    keys = np.empty(total, np.int64)
    values = np.empty(total, np.int64)
    held = 0
    for first in range(0, count, LANES):
        found = at_least(sizes.ctypes.data + 4 * first, limit)
        while found:
            j = first + lowest_bit(found)
            found &= found - 1
            keys[held] = np.int64(sizes[j])
            values[held] = j
            held += 1
    ranked = sort_falling(keys, values)
    written = min(held, most)
    for i in range(written):
        j = ranked[i]
        buckets[i] = 2 * j + (1 if coordinates[j] < 0.0 else 0)
    if held == count:  # the same axes the other way: the nearest is then the farthest
        while written < most and written < 2 * count:
            j = ranked[2 * count - 1 - written]
            if np.float64(sizes[j]) > within - step:
                break
            buckets[written] = 2 * j + (0 if coordinates[j] < 0.0 else 1)
            written += 1
    return written


CENTRE, DIM, SIGNS, TABLES, ROTATIONS, WIDTH = range(1, 7)
"""Places of what ``probe_axes`` wants in the array of a family's frozen parts: the centre, of so
many dimensions; the signs, (tables, rotations, width)."""


@kernel
def probe_axes(
    frozen: I64,
    queries: F32,
    reach: float,
    planes: U64,
    deltas: F32,
    buckets: U32,
    bases: F32,
    counts: I64,
) -> None:
    """From queries to sketches and to the most promising buckets of all tables.

    The arguments are as in ``probe_cells``; reach is as in ``axis_probes``.
    Bases are zero, and there is no overflow.
    """
    tables, rotations, width = frozen[TABLES], frozen[ROTATIONS], frozen[WIDTH]
    signs = carray(pointer(frozen[SIGNS]), (tables, rotations, width), np.float32)
    centre = carray(pointer(frozen[CENTRE]), frozen[DIM], np.float32)
    dim = queries.shape[1]
    point = np.empty(dim, np.float32)
    work = np.empty((2, width), np.float32)
    coordinates = np.empty(tables * rotations * width, np.float32)
    sizes = np.empty(coordinates.shape[0], np.float32)
    bits = 64 * planes.shape[2]
    bases[:] = 0.0
    for row in range(queries.shape[0]):
        for i in range(dim):
            point[i] = queries[row, i] - centre[i]
        at = 0
        for table in range(tables):
            for rotation in range(rotations):
                rotated = work[rotate(point, signs[table, rotation], work)]
                if at == 0:
                    deltas[row] = query_planes(rotated[:bits], bits, 1.0, planes[row])
                for i in range(width):
                    coordinates[at + i] = rotated[i]
                at += width
        counts[row] = axis_probes(coordinates, reach, sizes, buckets[row])
