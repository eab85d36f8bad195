"""Random rotations by signs and the fast Hadamard transform, and sketches cut from them.

A rotation is ``H D x``: D a diagonal of random signs (and the scale that keeps lengths), H the
Walsh-Hadamard matrix of a power of two. x is written as often as it fits, each time with signs of
its own, and padded with zeros, so that even few coordinates are mixed well. It takes n log n
additions and stores n numbers. Additions run in one fixed order, so a row's result is the same
bits alone or in any batch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamlsh.kernels.compiling import inlined

F32 = NDArray[np.float32]
U64 = NDArray[np.uint64]


@inlined
def rotate(point: F32, signs: F32, work: F32) -> int:
    """``H D x`` of one point.

    Every pass adds and subtracts neighbours and writes sums to the first half, differences to
    the second: the same steps each time, which the compiler vectorises at every stride.

    Args:
        point: (dim,), dim at most n.
        signs: (n,) the diagonal of D, n a power of two.
        work: (2, n) scratch.

    Returns:
        The row of ``work`` that holds the result.
    """
    n = signs.shape[0]
    dim = point.shape[0]
    half = n >> 1
    filled = n - n % dim
    for first in range(0, filled, dim):
        for i in range(dim):
            work[0, first + i] = point[i] * signs[first + i]
    for i in range(filled, n):
        work[0, i] = np.float32(0.0)
    at = 0
    step = 1
    while step < n:
        source = work[at]
        target = work[1 - at]
        for i in range(half):
            x = source[2 * i]
            y = source[2 * i + 1]
            target[i] = x + y
            target[half + i] = x - y
        at = 1 - at
        step *= 2
    return at


@inlined
def sketch_point(rotated: F32, square: float, bits: U64) -> float:
    """The signs of a rotated point, and what makes them an estimate.

    With s the signs, ``f * <s, q>`` estimates the inner product of the point with a query whose
    rotation is q, f being ``square / <s, rotated>`` (RaBitQ, Gao and Long 2024; the buckets'
    centre is zero, see ``sign_sketches``).

    Args:
        rotated: at least as many coordinates as there are bits.
        square: the point's squared length.
        bits: (words,), written: bit i of word k is coordinate 64 k + i, set if >= 0.

    Returns:
        f, 0 for a point at zero.
    """
    along = np.float32(0.0)
    for k in range(bits.shape[0]):
        word = np.uint64(0)
        for i in range(64):
            value = rotated[64 * k + i]
            along += abs(value)
            if value >= 0.0:
                word |= np.uint64(1) << np.uint64(i)
        bits[k] = word
    return np.float32(square) / along if along > 0.0 else np.float32(0.0)
