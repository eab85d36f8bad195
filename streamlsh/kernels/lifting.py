"""From vectors to the points that are hashed, for metrics other than the cosine.

Row by row and in one fixed order, so a row's point is the same bits alone or in any batch.
Whatever finite vectors come in, the points are so short that no later sum overflows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamlsh.kernels.compiling import inlined, kernel

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

FAR = 300.0
"""Longest centred, scaled item: its half square is still a float16."""
FAR_QUERY = 1e6
"""Longest centred, scaled query: farther ones rank items as this one does, but for rounding."""
OUTSIDE = -1
"""The band of items that lie outside all bands."""
MOST_WEIGHT = 1e5
"""Largest weight of an item: its sketch's numbers are still float16."""


@inlined
def draw_in(vector: F32, centre: F32, scale: float, is_query: bool, point: F32) -> float:
    """``(vector - centre) * scale``, shortened to a length that can be reckoned with.

    Args:
        vector: (dim,).
        centre: (dim,).
        scale: what the difference is multiplied by.
        is_query: whether ``FAR_QUERY`` is the longest length, or ``FAR``.
        point: (dim,), written.

    Returns:
        The point's squared length.
    """
    square = 0.0
    for i in range(vector.shape[0]):
        value = (np.float64(vector[i]) - np.float64(centre[i])) * scale
        square += value * value
    longest = FAR_QUERY if is_query else FAR
    factor = scale
    if square > longest * longest:
        factor = scale * (longest / np.sqrt(square))
        square = longest * longest
    for i in range(vector.shape[0]):
        point[i] = np.float32((np.float64(vector[i]) - np.float64(centre[i])) * factor)
    return square


@kernel
def centre_rows(vectors: F32, centre: F32, scale: float, points: F32, half_squares: F32) -> None:
    """``draw_in`` of (n, dim) items; half the points' squared lengths to (n,)."""
    for row in range(vectors.shape[0]):
        square = draw_in(vectors[row], centre, scale, False, points[row])
        half_squares[row] = np.float32(0.5 * square)


@kernel
def lift_rows(vectors: F32, bounds: F32, points: F32, weights: F32, bands: I64) -> None:
    """Items, lifted to the unit sphere: ``[x / M ; sqrt(1 - |x|^2 / M^2)]`` of their norm band.

    An item longer than every bound becomes ``[x / |x| ; 0]``, in band ``OUTSIDE``.

    Args:
        vectors: (n, dim).
        bounds: (bands,) the norms M, ascending.
        points: (n, dim + 1), written.
        weights: (n,), written: M, or the item's own length, over the largest bound.
        bands: (n,), written.
    """
    dim = vectors.shape[1]
    count = bounds.shape[0]
    for row in range(vectors.shape[0]):
        square = 0.0
        for i in range(dim):
            value = np.float64(vectors[row, i])
            square += value * value
        length = np.sqrt(square)
        band = 0
        while band < count and length > np.float64(bounds[band]):
            band += 1
        bound = np.float64(bounds[band]) if band < count else length
        rest = 1.0 - square / (bound * bound) if band < count else 0.0
        for i in range(dim):
            points[row, i] = np.float32(np.float64(vectors[row, i]) / bound)
        points[row, dim] = np.float32(np.sqrt(max(rest, 0.0)))
        weights[row] = np.float32(min(bound / np.float64(bounds[count - 1]), MOST_WEIGHT))
        bands[row] = band if band < count else OUTSIDE


@kernel
def lift_queries(vectors: F32, points: F32) -> None:
    """Queries, as the lifted items want them: ``[q / |q| ; 0]``, and zero for a zero query."""
    dim = vectors.shape[1]
    for row in range(vectors.shape[0]):
        square = 0.0
        for i in range(dim):
            value = np.float64(vectors[row, i])
            square += value * value
        inverse = 1.0 / np.sqrt(square) if square > 0.0 else 0.0
        for i in range(dim):
            points[row, i] = np.float32(np.float64(vectors[row, i]) * inverse)
        points[row, dim] = np.float32(0.0)
