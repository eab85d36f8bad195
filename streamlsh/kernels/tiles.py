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
from llvmlite.binding import initialize_native_asmparser
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from streamlsh.kernels.compiling import everywhere, has_feature, inlined, kernel
from streamlsh.kernels.sums import FLOATS, LANES, multiply_add

TILE = 64
"""Columns of a tile."""
GROUP = 4
"""Rows that meet a tile together."""
_PARTS = TILE // LANES

F32 = NDArray[np.float32]
I8 = NDArray[np.int8]
U8 = NDArray[np.uint8]
I32 = NDArray[np.int32]

_FLOAT, _I32, _I64 = ir.FloatType(), ir.IntType(32), ir.IntType(64)
_INTS = ir.VectorType(_I32, LANES)
_HAS_BYTE_PRODUCTS = has_feature("avx512vnni")
"""Whether kernels are compiled for a machine that multiplies and adds bytes in one instruction."""
if _HAS_BYTE_PRODUCTS:
    initialize_native_asmparser()


def tile_columns(matrix: F32) -> F32:
    """A (rows, columns) matrix as (tiles, rows, TILE); columns are a multiple of TILE."""
    rows, columns = matrix.shape
    tiles = matrix.reshape(rows, columns // TILE, TILE).transpose(1, 0, 2)
    return np.ascontiguousarray(tiles, np.float32)


def tile_points(points: I8) -> I8:
    """(n, width) points as (tiles, width / 4, TILE, 4), padded with zeros to whole tiles.

    Four coordinates of a point stand side by side, as the machine's multiply-add wants them.
    """
    count, width = len(points), -(-points.shape[1] // 4) * 4
    tiles = -(-count // TILE)
    padded = np.zeros((tiles * TILE, width), np.int8)
    padded[:count, : points.shape[1]] = points
    fours = padded.reshape(tiles, TILE, width // 4, 4).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(fours)


def tile_nibbles(levels: U8) -> U8:
    """(n, width) levels of 0 to 15 as (tiles, width / 8, TILE, 4), two in a byte.

    Of eight coordinates of a point the first four stand in the low halves of four bytes, the
    others above them. Points are padded with zeros to whole tiles; width is a multiple of 8.
    """
    count, width = levels.shape
    tiles = -(-count // TILE)
    padded = np.zeros((tiles * TILE, width // 8, 2, 4), np.uint8)
    padded[:count] = levels.reshape(count, width // 8, 2, 4)
    halves = padded[:, :, 0] | padded[:, :, 1] << 4
    return np.ascontiguousarray(halves.reshape(tiles, TILE, width // 8, 4).transpose(0, 2, 1, 3))


def quantise_points(points: F32) -> tuple[I8, F32, I32]:
    """(n, width) points in signed bytes: each in steps of its own.

    Returns:
        The bytes; (n,) what a step is worth; and (n,) 128 times the sum of each point's bytes,
        which ``byte_products`` gives too much.
    """
    largest = np.maximum(np.abs(points).max(axis=1), np.float32(1e-30))
    units = (largest / np.float32(127.0)).astype(np.float32)
    levels = np.rint(points / units[:, None]).astype(np.int8)
    return levels, units, 128 * levels.sum(axis=1, dtype=np.int32)


def quantise_to_nibbles(points: F32) -> tuple[U8, F32, I32]:
    """(n, width) points at 4 bits: levels of 0 to 15, of which 7.5 is zero.

    Returns:
        The levels; (n,) what half a step is worth; and (n,) 256 times the sum of each point's
        levels: with b a query's bytes, of which 128 is zero, the steps of ``<query, point>`` are
        ``2 <b, levels> - 256 sum(levels) - 15 sum(b - 128)`` times that.
    """
    largest = np.maximum(np.abs(points).max(axis=1), np.float32(1e-30))
    halves = (largest / np.float32(15.0)).astype(np.float32)
    levels = np.clip(np.rint(points / (2 * halves[:, None]) + np.float32(7.5)), 0, 15)
    return levels.astype(np.uint8), halves, 256 * levels.sum(axis=1).astype(np.int32)


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
def byte_products(tiles: I8, queries: U8, out: I32) -> None:
    """Exact integer inner products of queries with all points.

    Args:
        tiles: (tiles, width / 4, TILE, 4) by ``tile_points``.
        queries: (n, width), contiguous; n is at most ``GROUP``.
        out: (n, tiles * TILE), contiguous; written.
    """
    count, width = queries.shape
    columns = tiles.shape[0] * TILE
    for tile in range(tiles.shape[0]):
        points = tiles.ctypes.data + width * TILE * tile
        y = out.ctypes.data + 4 * TILE * tile
        if count == GROUP:
            _multiply_group(queries.ctypes.data, width, width // 4, points, y, 4 * columns)
        else:
            for row in range(count):
                x = queries.ctypes.data + width * row
                _multiply_one(x, 0, width // 4, points, y + 4 * columns * row, 0)


@inlined
def nibble_products(tiles: U8, queries: U8, out: I32) -> None:
    """Exact integer inner products of queries with the levels of all points.

    Args:
        tiles: (tiles, width / 8, TILE, 4) by ``tile_nibbles``.
        queries: as in ``byte_products``, like the next one.
        out: see there.
    """
    count, width = queries.shape
    columns = tiles.shape[0] * TILE
    for tile in range(tiles.shape[0]):
        points = tiles.ctypes.data + (width // 2) * TILE * tile
        y = out.ctypes.data + 4 * TILE * tile
        if count == GROUP:
            _multiply_group_nibbles(queries.ctypes.data, width, width // 8, points, y, 4 * columns)
        else:
            for row in range(count):
                x = queries.ctypes.data + width * row
                _multiply_one_nibbles(x, 0, width // 8, points, y + 4 * columns * row, 0)


def _over_a_tile(
    rows: int, element: Any, vector: Any, elements: int, step: Callable[..., Any]
) -> Any:
    """An intrinsic that runs ``step`` over one tile with the sums of ``rows`` rows in registers.

    Each step takes ``elements`` of an input row, of four bytes each, every one in all lanes.

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
                    builder.load(at(columns, size(64 * k), vector), align=4) for k in range(_PARTS)
                ]
                for r in range(rows):
                    values = []
                    for number in range(elements):
                        first = builder.add(builder.mul(x_row, size(r)), size(4 * number))
                        offset = builder.mul(loop.index, size(4 * elements))
                        place = at(x, builder.add(first, offset), element)
                        values.append(everywhere(builder, builder.load(place, align=1), LANES))
                    for k in range(_PARTS):
                        total = builder.load(sums[r][k])
                        builder.store(step(builder, *values, parts[k], total), sums[r][k])
            for r in range(rows):
                for k in range(_PARTS):
                    offset = builder.add(builder.mul(y_row, size(r)), size(64 * k))
                    builder.store(builder.load(sums[r][k]), at(y, offset, vector), align=4)
            return context.get_dummy_value()

        return types.none(*(types.int64,) * 6), generate

    return over_a_tile


def _multiply_add_bytes(builder: Any, value: Any, part: Any, total: Any) -> Any:
    """Adds to each lane the products of its four unsigned bytes with four signed ones."""
    if _HAS_BYTE_PRODUCTS:
        # By its name in assembly: the compiler's own name for it takes other types every year.
        function = ir.FunctionType(_INTS, [_INTS] * 3)
        instruction = ir.InlineAsm(function, "vpdpbusd $3, $2, $0", "=v,0,v,v")
        return builder.call(instruction, [total, value, part])
    for byte in range(4):
        up = ir.Constant(_INTS, [24 - 8 * byte] * LANES)
        down = ir.Constant(_INTS, [24] * LANES)
        x = builder.lshr(builder.shl(value, up), down)
        y = builder.ashr(builder.shl(part, up), down)
        total = builder.add(total, builder.mul(x, y))
    return total


def _multiply_add_nibbles(builder: Any, low: Any, high: Any, part: Any, total: Any) -> Any:
    """The same with eight bytes: four with the low halves of ``part``, four with the others."""
    below, above = _halves(builder, part)
    total = _multiply_add_bytes(builder, low, below, total)
    return _multiply_add_bytes(builder, high, above, total)


def _halves(builder: Any, packed: Any) -> tuple[Any, Any]:
    """The low and the high four bits of every byte."""
    mask = ir.Constant(_INTS, [0x0F0F0F0F] * LANES)
    four = ir.Constant(_INTS, [4] * LANES)
    return builder.and_(packed, mask), builder.and_(builder.lshr(packed, four), mask)


@intrinsic
def byte_sums(typing_context: Any, query: Any, point: Any, steps: Any) -> Any:
    """``byte_sums(query, point, steps)``: a query's unsigned bytes times a point's signed ones.

    Both are addresses of 64 * steps bytes. Returns the exact integer sum of products.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        query, point, steps = arguments
        total = cgutils.alloca_once_value(builder, ir.Constant(_INTS, [0] * LANES))
        with cgutils.for_range(builder, steps) as loop:
            offset = builder.mul(loop.index, ir.Constant(_I64, 64))
            x, y = (
                builder.load(
                    builder.inttoptr(builder.add(base, offset), _INTS.as_pointer()), align=1
                )
                for base in (query, point)
            )
            builder.store(_multiply_add_bytes(builder, x, y, builder.load(total)), total)
        return _sum_of_lanes(builder, total)

    return types.int64(*(types.int64,) * 3), generate


def _sum_of_lanes(builder: Any, total: Any) -> Any:
    """The sum of the sixteen integers in a variable."""
    add = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(_I32, [_INTS]), "llvm.vector.reduce.add.v16i32"
    )
    return builder.sext(builder.call(add, [builder.load(total)]), _I64)


@intrinsic
def nibble_sums(typing_context: Any, codes: Any, query: Any, width: Any, steps: Any) -> Any:
    """``nibble_sums(codes, query, width, steps)``: a row's 4-bit codes times a query's bytes.

    ``codes`` and ``query`` are addresses; byte j of the codes holds coordinate j in its low half
    and coordinate ``width + j`` above, for each of 64 * steps bytes. Returns the exact integer
    sum of products.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        codes, query, width, steps = arguments

        def at(base: Any, offset: Any) -> Any:
            return builder.load(
                builder.inttoptr(builder.add(base, offset), _INTS.as_pointer()), align=1
            )

        total = cgutils.alloca_once_value(builder, ir.Constant(_INTS, [0] * LANES))
        with cgutils.for_range(builder, steps) as loop:
            offset = builder.mul(loop.index, ir.Constant(_I64, 64))
            packed = at(codes, offset)
            low, high = _halves(builder, packed)
            sums = _multiply_add_bytes(builder, low, at(query, offset), builder.load(total))
            above = at(query, builder.add(width, offset))
            builder.store(_multiply_add_bytes(builder, high, above, sums), total)
        return _sum_of_lanes(builder, total)

    return types.int64(*(types.int64,) * 4), generate


_project_one = _over_a_tile(1, _FLOAT, FLOATS, 1, multiply_add)
_project_group = _over_a_tile(GROUP, _FLOAT, FLOATS, 1, multiply_add)
_multiply_one = _over_a_tile(1, _I32, _INTS, 1, _multiply_add_bytes)
_multiply_group = _over_a_tile(GROUP, _I32, _INTS, 1, _multiply_add_bytes)
_multiply_one_nibbles = _over_a_tile(1, _I32, _INTS, 2, _multiply_add_nibbles)
_multiply_group_nibbles = _over_a_tile(GROUP, _I32, _INTS, 2, _multiply_add_nibbles)
