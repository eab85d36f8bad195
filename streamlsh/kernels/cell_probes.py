"""Which cells a query looks into.

Every query meets all centres, so these stand here at 4 bits: half of the second-level cache would
go for bytes. What a chosen cell's scores begin with is then taken from its bytes.
"""

from __future__ import annotations

import numpy as np
from numba import carray
from numpy.typing import NDArray

from streamlsh.kernels.cells import MOST, NEVER, STRIDE, nearest_of
from streamlsh.kernels.compiling import CACHE_LINE, inlined, kernel, pointer, prefetch
from streamlsh.kernels.encode import project_frozen, quantise, query_planes
from streamlsh.kernels.frozen import DIM, OWN, WIDTH
from streamlsh.kernels.lifting import draw_in, lift_queries
from streamlsh.kernels.tiles import GROUP, TILE, byte_sums, nibble_products
from streamlsh.kernels.where import EUCLIDEAN, INNER_PRODUCT

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
U8 = NDArray[np.uint8]

(
    HEAD, TAIL_WEIGHT, TILES, HALVES, EXCESS, LEVELS, UNITS, OWN_EXCESS, BIAS, CELLS, BOUNDS,
    SHIFTS, OVERFLOW, METRIC, MEAN, SCALE,
) = range(OWN, OWN + 16)  # fmt: skip
"""Places of what ``probe_cells`` wants of a family's frozen parts, after the projection:

- how many of the coordinates are the head, and what the others weigh (``query_planes``);
- the centres at 4 bits by ``tile_nibbles``, with what ``quantise_to_nibbles`` gives; the same in
  bytes, (cells, head), with what ``quantise_points`` gives; and how many there are;
- (cells,) bias of their ranks; the largest magnitude of it, and the largest sum of a centre's
  magnitudes at 4 bits; (cells,) what is added to their products with a query;
- a bucket beside the cells that every query probes, its base being zero; -1 for none;
- the metric by its number in ``where``; mean and scale that Euclidean vectors are centred by.
"""


@inlined
def _rank_cells(
    sums: I32, point: U8, excess: I32, halves: F32, bias: F32, bounds: F32, step: float, order: I32
) -> float:
    """Ranks of cells, ``bias - <centre, point>``, as integers; centres at 4 bits.

    Args:
        sums: of the point's bytes with the levels of all centres.
        point: (head,) bytes.
        excess: (cells,) as ``quantise_to_nibbles`` gives it, like the next one.
        halves: see there.
        bias: (cells,).
        bounds: the largest magnitude of it, and the largest sum of a centre's magnitudes at 4 bits.
        step: steps per unit of the point.
        order: at least (cells,), written.

    Returns:
        Steps per unit of the ranks.
    """
    total = np.int32(0)
    for i in range(point.shape[0]):
        total += np.int32(point[i])
    shared = np.int32(15) * (total - np.int32(128 * point.shape[0]))
    inverse = np.float32(1.0) / np.float32(step)
    grid = MOST / (bounds[0] + bounds[1] * np.float32(128.0) * inverse)
    for cell in range(bias.shape[0]):
        steps = np.int32(2) * sums[cell] - excess[cell] - shared
        order[cell] = np.int32((bias[cell] - np.float32(steps) * (inverse * halves[cell])) * grid)
    return grid


@kernel
def probe_cells(
    frozen: I64,
    vectors: F32,
    reach: float,
    planes: NDArray[np.uint64],
    deltas: F32,
    cells: NDArray[np.uint32],
    products: F32,
    counts: I64,
) -> None:
    """From queries to sketches and to the cells most likely to hold their neighbours.

    A cell's rank is by ``bias - <centre, query>``: half its squared distance, up to a constant
    of the query, plus what the family adds for wide cells.

    Args:
        frozen: what the family froze.
        vectors: (n, dim), contiguous.
        reach: cells are left out whose rank is worse than the best by more than half of this:
            in terms of squared distances, by more than this.
        planes: (n, 4, width // 64), written.
        deltas: (n,), written.
        cells: (n, most), written, most promising first; where there is a bucket of overflow, its
            number comes last, beside at most ``most - 1`` cells.
        products: as many, written: <centre, query> of each, and its shift.
        counts: (n,), written: how many cells each query got.
    """
    width, dim, head, total = frozen[WIDTH], frozen[DIM], frozen[HEAD], frozen[CELLS]
    columns = (total + TILE - 1) // TILE * TILE
    tiles = carray(pointer(frozen[TILES]), (columns // TILE, head // 8, TILE, 4), np.uint8)
    halves = carray(pointer(frozen[HALVES]), total, np.float32)
    excess = carray(pointer(frozen[EXCESS]), total, np.int32)
    units = carray(pointer(frozen[UNITS]), total, np.float32)
    own_excess = carray(pointer(frozen[OWN_EXCESS]), total, np.int32)
    bias = carray(pointer(frozen[BIAS]), total, np.float32)
    bounds = carray(pointer(frozen[BOUNDS]), 2, np.float32)
    shifts = carray(pointer(frozen[SHIFTS]), total, np.float32)
    tail_weight = frozen.view(np.float64)[TAIL_WEIGHT]
    overflow = frozen[OVERFLOW]
    most = cells.shape[1] - (1 if overflow >= 0 else 0)
    queries = vectors
    if frozen[METRIC] == EUCLIDEAN:
        mean = carray(pointer(frozen[MEAN]), dim, np.float32)
        queries = np.empty((vectors.shape[0], dim), np.float32)
        for row in range(vectors.shape[0]):
            draw_in(vectors[row], mean, frozen.view(np.float64)[SCALE], True, queries[row])
    elif frozen[METRIC] == INNER_PRODUCT:
        queries = np.empty((vectors.shape[0], dim), np.float32)
        lift_queries(vectors, queries)
    projected = np.empty((GROUP, width), np.float32)
    points = np.empty((GROUP, head), np.uint8)
    steps = np.empty(GROUP, np.float32)
    sums = np.empty((GROUP, columns), np.int32)
    order = np.full(columns, NEVER, np.int32)
    minima = np.empty(columns // STRIDE, np.int32)
    chosen = np.empty(total, np.int64)
    for start in range(0, queries.shape[0], GROUP):
        group = min(GROUP, queries.shape[0] - start)
        project_frozen(frozen, queries[start : start + group], projected[:group])
        for r in range(group):
            steps[r] = quantise(projected[r, :head], points[r])
        nibble_products(tiles, points[:group], sums[:group])
        for r in range(group):
            row = start + r
            deltas[row] = query_planes(projected[r], head, tail_weight, planes[row])
            grid = _rank_cells(sums[r], points[r], excess, halves, bias, bounds, steps[r], order)
            within = np.int64(min(np.float64(0.5 * reach) * grid, np.float64(NEVER)))
            held = nearest_of(order, total, most, within, minima, chosen)
            for i in range(held):
                first = frozen[LEVELS] + head * chosen[i]
                for line in range(first, first + head, CACHE_LINE):
                    prefetch(line)
            for i in range(held):
                cell = chosen[i]
                cells[row, i] = cell
                product = byte_sums(
                    points[r].ctypes.data, frozen[LEVELS] + head * cell, head // CACHE_LINE
                )
                product = np.float32(product - own_excess[cell]) * (units[cell] / steps[r])
                products[row, i] = product + shifts[cell]
            if overflow >= 0:
                cells[row, held] = overflow
                products[row, held] = np.float32(0.0)
                held += 1
            counts[row] = held
