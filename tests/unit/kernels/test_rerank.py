"""Scores from stored rows, against plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from streamlsh.kernels.encode import nibble_rows, normalize_rows, query_bytes
from streamlsh.kernels.rerank import rescore, scan_rows
from streamlsh.storage.rows import STRIP_ROWS, STRIP_SHIFT, RowLayout, Rows
from streamlsh.storage.schema import PAD
from tests.unit.kernels import twins
from tests.unit.kernels.memory import Memory

BLOCK_SHIFT = 6
F32 = NDArray[np.float32]


class Store:
    """Rows in two full blocks, an emptied one between them, and three strips."""

    def __init__(self, dim: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.dim = dim
        self.layout = RowLayout(dim, (dim + 31) // 32 * 16, BLOCK_SHIFT)
        capacity = self.layout.rows_per_block
        self.end = 3 * capacity + STRIP_ROWS + 13
        self.vectors = rng.standard_normal((self.end, dim), dtype=np.float32)
        self.vectors *= rng.choice([1e-6, 1, 1e6], (self.end, 1)).astype(np.float32)
        self.vectors[-1] = self.vectors[3]
        unit, inverse = np.empty_like(self.vectors), np.empty(self.end, np.float32)
        normalize_rows(self.vectors, unit, inverse)
        self.codes = np.empty((self.end, self.layout.code_width), np.uint8)
        self.step = np.empty(self.end, np.float32)
        nibble_rows(unit, self.codes, self.step)
        rows = Rows(self.vectors, self.codes, self.step, inverse)
        self.memory = Memory()

        def address(start: int, stop: int, room: int) -> int:
            packed = self.layout.pack(rows.part(start, min(stop, self.end)), room)
            return self.memory.keep(np.frombuffer(packed, np.uint8)) + PAD

        self.blocks = np.array(
            [
                0 if block == 1 else address(block * capacity, (block + 1) * capacity, capacity)
                for block in range(3)
            ],
            np.int64,
        )
        self.first_strip = 3 * capacity >> STRIP_SHIFT
        self.strips = np.array(
            [
                address(start, start + STRIP_ROWS, STRIP_ROWS)
                for start in range(3 * capacity, self.end, STRIP_ROWS)
            ],
            np.int64,
        )
        self.live = rng.random(self.end) < 0.8
        self.live[capacity : 2 * capacity] = False
        self.pages = self.memory.live_pages(self.live, absent=set())

    def where(self) -> tuple[NDArray[np.int64], NDArray[np.int64], int, int, int, int]:
        return (
            self.blocks, self.strips, self.first_strip, BLOCK_SHIFT, STRIP_SHIFT,
            self.layout.code_width,
        )  # fmt: skip

    def query(self, seed: int) -> F32:
        row = np.random.default_rng(seed).standard_normal((1, self.dim))
        return np.asarray(twins.unit_rows(row)[0], np.float32)

    def cosines(self, query: F32) -> NDArray[np.float64]:
        return np.asarray(twins.unit_rows(self.vectors) @ query.astype(np.float64))


DIMS = [1, 7, 16, 33, 128, 384]


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("limit", [1, 10, 1_000])
def test_a_scan_of_rows_gives_the_nearest_live_ones_in_order(dim: int, limit: int) -> None:
    store = Store(dim)
    for seed in range(4):
        query = store.query(seed)
        cosines = store.cosines(query)
        some = np.sort(np.random.default_rng(seed).choice(store.end, 9, replace=False))
        for excluded in (np.zeros(0, np.uint32), some.astype(np.uint32)):
            allowed = store.live.copy()
            allowed[excluded] = False
            room = 2 * max(limit, store.end)
            slots, scores = np.empty(room, np.uint32), np.empty(room, np.float32)
            held, whole = scan_rows(
                query, store.end, limit, store.pages, excluded, *store.where(), slots, scores
            )
            assert whole
            wanted = min(limit, allowed.sum())
            assert held >= wanted
            assert (scores[wanted - 1 : held] == scores[wanted - 1]).all(), "ties stay together"
            assert allowed[slots[:held]].all()
            assert len(set(slots[:held].tolist())) == held
            np.testing.assert_allclose(scores[:held], cosines[slots[:held]], atol=2e-6)
            best = np.sort(cosines[allowed])[::-1][:held]
            np.testing.assert_allclose(scores[:held], best, atol=2e-6)
            assert (np.diff(scores[:held]) <= 0).all()


@pytest.mark.parametrize("dim", DIMS)
def test_candidates_are_cut_by_sketch_then_by_codes_and_scored_exactly(dim: int) -> None:
    store = Store(dim)
    rng = np.random.default_rng(2)
    for rerank, exact in ((200, 200), (60, 12), (12, 60), (1, 1)):
        query = store.query(3)
        codes = np.empty(2 * store.layout.code_width, np.int8)
        step = query_bytes(query, codes)
        slots = rng.permutation(np.flatnonzero(store.live)).astype(np.uint32)
        sketches = rng.standard_normal(len(slots)).astype(np.float32)
        by_sketch = slots[np.argsort(-sketches, kind="stable")][:rerank]
        levels = twins.nibble_levels(store.codes[by_sketch], dim) - 7.5
        by_codes = (levels @ codes[:dim].astype(np.float64)) * step * store.step[by_sketch]
        candidates, scores = slots.copy(), sketches.copy()
        held = rescore(
            candidates, scores, len(slots), rerank, exact, query, codes, step, *store.where()
        )
        assert held >= min(rerank, exact, len(slots))
        found = candidates[:held]
        cosines = store.cosines(query)
        np.testing.assert_allclose(scores[:held], cosines[found], atol=2e-6)
        assert (np.diff(scores[:held]) <= 0).all()
        assert set(found.tolist()) <= set(by_sketch.tolist())
        # Whoever was cut is, by its codes, no better than whoever stayed, but for rounding.
        stayed = np.isin(by_sketch, found)
        if rerank > exact:
            assert by_codes[~stayed].max() <= by_codes[stayed].min() + 1e-4
            assert stayed.sum() >= exact
            assert stayed.sum() == exact or dim == 1, "only in one dimension do codes tie"


@pytest.mark.parametrize("dim", [33, 384])
def test_scores_by_codes_are_near_the_true_ones(dim: int) -> None:
    store = Store(dim)
    query = store.query(1)
    codes = np.empty(2 * store.layout.code_width, np.int8)
    step = query_bytes(query, codes)
    levels = twins.nibble_levels(store.codes, dim) - 7.5
    estimates = (levels @ codes[:dim].astype(np.float64)) * step * store.step
    errors = estimates - store.cosines(query)
    assert abs(errors.mean()) < 0.01
    assert errors.std() < 0.03


def test_no_candidates_are_no_hits() -> None:
    store = Store(16)
    query = store.query(0)
    codes = np.zeros(2 * store.layout.code_width, np.int8)
    slots, scores = np.empty(4, np.uint32), np.empty(4, np.float32)
    assert rescore(slots, scores, 0, 2, 2, query, codes, 1.0, *store.where()) == 0


def test_scores_of_a_row_are_the_same_bits_in_a_block_and_in_a_strip() -> None:
    store = Store(128)
    codes = np.zeros(2 * store.layout.code_width, np.int8)
    for seed in range(10):
        slots = np.array([3, store.end - 1], np.uint32)  # the same vector, twice
        scores = np.zeros(2, np.float32)
        rescore(slots, scores, 2, 2, 2, store.query(seed), codes, 1.0, *store.where())
        assert scores[0] == scores[1]
