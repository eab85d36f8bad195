"""Choosing cells: integer distances to many centres, and the best of them.

Centres and vectors are compared as 12-bit integers. Integer sums are exact, so they may be
vectorised in any order and still give the same cell on every machine.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamlsh.kernels.compiling import inlined, kernel
from streamlsh.kernels.encode import CHUNK, sign_sketches, square_rows
from streamlsh.kernels.tiles import GROUP, LANES, TILE, point_products, project_rows, residual_sums

I16 = NDArray[np.int16]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
F32 = NDArray[np.float32]

LEVELS = 2047
"""Largest magnitude of a quantised coordinate: 256 products of two such fit an int32."""


@inlined
def quantise(values: F32, scale: float, out: I16) -> None:
    """Round ``values * scale`` to integers in -LEVELS..LEVELS."""
    for i in range(values.shape[0]):
        level = np.rint(values[i] * np.float32(scale))
        out[i] = np.int16(min(max(level, np.float32(-LEVELS)), np.float32(LEVELS)))


@inlined
def smallest(values: I32, count: int, chosen: I64) -> int:
    """Indices of the ``count`` smallest values, in order; ties go to the lower index.

    For a few out of thousands: a run of ``TILE`` values is looked into only if its least would
    make the list, which is soon rare.

    Returns:
        How many were chosen: ``min(count, len(values))``.
    """
    held = 0
    for start in range(0, values.shape[0], TILE):
        end = min(start + TILE, values.shape[0])
        if held == count:
            least = values[start]
            for i in range(start + 1, end):
                least = min(least, values[i])
            if least >= values[chosen[held - 1]]:
                continue
        for i in range(start, end):
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
    tiles: I16,
    half_norms: I32,
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
        tiles: the centres times ``scale``, rounded, by ``tile_points``.
        half_norms: (cells,) half the squared lengths of the rounded centres, rounded down.
        scale: steps of the integer grid per unit.
        nearest: how many nearest cells are considered.
        spill: the weight of parallel residuals.
        cells: (n, 2), written. With a single cell in all, both are that cell.
    """
    n, width = projected.shape
    count = centres.shape[0]
    points = np.empty((GROUP, width), np.int16)
    products = np.empty((GROUP, tiles.shape[0] * TILE), np.int32)
    distances = np.empty(count, np.int32)
    chosen = np.empty(nearest, np.int64)
    first = np.empty(width, np.float32)
    lanes = np.empty((2, LANES), np.float32)
    for start in range(0, n, GROUP):
        group = min(GROUP, n - start)
        for r in range(group):
            quantise(projected[start + r], scale, points[r])
        point_products(tiles, points[:group], products[:group])
        for r in range(group):
            row = start + r
            for cell in range(count):
                distances[cell] = half_norms[cell] - products[r, cell]
            held = smallest(distances, nearest, chosen)
            best = chosen[0]
            for i in range(width):
                first[i] = projected[row, i] - centres[best, i]
            length, _ = _residuals(projected[row], centres[best], first, lanes)
            second = best
            least = np.float32(np.inf)
            for rank in range(1, held):
                cell = chosen[rank]
                distance, parallel = _residuals(projected[row], centres[cell], first, lanes)
                cost = distance
                if length > 0.0:
                    cost += np.float32(spill) * (parallel * parallel / length)
                if cost < least:
                    least = cost
                    second = cell
            cells[row, 0] = best
            cells[row, 1] = second


@kernel
def encode_in_cells(
    unit: F32,
    basis_tiles: F32,
    offset: F32,
    centres: F32,
    tiles: I16,
    half_norms: I32,
    scale: float,
    nearest: int,
    spill: float,
    tail_weight: float,
    cells: NDArray[np.uint32],
    bits: NDArray[np.uint64],
    f: F32,
    a: F32,
) -> None:
    """From unit vectors to cells and sketches, a few hundred rows at a time, in one call.

    In one call, because between two a thread waits for the interpreter's lock.

    Args:
        unit: (n, dim), contiguous.
        basis_tiles: the projection, by ``tile_columns``.
        offset: (width,) as in ``project_rows``.
        centres: (cells, head) as in ``assign_cells``, like the five arguments after it.
        tiles: see there.
        half_norms: see there.
        scale: see there.
        nearest: see there.
        spill: see there.
        tail_weight: as in ``sign_sketches``; the tail begins at ``head``.
        cells: (n, 2), written.
        bits: (2 n, width // 64), written; two rows an item.
        f: (2 n,), written.
        a: (2 n,), written.
    """
    count = unit.shape[0]
    width = offset.shape[0]
    head_width = centres.shape[1]
    projected = np.empty((CHUNK, width), np.float32)
    head = np.empty((CHUNK, head_width), np.float32)
    residuals = np.empty((2 * CHUNK, width), np.float32)
    own = np.zeros((2 * CHUNK, width), np.float32)
    norms = np.empty(2 * CHUNK, np.float32)
    for start in range(0, count, CHUNK):
        rows = min(CHUNK, count - start)
        project_rows(basis_tiles, offset, unit[start : start + rows], projected[:rows])
        for row in range(rows):
            for i in range(head_width):
                head[row, i] = projected[row, i]
        chosen = cells[start : start + rows]
        assign_cells(head[:rows], centres, tiles, half_norms, scale, nearest, spill, chosen)
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


@inlined
def _residuals(point: F32, centre: F32, first: F32, lanes: F32) -> tuple[float, float]:
    """Squared length of ``point - centre``, and its product with ``first``.

    In LANES running sums of fixed order; the width is a multiple of LANES.
    """
    residual_sums(
        point.ctypes.data, centre.ctypes.data, first.ctypes.data, point.shape[0] // LANES,
        lanes.ctypes.data,
    )  # fmt: skip
    return _total(lanes[0]), _total(lanes[1])


@inlined
def _total(lanes: F32) -> float:
    """Sum of LANES numbers, halves upon halves."""
    width = LANES // 2
    while width:
        for lane in range(width):
            lanes[lane] += lanes[lane + width]
        width //= 2
    return lanes[0]


@kernel
def rank_cells(
    projected: F32,
    tiles: I16,
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
        tiles: the centres times ``scale``, rounded, by ``tile_points``.
        scale: steps of the integer grid per unit.
        bias: (cells,).
        count: how many cells to return.
        cells: (count,), written.
        products: (count,), written: <centre, query> of each.

    Returns:
        How many were written: ``min(count, cells)``.
    """
    total = bias.shape[0]
    point = np.empty((1, projected.shape[0]), np.int16)
    exact = np.empty((1, tiles.shape[0] * TILE), np.int32)
    quantise(projected, scale, point[0])
    point_products(tiles, point, exact)
    back = np.float32(1.0 / (scale * scale))
    order = np.empty(total, np.float32)
    for cell in range(total):
        order[cell] = bias[cell] - np.float32(2.0) * (np.float32(exact[0, cell]) * back)
    ranks = np.argsort(order, kind="mergesort") if count * 8 > total else _few(order, count)
    held = min(count, total)
    for i in range(held):
        cell = ranks[i]
        cells[i] = cell
        products[i] = np.float32(exact[0, cell]) * back
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
