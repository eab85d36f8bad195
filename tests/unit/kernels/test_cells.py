"""Cells of items and queries, against plain NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from streamlsh.kernels.cells import LEVELS, assign_cells, encode_in_cells, rank_cells, smallest
from streamlsh.kernels.compiling import kernel
from streamlsh.kernels.tiles import (
    GROUP,
    point_products,
    project_rows,
    tile_columns,
    tile_points,
)
from tests.unit.kernels import twins

WIDTH = 128
F32 = NDArray[np.float32]


@kernel
def products_of(tiles: Any, queries: Any, out: Any) -> None:
    point_products(tiles, queries, out)


@kernel
def smallest_of(values: Any, count: int, chosen: Any) -> int:
    return smallest(values, count, chosen)


class Cells:
    """Random centres as a family prepares them."""

    def __init__(self, count: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.centres = rng.standard_normal((count, WIDTH), dtype=np.float32)
        self.scale = LEVELS / (2 * float(np.abs(self.centres).max()))
        self.quantised = np.rint(self.centres * np.float32(self.scale)).astype(np.int16)
        self.tiles = tile_points(self.quantised)
        squares = np.einsum("ij,ij->i", self.quantised, self.quantised, dtype=np.int64)
        self.half_norms = (squares // 2).astype(np.int32)

    def points(self, projected: F32) -> NDArray[np.int64]:
        levels = np.rint(projected * np.float32(self.scale))
        return np.asarray(np.clip(levels, -LEVELS, LEVELS), np.int64)

    def distances(self, projected: F32) -> NDArray[np.int64]:
        """(n, cells) what cells are ranked by: half a squared distance, in whole steps."""
        products = self.points(projected) @ self.quantised.astype(np.int64).T
        return np.asarray(self.half_norms - products, np.int64)


@pytest.mark.parametrize("count", [1, 5, 63, 64, 65, 300])
@pytest.mark.parametrize("queries", range(1, GROUP + 1))
def test_products_of_integers_are_exact(count: int, queries: int) -> None:
    rng = np.random.default_rng(0)
    points = rng.integers(-LEVELS // 2, LEVELS // 2, (count, 256)).astype(np.int16)
    points[0] = LEVELS // 2
    asked = rng.integers(-LEVELS, LEVELS, (queries, 256)).astype(np.int16)
    asked[0] = -LEVELS
    tiles = tile_points(points)
    out = np.empty((queries, tiles.shape[0] * 64), np.int32)
    products_of(tiles, asked, out)
    expected = asked.astype(np.int64) @ points.astype(np.int64).T
    np.testing.assert_array_equal(out[:, :count], expected)


@pytest.mark.parametrize("size", [1, 2, 63, 64, 65, 500])
@pytest.mark.parametrize("count", [1, 3, 16, 70])
def test_the_smallest_in_order_with_ties_to_the_lower_index(size: int, count: int) -> None:
    rng = np.random.default_rng(size)
    for values in (rng.integers(-9, 9, size), rng.permutation(size), -np.arange(size)):
        numbers = values.astype(np.int32)
        chosen = np.full(count, -1, np.int64)
        held = smallest_of(numbers, count, chosen)
        assert held == min(count, size)
        expected = np.argsort(numbers, kind="stable")[:held]
        np.testing.assert_array_equal(chosen[:held], expected)


@pytest.mark.parametrize("cells", [1, 2, 5, 64, 200])
@pytest.mark.parametrize("rows", [1, 2, 4, 7, 32])
def test_an_item_goes_into_its_nearest_cell_and_the_one_that_complements_it(
    cells: int, rows: int
) -> None:
    family = Cells(cells)
    projected = np.random.default_rng(rows).standard_normal((rows, WIDTH), dtype=np.float32)
    projected[0] = family.centres[-1]  # no residual at all
    nearest = min(16, cells)
    found = np.empty((rows, 2), np.uint32)
    assign_cells(
        projected, family.centres, family.tiles, family.half_norms, family.scale, nearest, 1.5,
        found,
    )  # fmt: skip
    order = np.argsort(family.distances(projected), axis=1, kind="stable")[:, :nearest]
    for row in range(rows):
        first, second = twins.two_cells(
            projected[row].astype(np.float64), family.centres.astype(np.float64), order[row], 1.5
        )
        assert found[row].tolist() == [first, second]
    assert found[0, 0] == cells - 1


def test_the_nearest_cell_by_integers_is_the_nearest_one_but_for_rounding() -> None:
    family = Cells(300)
    projected = np.random.default_rng(5).standard_normal((200, WIDTH), dtype=np.float32)
    found = np.empty((200, 2), np.uint32)
    assign_cells(
        projected, family.centres, family.tiles, family.half_norms, family.scale, 16, 1.5, found
    )
    distances = ((projected[:, None] - family.centres[None]) ** 2).sum(axis=2)
    chosen = distances[np.arange(200), found[:, 0]]
    assert (chosen <= distances.min(axis=1) * 1.002).all()


@pytest.mark.parametrize("cells", [1, 2, 64, 65, 700])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.5, 1.0])
def test_cells_of_a_query_come_by_distance_and_bias(cells: int, share: float) -> None:
    family = Cells(cells)
    rng = np.random.default_rng(1)
    bias = rng.standard_normal(cells).astype(np.float32)
    count = max(1, int(share * cells))
    for _ in range(5):
        projected = rng.standard_normal(WIDTH, dtype=np.float32)
        found = np.full(count, 9999, np.uint32)
        products = np.empty(count, np.float32)
        held = rank_cells(projected, family.tiles, family.scale, bias, count, found, products)
        assert held == count
        exact = family.points(projected[None])[0] @ family.quantised.astype(np.int64).T
        inner = exact / family.scale**2
        scores = bias - 2 * inner
        order = np.argsort(scores, kind="stable")[:count]
        np.testing.assert_allclose(scores[found], scores[order], rtol=1e-5, atol=1e-5)
        assert len(set(found.tolist())) == count
        np.testing.assert_allclose(products, inner[found], rtol=1e-5, atol=1e-5)
        true = family.centres[found].astype(np.float64) @ projected
        np.testing.assert_allclose(products, true, atol=0.15)


def test_cells_of_one_score_come_in_order_of_their_numbers() -> None:
    family = Cells(200)
    bias = np.zeros(200, np.float32)
    for count in (5, 200):
        found, products = np.empty(count, np.uint32), np.empty(count, np.float32)
        nowhere = np.zeros(WIDTH, np.float32)
        rank_cells(nowhere, family.tiles, family.scale, bias, count, found, products)
        np.testing.assert_array_equal(found, np.arange(count))


@pytest.mark.parametrize("rows", [1, 3, 255, 256, 257, 600])
def test_encoding_in_cells_is_projecting_choosing_cells_and_sketching_residuals(rows: int) -> None:
    family, dim, width, weight = Cells(70), 40, 256, 0.6
    rng = np.random.default_rng(3)
    basis = rng.standard_normal((dim, width), dtype=np.float32)
    offset = rng.standard_normal(width, dtype=np.float32)
    unit = twins.unit_rows(rng.standard_normal((rows, dim))).astype(np.float32)
    tiles = tile_columns(basis)
    cells = np.empty((rows, 2), np.uint32)
    bits = np.empty((2 * rows, width // 64), np.uint64)
    f, a = np.empty(2 * rows, np.float32), np.empty(2 * rows, np.float32)
    encode_in_cells(
        unit, tiles, offset, family.centres, family.tiles, family.half_norms, family.scale, 16,
        1.5, weight, cells, bits, f, a,
    )  # fmt: skip
    projected = np.empty((rows, width), np.float32)
    project_rows(tiles, offset, unit, projected)
    expected = np.empty((rows, 2), np.uint32)
    assign_cells(
        np.ascontiguousarray(projected[:, :WIDTH]), family.centres, family.tiles,
        family.half_norms, family.scale, 16, 1.5, expected,
    )  # fmt: skip
    np.testing.assert_array_equal(cells, expected)
    centres = np.zeros((2 * rows, width), np.float32)
    centres[:, :WIDTH] = family.centres[cells.reshape(-1)]
    residuals = np.repeat(projected, 2, axis=0) - centres
    np.testing.assert_array_equal(bits, twins.packed_bits(residuals >= 0))
    f_twin, a_twin = twins.sketch(
        residuals.astype(np.float64), centres.astype(np.float64), offset.astype(np.float64),
        WIDTH, weight, (residuals.astype(np.float64) ** 2).sum(axis=1),
    )  # fmt: skip
    np.testing.assert_allclose(f, f_twin, rtol=2e-5)
    np.testing.assert_allclose(a, a_twin, rtol=1e-3, atol=2e-3)
