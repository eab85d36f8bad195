"""Choosing cells: integer distances to many centres, and the best of them.

Centres and vectors are compared in bytes. Integer sums are exact, so they may be vectorised in
any order and still give the same cells on every machine; where an item goes is settled by exact
distances to the few that are nearest in bytes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamlsh.kernels.compiling import at_most, inlined, kernel, least_of, lowest_bit
from streamlsh.kernels.encode import (
    CHUNK,
    quantise,
    sign_sketches,
    square_rows,
)
from streamlsh.kernels.sums import LANES, residual_sums, sum_lanes
from streamlsh.kernels.tiles import GROUP, TILE, byte_products, project_rows

I8 = NDArray[np.int8]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
F32 = NDArray[np.float32]

NEVER = np.int32(2**31 - 1)
"""Pads numbers of which the smallest are wanted."""
MOST = np.float32(1 << 30)
"""Ranks of cells are compared as integers up to this."""
STRIDE = 16
"""Numbers whose minimum is taken together: a vector of them."""
FEW = 64
"""Up to so many places are sorted by insertion."""


@inlined
def nearest_of(order: I32, count: int, most: int, reach: int, minima: I32, chosen: I64) -> int:
    """Places of the smallest numbers, in order; ties go to the lower place.

    Args:
        order: numbers, a multiple of ``STRIDE`` of them; what pads them is the largest int32.
        count: how many of them count.
        most: how many places are wanted at most.
        reach: numbers above the smallest plus this are left out.
        minima: (len(order) // STRIDE,) scratch.
        chosen: (count,), written; may be longer than the result.

    Returns:
        How many places are in ``chosen``.
    """
    runs = order.shape[0] // STRIDE
    least = NEVER
    address = order.ctypes.data
    for run in range(runs):
        minima[run] = least_of(address + 4 * STRIDE * run)
        least = min(least, minima[run])
    bound = min(np.int64(least) + reach, np.int64(NEVER) - 1)
    if most < runs:
        # The most-th smallest of the runs' minima is no less than the most-th smallest number.
        bound = min(bound, np.int64(_kth_smallest(minima, most)))
    held = 0
    for run in range(runs):
        if minima[run] <= bound:
            bits = at_most(address + 4 * STRIDE * run, np.int32(bound))
            while bits:
                chosen[held] = run * STRIDE + lowest_bit(bits)
                held += 1
                bits &= bits - 1
    if held > FEW:
        values = np.empty(held, np.int32)
        for i in range(held):
            values[i] = order[chosen[i]]
        ranks = np.argsort(values, kind="mergesort")
        places = chosen[:held].copy()
        for i in range(held):
            chosen[i] = places[ranks[i]]
    else:
        for i in range(1, held):
            place = chosen[i]
            at = i
            while at > 0 and order[chosen[at - 1]] > order[place]:
                chosen[at] = chosen[at - 1]
                at -= 1
            chosen[at] = place
    return min(held, most)


@inlined
def _kth_smallest(values: I32, k: int) -> int:
    """The k-th smallest of many numbers, k counted from one."""
    if k > FEW:
        return np.sort(values)[k - 1]
    best = np.full(k, NEVER, np.int32)
    for value in values:
        if value < best[k - 1]:
            at = k - 1
            while at > 0 and best[at - 1] > value:
                best[at] = best[at - 1]
                at -= 1
            best[at] = value
    return best[k - 1]


@kernel
def assign_cells(
    projected: F32,
    centres: F32,
    tiles: I8,
    units: F32,
    excess: I32,
    half_norms: F32,
    bounds: F32,
    nearest: int,
    spill: float,
    cells: NDArray[np.uint32],
) -> None:
    """Two cells an item: its nearest, and the one whose residual complements the first's.

    The second minimises SOAR's cost d2 + ``spill`` * <r2, r1>^2 / |r1|^2 (Sun et al. 2023),
    r1 and r2 being the residuals to the two centres. Both are chosen by exact distances among
    the ``nearest`` cells in bytes.

    Args:
        projected: (n, width) items in the space of the centres.
        centres: (cells, width).
        tiles: the centres in bytes, by ``quantise_points`` and ``tile_points``.
        units: (cells,) what one of their steps is worth.
        excess: (cells,) what the products are too large by.
        half_norms: (cells,) half the squared lengths of the centres.
        bounds: the largest of them, and the largest sum of a centre's magnitudes.
        nearest: how many nearest cells are considered.
        spill: the weight of parallel residuals.
        cells: (n, 2), written. With a single cell in all, both are that cell.
    """
    n, width = projected.shape
    count = centres.shape[0]
    points = np.empty((GROUP, width), np.uint8)
    steps = np.empty(GROUP, np.float32)
    products = np.empty((GROUP, tiles.shape[0] * TILE), np.int32)
    order = np.full(tiles.shape[0] * TILE, NEVER, np.int32)
    minima = np.empty(order.shape[0] // STRIDE, np.int32)
    chosen = np.empty(count, np.int64)
    distances = np.empty(count, np.float32)
    first = np.empty(width, np.float32)
    lanes = np.empty((2, LANES), np.float32)
    for start in range(0, n, GROUP):
        group = min(GROUP, n - start)
        for r in range(group):
            steps[r] = quantise(projected[start + r], points[r])
        byte_products(tiles, points[:group], products[:group])
        for r in range(group):
            row = start + r
            _cell_order(products[r], excess, units, half_norms, bounds, steps[r], order)
            held = nearest_of(order, count, nearest, NEVER, minima, chosen)
            best = 0
            for rank in range(held):
                distances[rank], _ = _residuals(projected[row], centres[chosen[rank]], first, lanes)
                if distances[rank] < distances[best]:
                    best = rank
            cell = chosen[best]
            for i in range(width):
                first[i] = projected[row, i] - centres[cell, i]
            length = distances[best]
            second = cell
            least = np.float32(np.inf)
            for rank in range(held):
                if rank == best:
                    continue
                distance, parallel = _residuals(projected[row], centres[chosen[rank]], first, lanes)
                cost = distance
                if length > 0.0:
                    cost += np.float32(spill) * (parallel * parallel / length)
                if cost < least:
                    least = cost
                    second = chosen[rank]
            cells[row, 0] = cell
            cells[row, 1] = second


@inlined
def _cell_order(
    products: I32, excess: I32, units: F32, bias: F32, bounds: F32, step: float, order: I32
) -> float:
    """Ranks of cells, ``bias - <centre, point>``, as integers.

    Args:
        products: of a point in bytes with the centres in bytes.
        excess: (cells,) what they are too large by.
        units: (cells,) what a step of the centres is worth.
        bias: (cells,).
        bounds: the largest magnitude of ``bias``, and the largest sum of a centre's magnitudes.
        step: steps per unit of the point.
        order: at least (cells,), written.

    Returns:
        Steps per unit of the ranks.
    """
    inverse = np.float32(1.0) / np.float32(step)
    grid = MOST / (bounds[0] + bounds[1] * np.float32(127.0) * inverse)
    for cell in range(bias.shape[0]):
        product = np.float32(products[cell] - excess[cell]) * (inverse * units[cell])
        order[cell] = np.int32((bias[cell] - product) * grid)
    return grid


@kernel
def encode_in_cells(
    points: F32,
    weights: F32,
    penalties: F32,
    basis_tiles: F32,
    offset: F32,
    centres: F32,
    tiles: I8,
    units: F32,
    excess: I32,
    half_norms: F32,
    bounds: F32,
    shifts: F32,
    nearest: int,
    spill: float,
    tail_weight: float,
    cells: NDArray[np.uint32],
    bits: NDArray[np.uint64],
    f: F32,
    a: F32,
) -> None:
    """From vectors to cells and sketches, a few hundred rows at a time, in one call.

    In one call, because between two a thread waits for the interpreter's lock.

    Args:
        points: (n, dim), contiguous, as the metric lifts them.
        weights: (n,) what a product with a query counts.
        penalties: (n,) what is taken off a score.
        basis_tiles: the projection, by ``tile_columns``.
        offset: (width,) as in ``project_rows``.
        centres: (cells, head) as in ``assign_cells``, like the others of that name.
        tiles: see there.
        units: see there.
        excess: see there.
        half_norms: see there.
        bounds: see there.
        shifts: (cells,) what the base of a score adds for a cell, so it is not in ``a``.
        nearest: see there.
        spill: see there.
        tail_weight: as in ``sign_sketches``; the tail begins at ``head``.
        cells: (n, 2), written.
        bits: (2 n, width // 64), written; two rows an item.
        f: (2 n,), written.
        a: (2 n,), written.
    """
    count = points.shape[0]
    width = offset.shape[0]
    head_width = centres.shape[1]
    projected = np.empty((CHUNK, width), np.float32)
    head = np.empty((CHUNK, head_width), np.float32)
    residuals = np.empty((2 * CHUNK, width), np.float32)
    own = np.zeros((2 * CHUNK, width), np.float32)
    norms = np.empty(2 * CHUNK, np.float32)
    for start in range(0, count, CHUNK):
        rows = min(CHUNK, count - start)
        project_rows(basis_tiles, offset, points[start : start + rows], projected[:rows])
        for row in range(rows):
            for i in range(head_width):
                head[row, i] = projected[row, i]
        chosen = cells[start : start + rows]
        assign_cells(
            head[:rows], centres, tiles, units, excess, half_norms, bounds, nearest, spill, chosen,
        )  # fmt: skip
        for row in range(rows):
            for place in range(2):
                centre = centres[chosen[row, place]]
                at = 2 * row + place
                for i in range(head_width):
                    own[at, i] = centre[i]
                    residuals[at, i] = projected[row, i] - centre[i]
                for i in range(head_width, width):
                    residuals[at, i] = projected[row, i]
        first, end = 2 * start, 2 * (start + rows)
        square_rows(residuals[: 2 * rows], norms[: 2 * rows])
        sign_sketches(
            residuals[: 2 * rows], own[: 2 * rows], offset, head_width, tail_weight,
            norms[: 2 * rows], bits[first:end], f[first:end], a[first:end],
        )  # fmt: skip
        for row in range(rows):
            item = start + row
            for place in range(2):
                at = 2 * item + place
                f[at] *= weights[item]
                a[at] = weights[item] * a[at] - penalties[item] - shifts[chosen[row, place]]


@inlined
def _residuals(point: F32, centre: F32, first: F32, lanes: F32) -> tuple[float, float]:
    """Squared length of ``point - centre``, and its product with ``first``.

    In LANES running sums of fixed order; the width is a multiple of LANES.
    """
    residual_sums(
        point.ctypes.data, centre.ctypes.data, first.ctypes.data, point.shape[0] // LANES,
        lanes.ctypes.data,
    )  # fmt: skip
    return sum_lanes(lanes[0]), sum_lanes(lanes[1])
