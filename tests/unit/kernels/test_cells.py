"""Cells of items and queries, against plain NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from streamlsh.kernels.cells import (
    NEVER,
    STRIDE,
    assign_cells,
    encode_in_cells,
    nearest_of,
)
from streamlsh.kernels.compiling import kernel
from streamlsh.kernels.tiles import (
    GROUP,
    TILE,
    byte_products,
    project_rows,
    quantise_points,
    tile_columns,
    tile_points,
)
from tests.unit.kernels import twins

HEAD, WIDTH, DIM = 128, 256, 40
F32 = NDArray[np.float32]


@kernel
def products_of(tiles: Any, queries: Any, out: Any) -> None:
    byte_products(tiles, queries, out)


@kernel
def places_of(order: Any, count: int, most: int, reach: int, minima: Any, chosen: Any) -> int:
    return nearest_of(order, count, most, reach, minima, chosen)


class Cells:
    """Random centres as a family prepares them, and a projection onto their space."""

    def __init__(self, count: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.centres = rng.standard_normal((count, HEAD), dtype=np.float32)
        levels, self.scales, self.excess = quantise_points(self.centres)
        self.tiles = tile_points(levels)
        norms = (self.centres.astype(np.float64) ** 2).sum(axis=1)
        self.half_norms = (norms / 2).astype(np.float32)
        sums = float(np.abs(self.centres).sum(axis=1).max())
        self.bounds = np.array([self.half_norms.max(), sums], np.float32)
        self.frame = np.linalg.qr(rng.standard_normal((WIDTH, DIM)))[0].T.astype(np.float32)

    def assign(self, projected: F32, nearest: int) -> NDArray[np.uint32]:
        found = np.empty((len(projected), 2), np.uint32)
        assign_cells(
            projected, self.centres, self.tiles, self.scales, self.excess, self.half_norms,
            self.bounds, nearest, 1.5, found,
        )  # fmt: skip
        return found


@pytest.mark.parametrize("count", [1, 5, 63, 64, 65, 300])
@pytest.mark.parametrize("queries", range(1, GROUP + 1))
def test_products_of_bytes_are_exact(count: int, queries: int) -> None:
    rng = np.random.default_rng(0)
    points = rng.integers(-127, 128, (count, 256)).astype(np.int8)
    points[0] = 127
    asked = rng.integers(1, 256, (queries, 256)).astype(np.uint8)
    asked[0] = 255
    tiles = tile_points(points)
    out = np.empty((queries, tiles.shape[0] * TILE), np.int32)
    products_of(tiles, asked, out)
    expected = asked.astype(np.int64) @ points.astype(np.int64).T
    np.testing.assert_array_equal(out[:, :count], expected)


@pytest.mark.parametrize("size", [1, 2, 63, 64, 65, 500])
@pytest.mark.parametrize("most", [1, 3, 16, 70, 500])
@pytest.mark.parametrize("reach", [0, 5, 2**31 - 1])
def test_the_smallest_in_order_with_ties_to_the_lower_place(
    size: int, most: int, reach: int
) -> None:
    rng = np.random.default_rng(size)
    for values in (rng.integers(-9, 9, size), rng.permutation(size), -np.arange(size)):
        numbers = np.full(-(-size // STRIDE) * STRIDE, NEVER, np.int32)
        numbers[:size] = values
        chosen = np.full(size, -1, np.int64)
        minima = np.empty(len(numbers) // STRIDE, np.int32)
        held = places_of(numbers, size, most, reach, minima, chosen)
        within = np.argsort(values, kind="stable")[: int((values <= values.min() + reach).sum())]
        np.testing.assert_array_equal(chosen[:held], within[:most])


@pytest.mark.parametrize("cells", [1, 2, 5, 64, 200])
@pytest.mark.parametrize("rows", [1, 2, 4, 7, 32])
def test_an_item_goes_into_its_nearest_cell_and_the_one_that_complements_it(
    cells: int, rows: int
) -> None:
    family = Cells(cells)
    projected = np.random.default_rng(rows).standard_normal((rows, HEAD), dtype=np.float32)
    projected[0] = family.centres[-1]  # no residual at all
    found = family.assign(projected, cells)
    exact = projected[:, None].astype(np.float64) - family.centres
    order = np.argsort((exact**2).sum(axis=2), axis=1, kind="stable")
    for row in range(rows):
        first, second = twins.two_cells(
            projected[row].astype(np.float64), family.centres.astype(np.float64), order[row], 1.5
        )
        assert found[row].tolist() == [first, second]
    assert found[0, 0] == cells - 1


def test_the_nearest_cell_among_the_nearest_in_bytes_is_the_nearest_of_all() -> None:
    family = Cells(300)
    projected = np.random.default_rng(5).standard_normal((200, HEAD), dtype=np.float32)
    found = family.assign(projected, 16)
    distances = ((projected[:, None] - family.centres[None]) ** 2).sum(axis=2)
    np.testing.assert_array_equal(found[:, 0], distances.argmin(axis=1))


@pytest.mark.parametrize("rows", [1, 3, 255, 256, 257, 600])
def test_encoding_in_cells_is_projecting_choosing_cells_and_sketching_residuals(rows: int) -> None:
    family, weight = Cells(70), 0.6
    rng = np.random.default_rng(3)
    offset = rng.standard_normal(WIDTH, dtype=np.float32)
    points = twins.unit_rows(rng.standard_normal((rows, DIM))).astype(np.float32)
    weights = rng.uniform(0.5, 2, rows).astype(np.float32)
    penalties = rng.standard_normal(rows).astype(np.float32)
    shifts = rng.standard_normal(70).astype(np.float32)
    tiles = tile_columns(family.frame)
    cells = np.empty((rows, 2), np.uint32)
    bits = np.empty((2 * rows, WIDTH // 64), np.uint64)
    f, a = np.empty(2 * rows, np.float32), np.empty(2 * rows, np.float32)
    encode_in_cells(
        points, weights, penalties, tiles, offset, family.centres, family.tiles, family.scales,
        family.excess, family.half_norms, family.bounds, shifts, 16, 1.5, weight, cells, bits,
        f, a,
    )  # fmt: skip
    projected = np.empty((rows, WIDTH), np.float32)
    project_rows(tiles, offset, points, projected)
    expected = family.assign(np.ascontiguousarray(projected[:, :HEAD]), 16)
    np.testing.assert_array_equal(cells, expected)
    centres = np.zeros((2 * rows, WIDTH), np.float32)
    centres[:, :HEAD] = family.centres[cells.reshape(-1)]
    residuals = np.repeat(projected, 2, axis=0) - centres
    np.testing.assert_array_equal(bits, twins.packed_bits(residuals >= 0))
    f_twin, a_twin = twins.sketch(
        residuals.astype(np.float64), centres.astype(np.float64), offset.astype(np.float64),
        HEAD, weight, (residuals.astype(np.float64) ** 2).sum(axis=1),
    )  # fmt: skip
    each = np.repeat(weights, 2)
    taken = np.repeat(penalties, 2) + shifts[cells.reshape(-1)]
    np.testing.assert_allclose(f, each * f_twin, rtol=2e-5)
    np.testing.assert_allclose(a, each * a_twin - taken, rtol=1e-3, atol=4e-3)
