"""Choosing cells: integer distances to many centres, and the best of them.

Centres and vectors are compared as 12-bit integers. Integer sums are exact, so they may be
vectorised in any order and still give the same cell on every machine.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamlsh.kernels.compiling import inlined, kernel

I16 = NDArray[np.int16]
F32 = NDArray[np.float32]

LEVELS = 2047
"""Largest magnitude of a quantised coordinate: 128 products of two such fit an int32."""


@inlined
def quantise(values: F32, scale: float, out: I16) -> None:
    """Round ``values * scale`` to integers in -LEVELS..LEVELS."""
    for i in range(values.shape[0]):
        level = np.rint(values[i] * np.float32(scale))
        out[i] = np.int16(min(max(level, np.float32(-LEVELS)), np.float32(LEVELS)))


@inlined
def centre_products(centres: I16, point: I16, out: NDArray[np.int32]) -> None:
    """Inner products of one quantised point with every quantised centre, exactly.

    Args:
        centres: (cells, width).
        point: (width,).
        out: (cells,), written.
    """
    for cell in range(centres.shape[0]):
        total = np.int32(0)
        for i in range(centres.shape[1]):
            total += np.int32(centres[cell, i]) * np.int32(point[i])
        out[cell] = total


@inlined
def smallest(values: NDArray[np.int64], count: int, chosen: NDArray[np.int64]) -> int:
    """Indices of the ``count`` smallest values, in order; ties go to the lower index.

    A bounded heap would do as well; for a few dozen out of thousands, insertion into a sorted
    short list costs next to nothing because almost every value fails the first comparison.

    Returns:
        How many were chosen: ``min(count, len(values))``.
    """
    held = 0
    for i in range(values.shape[0]):
        value = values[i]
        if held == count and value >= values[chosen[held - 1]]:
            continue
        at = held if held < count else held - 1
        while at > 0 and values[chosen[at - 1]] > value:
            chosen[at] = chosen[at - 1]
            at -= 1
        chosen[at] = i
        if held < count:
            held += 1
    return held


@kernel
def assign_cells(
    projected: F32,
    centres: F32,
    quantised: I16,
    scale: float,
    nearest: int,
    spill: float,
    cells: NDArray[np.uint32],
) -> None:
    """Two cells an item: its nearest, and the one whose residual complements the first's.

    The second minimises SOAR's cost d2 + ``spill`` * <r2, r1>^2 / |r1|^2 (Sun et al. 2023)
    among the ``nearest`` cells, r1 and r2 being the residuals to the two centres.

    Args:
        projected: (n, width) items in the space of the centres.
        centres: (cells, width).
        quantised: (cells, width) the centres times ``scale``, rounded.
        scale: steps of the integer grid per unit.
        nearest: how many nearest cells are considered.
        spill: the weight of parallel residuals.
        cells: (n, 2), written. With a single cell in all, both are that cell.
    """
    n, width = projected.shape
    count = centres.shape[0]
    point = np.empty(width, np.int16)
    products = np.empty(count, np.int32)
    distances = np.empty(count, np.int64)
    norms = np.empty(count, np.int64)
    chosen = np.empty(nearest, np.int64)
    first = np.empty(width, np.float32)
    for cell in range(count):
        total = np.int64(0)
        for i in range(width):
            total += np.int64(quantised[cell, i]) * np.int64(quantised[cell, i])
        norms[cell] = total
    for row in range(n):
        quantise(projected[row], scale, point)
        centre_products(quantised, point, products)
        for cell in range(count):
            distances[cell] = norms[cell] - 2 * np.int64(products[cell])
        held = smallest(distances, nearest, chosen)
        best = chosen[0]
        length = np.float32(0.0)
        for i in range(width):
            first[i] = projected[row, i] - centres[best, i]
            length += first[i] * first[i]
        second = best
        least = np.float32(np.inf)
        for rank in range(1, held):
            cell = chosen[rank]
            distance = np.float32(0.0)
            parallel = np.float32(0.0)
            for i in range(width):
                residual = projected[row, i] - centres[cell, i]
                distance += residual * residual
                parallel += residual * first[i]
            cost = distance
            if length > 0.0:
                cost += np.float32(spill) * (parallel * parallel / length)
            if cost < least:
                least = cost
                second = cell
        cells[row, 0] = best
        cells[row, 1] = second


@kernel
def rank_cells(
    projected: F32,
    quantised: I16,
    scale: float,
    bias: F32,
    count: int,
    cells: NDArray[np.uint32],
    products: F32,
) -> int:
    """The cells most likely to hold a query's neighbours, most promising first.

    A cell's score is ``bias - 2 <centre, query>``: its squared distance, up to a constant of
    the query, plus what the family adds for wide cells.

    Args:
        projected: (width,) the query in the space of the centres.
        quantised: (cells, width).
        scale: steps of the integer grid per unit.
        bias: (cells,).
        count: how many cells to return.
        cells: (count,), written.
        products: (count,), written: <centre, query> of each.

    Returns:
        How many were written: ``min(count, cells)``.
    """
    total = quantised.shape[0]
    point = np.empty(projected.shape[0], np.int16)
    exact = np.empty(total, np.int32)
    quantise(projected, scale, point)
    centre_products(quantised, point, exact)
    back = np.float32(1.0 / (scale * scale))
    order = np.empty(total, np.float32)
    for cell in range(total):
        order[cell] = bias[cell] - np.float32(2.0) * (np.float32(exact[cell]) * back)
    ranks = np.argsort(order, kind="mergesort") if count * 8 > total else _few(order, count)
    held = min(count, total)
    for i in range(held):
        cell = ranks[i]
        cells[i] = cell
        products[i] = np.float32(exact[cell]) * back
    return held


@inlined
def _few(order: F32, count: int) -> NDArray[np.int64]:
    """The first ``count`` of a stable argsort: a threshold by sampling blocks, then a sort.

    The count-th smallest of the block minima is an upper bound of the count-th smallest value,
    so only the few values at or below it need sorting.
    """
    total = order.shape[0]
    width = max(total // (count * 4), 1)
    blocks = (total + width - 1) // width
    minima = np.empty(blocks, np.float32)
    for block in range(blocks):
        least = np.float32(np.inf)
        for i in range(block * width, min((block + 1) * width, total)):
            least = min(least, order[i])
        minima[block] = least
    bound = np.sort(minima)[min(count, blocks) - 1]
    kept = np.empty(total, np.int64)
    held = 0
    for i in range(total):
        if order[i] <= bound:
            kept[held] = i
            held += 1
    values = order[kept[:held]]
    return kept[:held][np.argsort(values, kind="mergesort")]
