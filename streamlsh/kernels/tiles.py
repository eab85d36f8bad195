"""Products of rows with a frozen matrix, 64 columns at a time.

A tile is 64 columns of the matrix, stored one matrix row after another, so that it streams
through the cache. Up to four input rows meet a tile together, each with its running sums in
registers. Every sum runs over the matrix rows in order, whichever way the rows are grouped, so
a row's result is the same bits alone or in any batch.

The inner loops are emitted as vector operations of fixed width, which the compiler lowers for
whatever registers the machine has; left to itself it reloads the sums at every step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from streamlsh.kernels.compiling import inlined, kernel

TILE = 64
"""Columns of a tile."""
GROUP = 4
"""Rows that meet a tile together."""
LANES = 16
_PARTS = TILE // LANES

F32 = NDArray[np.float32]
I16 = NDArray[np.int16]
I32 = NDArray[np.int32]

_FLOAT, _I16, _I32, _I64 = ir.FloatType(), ir.IntType(16), ir.IntType(32), ir.IntType(64)
_FLOATS = ir.VectorType(_FLOAT, LANES)
_INTS = ir.VectorType(_I32, LANES)
_PAIRS = ir.VectorType(_I16, 2 * LANES)


def tile_columns(matrix: F32) -> F32:
    """A (rows, columns) matrix as (tiles, rows, TILE); columns are a multiple of TILE."""
    rows, columns = matrix.shape
    tiles = matrix.reshape(rows, columns // TILE, TILE).transpose(1, 0, 2)
    return np.ascontiguousarray(tiles, np.float32)


def tile_points(points: I16) -> I16:
    """(n, width) points as (tiles, width / 2, TILE, 2), padded with zeros to whole tiles.

    Two coordinates of a point stand side by side, as the machine's multiply-add wants them.
    """
    count, width = points.shape
    tiles = -(-count // TILE)
    padded = np.zeros((tiles * TILE, width), np.int16)
    padded[:count] = points
    pairs = padded.reshape(tiles, TILE, width // 2, 2).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(pairs)


@kernel
def project_rows(tiles: F32, offset: F32, vectors: F32, out: F32) -> None:
    """``out = vectors @ matrix - offset``.

    Args:
        tiles: (width / TILE, dim, TILE) the matrix by ``tile_columns``.
        offset: (width,).
        vectors: (n, dim), contiguous.
        out: (n, width), contiguous; written.
    """
    count, dim = vectors.shape
    width = tiles.shape[0] * TILE
    row = 0
    while row < count:
        step = GROUP if row + GROUP <= count else 1
        for tile in range(tiles.shape[0]):
            x = vectors.ctypes.data + 4 * dim * row
            columns = tiles.ctypes.data + 4 * dim * TILE * tile
            y = out.ctypes.data + 4 * (width * row + TILE * tile)
            if step == GROUP:
                _project_group(x, 4 * dim, dim, columns, y, 4 * width)
            else:
                _project_one(x, 4 * dim, dim, columns, y, 4 * width)
        row += step
    for row in range(count):
        for j in range(width):
            out[row, j] -= offset[j]


@inlined
def point_products(tiles: I16, queries: I16, out: I32) -> None:
    """Exact integer inner products of queries with all points.

    Args:
        tiles: (tiles, width / 2, TILE, 2) by ``tile_points``.
        queries: (n, width), contiguous; n is at most ``GROUP``.
        out: (n, tiles * TILE), contiguous; written.
    """
    count, width = queries.shape
    columns = tiles.shape[0] * TILE
    for tile in range(tiles.shape[0]):
        points = tiles.ctypes.data + 2 * width * TILE * tile
        y = out.ctypes.data + 4 * TILE * tile
        if count == GROUP:
            _multiply_group(queries.ctypes.data, 2 * width, width // 2, points, y, 4 * columns)
        else:
            for row in range(count):
                x = queries.ctypes.data + 2 * width * row
                _multiply_one(x, 0, width // 2, points, y + 4 * columns * row, 0)


@intrinsic
def residual_sums(
    typing_context: Any, point: Any, centre: Any, other: Any, steps: Any, out: Any
) -> Any:
    """``residual_sums(point, centre, other, steps, out)``, all but ``steps`` addresses.

    With r = point - centre, both of 16 * steps float32: sixteen running sums of r * r and of
    r * other, in two vectors at ``out``.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        point, centre, other, steps, out = arguments

        def at(base: Any, offset: Any) -> Any:
            return builder.inttoptr(builder.add(base, offset), _FLOATS.as_pointer())

        nothing = ir.Constant(_FLOATS, [0.0] * LANES)
        sums = [cgutils.alloca_once_value(builder, nothing) for _ in range(2)]
        with cgutils.for_range(builder, steps) as loop:
            offset = builder.mul(loop.index, ir.Constant(_I64, 4 * LANES))
            p, c, o = (builder.load(at(base, offset), align=4) for base in (point, centre, other))
            residual = builder.fsub(p, c)
            for place, factor in zip(sums, (residual, o), strict=True):
                builder.store(_multiply_add(builder, residual, factor, builder.load(place)), place)
        for number, place in enumerate(sums):
            offset = ir.Constant(_I64, 4 * LANES * number)
            builder.store(builder.load(place), at(out, offset), align=4)
        return context.get_dummy_value()

    return types.none(*(types.int64,) * 5), generate


def _over_a_tile(
    rows: int, element: Any, vector: Any, bytes_in: int, step: Callable[..., Any]
) -> Any:
    """An intrinsic that runs ``step`` over one tile with the sums of ``rows`` rows in registers.

    Its arguments are addresses and sizes in bytes: of the input rows, from one to the next, how
    many steps, of the tile, of the output rows, from one to the next.
    """

    @intrinsic
    def over_a_tile(
        typing_context: Any, x: Any, x_row: Any, steps: Any, tile: Any, y: Any, y_row: Any
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            x, x_row, steps, tile, y, y_row = arguments

            def at(base: Any, offset: Any, kind: Any) -> Any:
                return builder.inttoptr(builder.add(base, offset), kind.as_pointer())

            def size(number: int) -> Any:
                return ir.Constant(_I64, number)

            sums = [
                [cgutils.alloca_once_value(builder, ir.Constant(vector, [0] * LANES))
                 for _ in range(_PARTS)]
                for _ in range(rows)
            ]  # fmt: skip
            with cgutils.for_range(builder, steps) as loop:
                columns = builder.add(tile, builder.mul(loop.index, size(4 * TILE)))
                parts = [
                    builder.load(at(columns, size(64 * k), _tile_vector(vector)), align=4)
                    for k in range(_PARTS)
                ]
                for r in range(rows):
                    offset = builder.add(
                        builder.mul(x_row, size(r)), builder.mul(loop.index, size(bytes_in))
                    )
                    value = _everywhere(builder, builder.load(at(x, offset, element), align=2))
                    for k in range(_PARTS):
                        total = builder.load(sums[r][k])
                        builder.store(step(builder, value, parts[k], total), sums[r][k])
            for r in range(rows):
                for k in range(_PARTS):
                    offset = builder.add(builder.mul(y_row, size(r)), size(64 * k))
                    builder.store(builder.load(sums[r][k]), at(y, offset, vector), align=4)
            return context.get_dummy_value()

        return types.none(*(types.int64,) * 6), generate

    return over_a_tile


def _tile_vector(vector: Any) -> Any:
    return _PAIRS if vector is _INTS else vector


def _everywhere(builder: Any, value: Any) -> Any:
    """One value in all lanes."""
    vector = ir.VectorType(value.type, LANES)
    nothing = ir.Constant(vector, ir.Undefined)
    one = builder.insert_element(nothing, value, ir.Constant(_I32, 0))
    return builder.shuffle_vector(one, nothing, ir.Constant(_INTS, [0] * LANES))


def _multiply_add(builder: Any, value: Any, part: Any, total: Any) -> Any:
    """``value * part + total``, rounded once: the same bits with and without such hardware."""
    function = ir.FunctionType(_FLOATS, [_FLOATS] * 3)
    fused = cgutils.get_or_insert_function(builder.module, function, "llvm.fma.v16f32")
    return builder.call(fused, [value, part, total])


def _multiply_add_pairs(builder: Any, value: Any, part: Any, total: Any) -> Any:
    """Adds to each lane the products of its two int16, in the form the compiler recognises."""
    wide = ir.VectorType(_I32, 2 * LANES)
    pairs = builder.bitcast(value, _PAIRS)
    products = builder.mul(builder.sext(part, wide), builder.sext(pairs, wide))
    nothing = ir.Constant(wide, ir.Undefined)
    even = ir.Constant(_INTS, list(range(0, 2 * LANES, 2)))
    odd = ir.Constant(_INTS, list(range(1, 2 * LANES, 2)))
    both = builder.add(
        builder.shuffle_vector(products, nothing, even),
        builder.shuffle_vector(products, nothing, odd),
    )
    return builder.add(total, both)


_project_one = _over_a_tile(1, _FLOAT, _FLOATS, 4, _multiply_add)
_project_group = _over_a_tile(GROUP, _FLOAT, _FLOATS, 4, _multiply_add)
_multiply_one = _over_a_tile(1, _I32, _INTS, 4, _multiply_add_pairs)
_multiply_group = _over_a_tile(GROUP, _I32, _INTS, 4, _multiply_add_pairs)
