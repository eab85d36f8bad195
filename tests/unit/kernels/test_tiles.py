"""Products and sums over rows, against NumPy, whatever instructions the machine has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from streamlsh.kernels import tiles as kernels
from streamlsh.kernels.sums import LANES, inner_sums, residual_sums, squared_sums
from streamlsh.kernels.tiles import (
    GROUP,
    TILE,
    byte_products,
    byte_sums,
    nibble_products,
    nibble_sums,
    project_rows,
    quantise_points,
    quantise_to_nibbles,
    tile_columns,
    tile_nibbles,
    tile_points,
)
from tests.unit.kernels.fresh import fresh

F32 = NDArray[np.float32]
I8 = NDArray[np.int8]
U8 = NDArray[np.uint8]
Multiply = Callable[[I8, U8, NDArray[np.int32]], None]
Sum = Callable[[U8, I8], int]

BYTE_PRODUCTS = [
    pytest.param(True, id="one instruction"),
    pytest.param(False, id="any machine"),
]


def compiled(function: Any, byte_products: bool, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function compiled anew, for machines with or without products of bytes."""
    if byte_products and not kernels._HAS_BYTE_PRODUCTS:
        pytest.skip("this machine has no instruction for products of bytes")
    monkeypatch.setattr(kernels, "_HAS_BYTE_PRODUCTS", byte_products)
    return fresh(function)


def check_instructions(function: Any, byte_products: bool) -> None:
    """Two paths that are one and the same would prove nothing."""
    for code in function.inspect_asm().values():
        assert ("vpdpbusd" in code) == byte_products


def test_columns_come_in_tiles_row_after_row() -> None:
    matrix = np.arange(3 * 2 * TILE, dtype=np.float32).reshape(3, 2 * TILE)
    tiles = tile_columns(matrix)
    assert tiles.shape == (2, 3, TILE)
    np.testing.assert_array_equal(tiles[1], matrix[:, TILE:])


@pytest.mark.parametrize("dim", [1, 5, 384])
@pytest.mark.parametrize("width", [TILE, 4 * TILE])
def test_rows_are_projected_to_the_same_bits_alone_and_in_any_batch(dim: int, width: int) -> None:
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((dim, width), dtype=np.float32)
    offset = rng.standard_normal(width, dtype=np.float32)
    vectors = rng.standard_normal((11, dim), dtype=np.float32)
    tiles = tile_columns(matrix)
    together = np.empty((11, width), np.float32)
    project_rows(tiles, offset, vectors, together)
    expected = vectors.astype(np.float64) @ matrix.astype(np.float64) - offset
    np.testing.assert_allclose(together, expected, atol=1e-4)
    for first, last in ((0, 1), (3, 4), (10, 11), (2, 7), (1, 10)):
        part = np.empty((last - first, width), np.float32)
        project_rows(tiles, offset, vectors[first:last], part)
        assert part.tobytes() == together[first:last].tobytes()


@pytest.mark.parametrize("width", [4, 7, 128])
@pytest.mark.parametrize("count", [1, 64, 65, 130])
def test_points_are_in_bytes_each_in_steps_of_its_own(count: int, width: int) -> None:
    rng = np.random.default_rng(count)
    points = rng.standard_normal((count, width), dtype=np.float32)
    points *= rng.choice([1e-5, 1, 1e5], (count, 1)).astype(np.float32)
    points[0] = 0
    levels, units, excess = quantise_points(points)
    np.testing.assert_array_equal(np.abs(levels[1:]).max(axis=1), np.full(count - 1, 127))
    np.testing.assert_allclose(levels, points / units[:, None], atol=0.5 + 1e-4)
    assert not levels[0].any()
    np.testing.assert_array_equal(excess, 128 * levels.astype(np.int64).sum(axis=1))


@pytest.mark.parametrize("has", BYTE_PRODUCTS)
@pytest.mark.parametrize("width", [4, 128, 254])
def test_products_of_bytes_are_exact(
    width: int, has: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    multiply: Multiply = compiled(byte_products.py_func, has, monkeypatch)  # type: ignore[attr-defined]
    rng = np.random.default_rng(0)
    for count in (1, 63, 64, 65, 300):
        points = rng.integers(-128, 128, (count, width)).astype(np.int8)
        points[0], points[-1] = 127, -128
        tiles = tile_points(points)
        assert tiles.shape == (-(-count // TILE), -(-width // 4), TILE, 4)
        padded = 4 * tiles.shape[1]
        for queries in range(1, GROUP + 1):
            asked = np.zeros((queries, padded), np.uint8)
            asked[:, :width] = rng.integers(0, 256, (queries, width))
            asked[0, :width] = 255
            out = np.full((queries, tiles.shape[0] * TILE), -1, np.int32)
            multiply(tiles, asked, out)
            expected = asked[:, :width].astype(np.int64) @ points.T.astype(np.int64)
            np.testing.assert_array_equal(out[:, :count], expected)
            assert not out[:, count:].any(), "what pads the tiles is zero"
    check_instructions(multiply, has)


def test_products_of_bytes_estimate_those_of_the_points() -> None:
    rng = np.random.default_rng(1)
    points = rng.standard_normal((100, 128), dtype=np.float32)
    levels, units, excess = quantise_points(points)
    query = rng.standard_normal((1, 128), dtype=np.float32)
    unit = np.abs(query).max() / 127
    out = np.empty((1, 2 * TILE), np.int32)
    byte_products(tile_points(levels), (np.rint(query / unit) + 128).astype(np.uint8), out)
    estimates = (out[0, :100] - excess) * unit * units
    np.testing.assert_allclose(estimates, points @ query[0], atol=0.5)


def test_of_eight_levels_four_stand_in_the_low_halves_of_bytes_and_four_above_them() -> None:
    rng = np.random.default_rng(0)
    for count, width in ((1, 8), (64, 128), (65, 24), (300, 256)):
        levels = rng.integers(0, 16, (count, width)).astype(np.uint8)
        tiles = tile_nibbles(levels)
        assert tiles.shape == (-(-count // TILE), width // 8, TILE, 4)
        assert tiles.flags.c_contiguous
        padded = np.zeros((len(tiles) * TILE, width), np.uint8)
        for tile, eight, point, four in np.ndindex(tiles.shape):
            byte = tiles[tile, eight, point, four]
            padded[TILE * tile + point, 8 * eight + four] = byte & 15
            padded[TILE * tile + point, 8 * eight + 4 + four] = byte >> 4
        np.testing.assert_array_equal(padded[:count], levels)
        assert not padded[count:].any()


@pytest.mark.parametrize("has", BYTE_PRODUCTS)
@pytest.mark.parametrize("width", [8, 24, 128, 256])
def test_products_of_bytes_with_levels_are_exact(
    width: int, has: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    multiply: Any = compiled(nibble_products.py_func, has, monkeypatch)  # type: ignore[attr-defined]
    rng = np.random.default_rng(0)
    for count in (1, 63, 64, 65, 300):
        levels = rng.integers(0, 16, (count, width)).astype(np.uint8)
        levels[0] = 15
        tiles = tile_nibbles(levels)
        for queries in range(1, GROUP + 1):
            asked = rng.integers(0, 256, (queries, width)).astype(np.uint8)
            asked[0] = 255
            out = np.full((queries, tiles.shape[0] * TILE), -1, np.int32)
            multiply(tiles, asked, out)
            expected = asked.astype(np.int64) @ levels.T.astype(np.int64)
            np.testing.assert_array_equal(out[:, :count], expected)
            assert not out[:, count:].any(), "what pads the tiles is zero"
    check_instructions(multiply, has)


@pytest.mark.parametrize("width", [8, 128, 256])
@pytest.mark.parametrize("count", [1, 64, 130])
def test_points_at_four_bits_are_within_half_a_step_each_in_steps_of_its_own(
    count: int, width: int
) -> None:
    rng = np.random.default_rng(count)
    points = rng.standard_normal((count, width), dtype=np.float32)
    points *= rng.choice([1e-5, 1, 1e5], (count, 1)).astype(np.float32)
    points[0] = 0
    levels, halves, excess = quantise_to_nibbles(points)
    assert [part.dtype.char for part in (levels, halves, excess)] == list("Bfi")
    assert levels.max() <= 15
    values = 2 * halves[:, None].astype(np.float64) * (levels - 7.5)
    assert (np.abs(values - points) <= 1.0001 * halves[:, None]).all()
    np.testing.assert_allclose(halves[1:], np.abs(points[1:]).max(axis=1) / 15, rtol=1e-6)
    ends = (levels == 0) | (levels == 15)
    assert ends[1:].any(axis=1).all(), "the largest magnitude takes the last level"
    np.testing.assert_array_equal(excess, 256 * levels.astype(np.int64).sum(axis=1))


def test_products_of_levels_give_those_of_the_quantised_points_exactly() -> None:
    rng = np.random.default_rng(1)
    points = rng.standard_normal((100, 128), dtype=np.float32)
    levels, halves, excess = quantise_to_nibbles(points)
    query = rng.integers(0, 256, (GROUP, 128)).astype(np.uint8)
    query[0], query[1] = 255, 0
    sums = np.empty((GROUP, 2 * TILE), np.int32)
    nibble_products(tile_nibbles(levels), query, sums)
    signed = query.astype(np.int64) - 128
    steps = 2 * sums[:, :100].astype(np.int64) - excess - 15 * signed.sum(axis=1)[:, None]
    np.testing.assert_array_equal(steps, signed @ (2 * levels.astype(np.int64) - 15).T)
    assert np.abs(steps).max() < 2**24, "whole numbers that float32 has"
    errors = steps * halves.astype(np.float64) - signed @ points.T.astype(np.float64)
    most = np.abs(signed).sum(axis=1)[:, None] * halves * 1.0001
    assert (np.abs(errors) <= most).all()


def bytes_of(query: Any, point: Any) -> int:
    total: int = byte_sums(query.ctypes.data, point.ctypes.data, query.shape[0] // 64)
    return total


@pytest.mark.parametrize("has", BYTE_PRODUCTS)
def test_the_product_of_a_querys_bytes_with_a_points_is_exact(
    has: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    total = compiled(bytes_of, has, monkeypatch)
    rng = np.random.default_rng(0)
    for width in (0, 64, 128, 256, 1024):
        for query in (rng.integers(0, 256, width).astype(np.uint8), np.full(width, 255, np.uint8)):
            for point in (
                rng.integers(-128, 128, width).astype(np.int8),
                np.full(width, -128, np.int8),
                np.full(width, 127, np.int8),
            ):
                assert total(query, point) == query.astype(np.int64) @ point.astype(np.int64)
    check_instructions(total, has)


def nibbles(codes: Any, query: Any, width: int) -> int:
    total: int = nibble_sums(codes.ctypes.data, query.ctypes.data, width, width // 64)
    return total


@pytest.mark.parametrize("has", BYTE_PRODUCTS)
def test_products_of_nibbles_with_bytes_are_exact(
    has: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    total = compiled(nibbles, has, monkeypatch)
    rng = np.random.default_rng(0)
    for width in (0, 64, 192, 512):
        for low, high in ((0, 256), (255, 256), (0, 1)):
            codes = rng.integers(low, high, width).astype(np.uint8)
            for query in (
                rng.integers(-128, 128, 2 * width).astype(np.int8),
                np.full(2 * width, -128, np.int8),
                np.full(2 * width, 127, np.int8),
            ):
                wide = query.astype(np.int64)
                expected = (codes & 15) @ wide[:width] + (codes >> 4) @ wide[width:]
                assert total(codes, query, width) == expected
    check_instructions(total, has)


@fresh
def inner(x: Any, y: Any, out: Any) -> None:
    inner_sums(x.ctypes.data, y.ctypes.data, x.shape[0] // LANES, out.ctypes.data)


@fresh
def squared(x: Any, y: Any, out: Any) -> None:
    squared_sums(x.ctypes.data, y.ctypes.data, x.shape[0] // LANES, out.ctypes.data)


@fresh
def residual(point: Any, centre: Any, other: Any, out: Any) -> None:
    residual_sums(
        point.ctypes.data, centre.ctypes.data, other.ctypes.data, point.shape[0] // LANES,
        out.ctypes.data,
    )  # fmt: skip


def by_lanes(products: NDArray[Any]) -> NDArray[Any]:
    """Sixteen sums: of every sixteenth number."""
    return np.asarray(products.reshape(-1, LANES).sum(axis=0))


@pytest.mark.parametrize("size", [0, 16, 48, 384])
def test_running_sums_are_those_of_every_sixteenth_product(size: int) -> None:
    rng = np.random.default_rng(size)
    # Small whole numbers first: their sums are exact.
    for values in (rng.integers(-9, 10, (3, size)), rng.standard_normal((3, size))):
        x, y, z = values.astype(np.float32)
        wide = values.astype(np.float32).astype(np.float64)
        one, two = np.full(LANES, 7, np.float32), np.full((2, LANES), 7, np.float32)
        atol = 0 if values.dtype == np.int64 else 2e-5
        inner(x, y, one)
        np.testing.assert_allclose(one, by_lanes(wide[0] * wide[1]), rtol=0, atol=atol)
        squared(x, y, one)
        np.testing.assert_allclose(one, by_lanes((wide[0] - wide[1]) ** 2), rtol=0, atol=atol)
        residual(x, y, z, two)
        r = wide[0] - wide[1]
        np.testing.assert_allclose(two[0], by_lanes(r * r), rtol=0, atol=atol)
        np.testing.assert_allclose(two[1], by_lanes(r * wide[2]), rtol=0, atol=atol)


def test_a_product_and_its_sum_are_rounded_once() -> None:
    """Else bits would depend on whether a machine has such an instruction."""
    size = 2 * LANES
    x, y = np.ones((2, size), np.float32)
    x[:LANES] = -(1 + 2**-11)
    x[LANES:] = y[LANES:] = 1 + 2**-12  # the square is 1 + 2^-11 + 2^-24
    out = np.empty(LANES, np.float32)
    inner(x, y, out)
    np.testing.assert_array_equal(out, np.full(LANES, 2.0**-24, np.float32))
