"""Which cells a query looks into, against plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from streamlsh.kernels import frozen, where
from streamlsh.kernels.cell_probes import probe_cells
from streamlsh.kernels.cells import MOST
from streamlsh.kernels.encode import project_queries, quantise, query_planes
from streamlsh.kernels.lifting import draw_in, lift_queries
from streamlsh.kernels.tiles import (
    GROUP,
    quantise_points,
    quantise_to_nibbles,
    tile_nibbles,
    tile_points,
)

HEAD, WIDTH, DIM = 128, 256, 40
F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
U32 = NDArray[np.uint32]
Found = tuple[U32, F32, I64]
TAIL_WEIGHT = 0.7
SCALE = 0.4


class Probing:
    """Random centres as a family freezes them, and a projection onto their space.

    Attributes:
        bias, shifts: (cells,), random unless told otherwise.
        true: (n, cells) products of the queries given last, in float64.
        lengths: (n,) of their heads.
        planes, deltas: theirs as ``probe_cells`` wrote them.
    """

    def __init__(
        self, count: int, metric: int = where.COSINE, head: int = HEAD, seed: int = 0
    ) -> None:
        rng = np.random.default_rng(seed)
        self.metric, self.head = metric, head
        self.centres = rng.standard_normal((count, head), dtype=np.float32)
        self.half_norms = 0.5 * (self.centres**2).sum(axis=1)
        self.bias = self.half_norms + rng.standard_normal(count, dtype=np.float32)
        self.shifts = rng.standard_normal(count, dtype=np.float32)
        self.dim = DIM + (metric == where.INNER_PRODUCT)
        basis = np.linalg.qr(rng.standard_normal((WIDTH, self.dim)))[0]
        self.basis = np.ascontiguousarray(basis, np.float32)
        self.offset = 0.1 * rng.standard_normal(WIDTH, dtype=np.float32)
        self.mean = rng.standard_normal(self.dim, dtype=np.float32)

    def lifted(self, queries: F32) -> F32:
        """Queries as the metric wants them."""
        points = np.empty((len(queries), self.dim), np.float32)
        if self.metric == where.EUCLIDEAN:
            for row, query in enumerate(queries):
                draw_in(query, self.mean, SCALE, True, points[row])
        elif self.metric == where.INNER_PRODUCT:
            lift_queries(queries, points)
        else:
            points[:] = queries
        return points

    def bounds(self) -> F32:
        largest = max(float(np.abs(self.bias).max()), 1e-6)
        levels, halves, _ = quantise_to_nibbles(self.centres)
        sums = halves * np.abs(2 * levels.astype(np.int64) - 15).sum(axis=1)
        return np.array([largest, sums.max()], np.float32)

    def probe(self, queries: F32, most: int, reach: float = np.inf, overflow: int = -1) -> Found:
        columns, units, excess = quantise_points(self.basis)
        levels, halves, level_excess = quantise_to_nibbles(self.centres)
        array, kept = frozen.pack(
            frozen.CELLS,
            [
                tile_points(columns), units, excess, self.offset, WIDTH, self.dim, self.head,
                TAIL_WEIGHT, tile_nibbles(levels), halves, level_excess,
                *quantise_points(self.centres), self.bias, len(self.centres), self.bounds(),
                self.shifts, overflow, self.metric, self.mean, SCALE,
            ],
        )  # fmt: skip
        n = len(queries)
        self.planes, self.deltas = np.empty((n, 4, 4), np.uint64), np.empty(n, np.float32)
        cells = np.full((n, most + (overflow >= 0)), 9999, np.uint32)
        products = np.full(cells.shape, np.nan, np.float32)
        counts = np.full(n, -1, np.int64)
        probe_cells(array, queries, reach, self.planes, self.deltas, cells, products, counts)
        assert len(kept) == 14
        projected = self.lifted(queries).astype(np.float64) @ self.basis.T - self.offset
        head = projected[:, : self.head]
        self.true = head @ self.centres.T.astype(np.float64)
        self.lengths = np.linalg.norm(head, axis=1)
        return cells, products, counts

    def twin(self, query: F32, most: int, reach: float) -> tuple[list[int], F32, F32]:
        """The same of one query by whole numbers in NumPy: cells, their products; projected."""
        columns, units, excess = quantise_points(self.basis)
        projected = np.empty((1, WIDTH), np.float32)
        project_queries(
            tile_points(columns), units, excess, self.offset, self.lifted(query[None]), projected
        )
        point = np.empty(self.head, np.uint8)
        step = np.float32(quantise(projected[0, : self.head], point))
        signed = point.astype(np.int64) - 128
        levels, halves, _ = quantise_to_nibbles(self.centres)
        steps = (2 * levels.astype(np.int64) - 15) @ signed
        inverse = np.float32(1) / step
        ranks = self.bias - steps.astype(np.float32) * (inverse * halves)
        bounds = self.bounds()
        grid = MOST / (bounds[0] + bounds[1] * np.float32(128) * inverse)
        order = (ranks * grid).astype(np.int64)
        within = min(0.5 * reach * float(grid), 2.0**31)
        nearest = np.argsort(order, kind="stable")
        nearest = nearest[order[nearest] <= order.min() + within][:most]
        in_bytes, byte_units, _ = quantise_points(self.centres[nearest])
        exact = (in_bytes.astype(np.int64) @ signed).astype(np.float32)
        return nearest.tolist(), exact * (byte_units / step) + self.shifts[nearest], projected[0]


def normal(rows: int, seed: int = 1) -> F32:
    return np.random.default_rng(seed).standard_normal((rows, DIM), dtype=np.float32)


METRICS = pytest.mark.parametrize("metric", [where.COSINE, where.INNER_PRODUCT, where.EUCLIDEAN])


@METRICS
@pytest.mark.parametrize("head", [HEAD, WIDTH])
@pytest.mark.parametrize("cells", [1, 2, 64, 65, 700])
def test_cells_come_in_the_order_of_their_ranks_in_whole_numbers(
    cells: int, head: int, metric: int
) -> None:
    family = Probing(cells, metric, head)
    queries = normal(2 * GROUP + 3)
    queries[1] *= 1e-3
    queries[2] = 0
    for share, reach in ((0.0, np.inf), (0.1, np.inf), (1.0, np.inf), (1.0, 6.0), (0.3, 20.0)):
        most = max(1, int(share * cells))
        found, products, counts = family.probe(queries, most, reach)
        for row, query in enumerate(queries):
            expected, expected_products, projected = family.twin(query, most, reach)
            held = int(counts[row])
            assert found[row, :held].tolist() == expected
            np.testing.assert_array_equal(products[row, :held], expected_products)
            assert (found[row, held:] == 9999).all(), "nothing is written past what was found"
            planes = np.empty((4, WIDTH // 64), np.uint64)
            delta = query_planes(projected, head, TAIL_WEIGHT, planes)
            assert family.deltas[row] == np.float32(delta)
            np.testing.assert_array_equal(family.planes[row], planes)


@METRICS
@pytest.mark.parametrize("cells", [1, 2, 64, 65, 700])
@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
def test_cells_of_a_query_come_by_distance_and_bias(cells: int, share: float, metric: int) -> None:
    """By their centres at four bits, so one may come before another that is a little nearer."""
    family = Probing(cells, metric)
    most = max(1, int(share * cells))
    queries = normal(6)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    found, products, counts = family.probe(queries, most)
    true = family.true
    # Rounding to 4 bits is off by about 0.12 a coordinate: more than six times what that makes.
    near = 0.8 * family.lengths.max()
    assert (counts == most).all()
    for row in range(len(queries)):
        assert len(set(found[row].tolist())) == most
        ranks = (family.bias - true[row])[found[row]]
        best = np.sort(family.bias - true[row])[:most]
        np.testing.assert_allclose(np.sort(ranks), best, atol=near)
        np.testing.assert_allclose(np.diff(ranks)[np.diff(ranks) < 0], 0, atol=near)
        expected = (true[row] + family.shifts)[found[row]]
        np.testing.assert_allclose(products[row], expected, atol=near / 8)


def test_cells_beyond_the_reach_are_left_out_and_overflow_comes_last() -> None:
    family = Probing(90)
    queries = normal(5, 2)
    every, _, _ = family.probe(queries, 90)
    for most in (90, 3):
        near, products, counts = family.probe(queries, most, 20.0, overflow=90)
        for row in range(len(queries)):
            ranks = (family.bias - family.true[row])[every[row]]
            count = int((ranks <= ranks[0] + 10.0).sum())
            held = int(counts[row]) - 1
            if most == 90:
                assert abs(held - count) <= 3, "half of what squared distances differ by"
                assert 1 <= held < 90
            else:
                assert 1 <= held <= most
            np.testing.assert_array_equal(near[row, :held], every[row, :held])
            assert (near[row, held], products[row, held]) == (90, 0)


def test_cells_of_one_score_come_in_order_of_their_numbers() -> None:
    family = Probing(200)
    family.bias[:] = family.offset[:] = 0
    for most in (5, 200):
        found, _, _ = family.probe(np.zeros((1, DIM), np.float32), most)
        np.testing.assert_array_equal(found[0], np.arange(most))


@METRICS
def test_a_query_has_the_same_cells_alone_and_in_any_batch(metric: int) -> None:
    family = Probing(300, metric)
    queries = normal(11)
    together = family.probe(queries, 40, 30.0, overflow=300)
    for first, last in ((0, 1), (3, 7), (2, 11), (10, 11)):
        part = family.probe(queries[first:last].copy(), 40, 30.0, overflow=300)
        for ours, theirs in zip(part, (part_of[first:last] for part_of in together), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_what_is_packed_is_a_kind_addresses_whole_numbers_and_bits_of_floats() -> None:
    first = np.arange(6, dtype=np.float32)
    strided = np.arange(12, dtype=np.int32)[::2]
    array, kept = frozen.pack(frozen.AXES, [first, 7, -1, 0.25, strided, 3])
    kind, first_at, seven, below, quarter, strided_at, three = array.tolist()
    assert array.dtype == np.int64
    assert (frozen.KIND, kind) == (0, frozen.AXES)
    assert (seven, below, three) == (7, -1, 3)
    assert quarter == np.float64(0.25).view(np.int64)
    assert [held.ctypes.data for held in kept] == [first_at, strided_at]
    for held, given in zip(kept, (first, strided), strict=True):
        assert held.flags.c_contiguous
        np.testing.assert_array_equal(held, given)
