"""From vectors to what is stored: unit rows, projections, sketches and 4-bit codes.

Everything here runs row by row in one fixed order of operations, so a row's result is the same
bits alone or in any batch (design promise 3). Loops run over outputs innermost: the compiler
may use as many lanes as the machine has without touching the order within one sum.
"""

from __future__ import annotations

import numpy as np
from numba import carray
from numpy.typing import NDArray

from streamlsh.kernels.compiling import at_most, inlined, kernel, pointer
from streamlsh.kernels.frozen import BASIS_EXCESS, BASIS_TILES, BASIS_UNITS, DIM, OFFSET, WIDTH
from streamlsh.kernels.tiles import TILE, byte_products, project_rows

F32 = NDArray[np.float32]
I8 = NDArray[np.int8]
U8 = NDArray[np.uint8]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

CHUNK = 256
"""Rows that go through all steps of encoding together: what lies between stays in the cache."""
PLAIN_SQUARES = (1e-30, 1e30)
"""Squared lengths between these are right to some digits in float32, and within every limit."""


@inlined
def quantise(values: F32, out: U8) -> float:
    """Round values to unsigned bytes: 128, and up to 127 steps up or down.

    Args:
        values: (width,).
        out: at least (width,), written; what is longer is 128, a zero.

    Returns:
        Steps per unit; 1 if all values are zero.
    """
    largest = np.float32(0.0)
    for i in range(values.shape[0]):
        largest = max(largest, abs(values[i]))
    scale = np.float32(127.0) / largest if largest > 0.0 else np.float32(1.0)
    for i in range(values.shape[0]):
        out[i] = np.uint8(np.int32(np.rint(values[i] * scale)) + 128)
    for i in range(values.shape[0], out.shape[0]):
        out[i] = 128
    return scale


@kernel
def normalize_rows(vectors: F32, unit: F32, inverse_norm: F32) -> None:
    """Scale every row to length one; sums in float64, so no finite row overflows.

    Args:
        vectors: (n, dim) rows.
        unit: (n, dim), written; zero for rows too short to tell from zero.
        inverse_norm: (n,), written: 1 / |row|, 0 for such rows.
    """
    n, dim = vectors.shape
    for row in range(n):
        total = 0.0
        for i in range(dim):
            value = np.float64(vectors[row, i])
            total += value * value
        # 1 / |row| must be a float32 itself.
        inverse = 1.0 / np.sqrt(total) if total > 1e-76 else 0.0
        inverse_norm[row] = np.float32(inverse)
        for i in range(dim):
            unit[row, i] = np.float32(vectors[row, i] * inverse)


@kernel
def plain_queries(vectors: F32, scale: bool, out: F32) -> bool:
    """Queries, scaled to length one if wanted, unless something about them needs a closer look.

    Args:
        vectors: (n, dim).
        scale: whether to scale.
        out: (n, dim), written.

    Returns:
        Whether every vector is finite and its squared length within ``PLAIN_SQUARES``.
    """
    for row in range(vectors.shape[0]):
        total = 0.0
        for i in range(vectors.shape[1]):
            value = np.float64(vectors[row, i])
            total += value * value
        if not PLAIN_SQUARES[0] < total < PLAIN_SQUARES[1]:
            return False
        factor = 1.0 / np.sqrt(total) if scale else 1.0
        for i in range(vectors.shape[1]):
            out[row, i] = np.float32(vectors[row, i] * factor)
    return True


@kernel
def square_rows(vectors: F32, out: F32) -> None:
    """Squared length of every (n, width) row, written to (n,) out."""
    for row in range(vectors.shape[0]):
        total = np.float32(0.0)
        for i in range(vectors.shape[1]):
            total += vectors[row, i] * vectors[row, i]
        out[row] = total


@kernel
def sign_sketches(
    residuals: F32,
    centres: F32,
    offset: F32,
    split: int,
    tail_weight: float,
    norms: F32,
    bits: NDArray[np.uint64],
    f: F32,
    a: F32,
) -> None:
    """One-bit sketches of residuals, with the two numbers that make them estimates.

    An item's projection is p + m: m of the family's frozen centre, and p = c + r, its bucket's
    centre and a residual; likewise a query's is q + m. Up to a constant of the query, their
    inner product is <q, c> + <q, r> + <m, p>. With s the signs of r (those from ``split`` on
    weighted by ``tail_weight``) and N the squared norm that the estimate stands for, it is
    estimated as ``<q, c> + a + f * <s, q>``, where ``f = N / <s, r>`` and
    ``a = <r, c> - f * <s, c> + <m, p>`` (RaBitQ, Gao and Long 2024, with every term that the
    query has no part in gathered in ``a``).

    Args:
        residuals: (n, width), width a multiple of 64.
        centres: (n, width) centre of each row's bucket.
        offset: (width,) the m above.
        split: first coordinate of the weighted tail.
        tail_weight: weight of the signs from ``split`` on.
        norms: (n,) the N above.
        bits: (n, width // 64), written; bit i of word k is coordinate 64 k + i, set if >= 0.
        f: (n,), written.
        a: (n,), written.
    """
    n, width = residuals.shape
    weight = np.float32(tail_weight)
    for row in range(n):
        along = np.float32(0.0)
        centre_along = np.float32(0.0)
        known = np.float32(0.0)
        for k in range(width // 64):
            word = np.uint64(0)
            for i in range(64):
                j = 64 * k + i
                value = residuals[row, j]
                sign = np.float32(1.0) if j < split else weight
                if value >= 0.0:
                    word |= np.uint64(1) << np.uint64(i)
                else:
                    sign = -sign
                along += sign * value
                centre_along += sign * centres[row, j]
                known += value * centres[row, j] + offset[j] * (value + centres[row, j])
            bits[row, k] = word
        scale = norms[row] / along if along > 0.0 else np.float32(0.0)
        f[row] = scale
        a[row] = known - scale * centre_along


@kernel
def encode_by_signs(
    unit: F32,
    basis_tiles: F32,
    zero: F32,
    key_bits: int,
    buckets: NDArray[np.uint32],
    bits: NDArray[np.uint64],
    f: F32,
    a: F32,
) -> None:
    """From unit vectors to the buckets and sketches of sign hashing, in one call.

    Args:
        unit: (n, dim), contiguous.
        basis_tiles: the directions, by ``tile_columns``.
        zero: (width,) zeros.
        key_bits: bits of a table's key; table t's are those from ``t * key_bits`` on.
        buckets: (n, tables), written: ``t << key_bits | key``.
        bits: (n, width // 64), written.
        f: (n,), written.
        a: (n,), written.
    """
    count = unit.shape[0]
    width = zero.shape[0]
    projected = np.empty((CHUNK, width), np.float32)
    centres = np.zeros((CHUNK, width), np.float32)
    ones = np.ones(CHUNK, np.float32)
    for start in range(0, count, CHUNK):
        rows = min(CHUNK, count - start)
        end = start + rows
        project_rows(basis_tiles, zero, unit[start:end], projected[:rows])
        sign_sketches(
            projected[:rows], centres[:rows], zero, width, 1.0, ones[:rows], bits[start:end],
            f[start:end], a[start:end],
        )  # fmt: skip
        for row in range(rows):
            for table in range(buckets.shape[1]):
                key = table << key_bits
                for j in range(key_bits):
                    if projected[row, table * key_bits + j] >= 0.0:
                        key |= 1 << j
                buckets[start + row, table] = key


@kernel
def nibble_rows(unit: F32, codes: NDArray[np.uint8], step: F32) -> None:
    """Quantise rows to 4 bits a coordinate: the second stage's copy of the vectors.

    Coordinate i is about ``step * (u - 7.5)`` with u in 0..15. Byte j holds coordinate j in its
    low half and coordinate j + width in its high half, width being the row's bytes, so that
    both halves unpack to contiguous runs. Coordinates past dim are stored as zero codes; they
    meet zero query coordinates.

    Args:
        unit: (n, dim).
        codes: (n, width) with 2 * width >= dim, written.
        step: (n,), written.
    """
    n, dim = unit.shape
    width = codes.shape[1]
    for row in range(n):
        largest = np.float32(0.0)
        for i in range(dim):
            largest = max(largest, abs(unit[row, i]))
        size = largest / np.float32(7.5)
        step[row] = size
        inverse = np.float32(1.0) / size if size > 0.0 else np.float32(0.0)
        for j in range(width):
            codes[row, j] = 0
        for i in range(dim):
            level = np.int64(np.rint(unit[row, i] * inverse + np.float32(7.5)))
            level = min(max(level, 0), 15)
            if i < width:
                codes[row, i] |= np.uint8(level)
            else:
                codes[row, i - width] |= np.uint8(level << 4)


@inlined
def project_queries(
    tiles: I8, units: F32, excess: I32, offset: F32, queries: F32, out: F32
) -> None:
    """Project a few queries in bytes: a quarter of the memory to read of a float32 projection.

    Exact sums of rounded numbers, so a query's result is the same alone and in any batch.

    Args:
        tiles: the matrix's columns in bytes, by ``quantise_points`` and ``tile_points``.
        units: (width,) what one of their steps is worth.
        excess: (width,) what the products are too large by, see ``quantise_points``.
        offset: (width,) to be subtracted.
        queries: (n, dim), contiguous; n is at most ``GROUP``.
        out: (n, width), written.
    """
    count = queries.shape[0]
    points = np.empty((count, 4 * tiles.shape[1]), np.uint8)
    sums = np.empty((count, tiles.shape[0] * TILE), np.int32)
    steps = np.empty(count, np.float32)
    for row in range(count):
        steps[row] = quantise(queries[row], points[row])
    byte_products(tiles, points, sums)
    for row in range(count):
        inverse = np.float32(1.0) / steps[row]
        for j in range(offset.shape[0]):
            value = np.float32(sums[row, j] - excess[j]) * (inverse * units[j])
            out[row, j] = value - offset[j]


@inlined
def project_frozen(frozen: I64, queries: F32, out: F32) -> None:
    """The same by the projection of a family, from the array of its frozen parts."""
    width, dim = frozen[WIDTH], frozen[DIM]
    project_queries(
        carray(pointer(frozen[BASIS_TILES]), (width // TILE, (dim + 3) // 4, TILE, 4), np.int8),
        carray(pointer(frozen[BASIS_UNITS]), width, np.float32),
        carray(pointer(frozen[BASIS_EXCESS]), width, np.int32),
        carray(pointer(frozen[OFFSET]), width, np.float32), queries, out,
    )  # fmt: skip


@inlined
def query_planes(
    projected: F32, split: int, tail_weight: float, planes: NDArray[np.uint64]
) -> float:
    """Quantise a projected query to symmetric 4 bits, as four bit planes.

    Coordinate j becomes ``delta * (2 u - 15)`` with u in 0..15, so with bit planes p of u and
    an item's sign bits x, ``<s, z> = delta * sum_p 2^p (width - 2 popcount(x ^ plane_p))``.

    Args:
        projected: (width,).
        split: first coordinate of the weighted tail.
        tail_weight: weight of the coordinates from ``split`` on.
        planes: (4, width // 64), written.

    Returns:
        delta.
    """
    width = projected.shape[0]
    weight = np.float32(tail_weight)
    largest = np.float32(0.0)
    for j in range(width):
        value = abs(projected[j]) * (np.float32(1.0) if j < split else weight)
        largest = max(largest, value)
    delta = largest / np.float32(15.0)
    inverse = np.float32(1.0) / delta if delta > 0.0 else np.float32(0.0)
    levels = np.empty(width, np.int32)
    for j in range(width):
        value = projected[j] * (np.float32(1.0) if j < split else weight)
        level = np.floor((value * inverse + np.float32(16.0)) * np.float32(0.5))
        levels[j] = np.int32(min(max(level, np.float32(0.0)), np.float32(15.0)))
    shifted = np.empty(width, np.int32)
    for p in range(4):
        for j in range(width):
            shifted[j] = levels[j] << (31 - p)  # bit p becomes the sign
        for word in range(width // 64):
            bits = np.uint64(0)
            for part in range(4):
                negative = at_most(shifted.ctypes.data + 4 * (64 * word + 16 * part), np.int32(-1))
                bits |= np.uint64(negative) << np.uint64(16 * part)
            planes[p, word] = bits
    return delta


@inlined
def query_bytes(unit: F32, out: NDArray[np.int8]) -> float:
    """Quantise a unit query to signed bytes, for the 4-bit stage.

    Args:
        unit: (dim,).
        out: (2 * width,) padded with zeros, written.

    Returns:
        The value of one step.
    """
    largest = np.float32(0.0)
    for i in range(unit.shape[0]):
        largest = max(largest, abs(unit[i]))
    size = largest / np.float32(127.0)
    inverse = np.float32(1.0) / size if size > 0.0 else np.float32(0.0)
    out[:] = 0
    for i in range(unit.shape[0]):
        out[i] = np.int8(np.rint(unit[i] * inverse))
    return size
