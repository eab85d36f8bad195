"""Scores from stored rows, against plain NumPy."""

from __future__ import annotations

import ctypes
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from streamlsh.kernels import where as places
from streamlsh.kernels.encode import query_bytes
from streamlsh.kernels.rerank import nibble_product, rescore, scan_rows
from streamlsh.kernels.where import compare_names, locate, locate_name
from streamlsh.storage.rows import STRIP_ROWS
from tests.unit.kernels import twins
from tests.unit.kernels.memory import I64, NOTHING, U32, Store

BLOCK_SHIFT = 6
ROOM = 1 << BLOCK_SHIFT
END = 3 * ROOM + STRIP_ROWS + 13
TWIN = END - 1
"""The last slot, in a strip, has the same vector as slot 3, in a block."""
ZERO = 9
DIMS = [1, 7, 16, 33, 128, 384]
METRICS = {
    "cosine": places.COSINE,
    "inner_product": places.INNER_PRODUCT,
    "euclidean": places.EUCLIDEAN,
}
F32 = NDArray[np.float32]


@cache
def store(dim: int, spread: float, zero: bool = False) -> Store:
    """Rows in two full blocks, an emptied one between them, and two strips.

    Their lengths differ by up to ``spread``; one may be zero, which cosine does not know.
    """
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((END, dim), dtype=np.float32)
    vectors *= rng.choice([1 / spread, 1, spread], (END, 1)).astype(np.float32)
    vectors[TWIN] = vectors[3]
    if zero:
        vectors[ZERO] = 0
    made = Store(vectors, BLOCK_SHIFT, emptied=(1,))
    made.live[[3, TWIN, ZERO]] = True
    made.pages = made.memory.live_pages(made.live)
    return made


def query_of(dim: int, metric: str, seed: int) -> F32:
    row = np.random.default_rng(seed).standard_normal((1, dim))
    unit = twins.unit_rows(row)[0] * (1 if metric == "cosine" else 3)
    return np.asarray(unit, np.float32)


def tolerance(made: Store, query: F32, metric: str) -> F32:
    """How far sums in float32 may be off, row by row."""
    lengths = np.linalg.norm(made.vectors.astype(np.float64), axis=1)
    length = float(np.linalg.norm(query))
    size = {
        "cosine": np.ones(END),
        "inner_product": lengths * length,
        "euclidean": (lengths + length) ** 2,
    }[metric]
    return np.asarray(2e-6 * size, np.float32)


def test_rows_and_names_are_found_in_blocks_and_strips() -> None:
    made = store(33, 1.0)
    where = made.where()
    for slot in np.flatnonzero(made.live).tolist():
        address, row, rows = locate(where, slot)
        assert rows == (ROOM if slot < 3 * ROOM else STRIP_ROWS)
        found = (ctypes.c_float * 33).from_address(address + 4 * 33 * row)
        assert list(found) == made.vectors[slot].tolist()
        name, length = locate_name(where, slot)
        assert ctypes.string_at(name, length) == made.ids[slot]


def test_a_name_that_ends_past_the_last_value_counts_as_empty() -> None:
    made = store(33, 1.0)
    for slot in np.flatnonzero(made.live)[::9].tolist():
        where = made.where()
        address, length = locate_name(where, slot)
        assert length
        where[places.VALUES_END] = address + length
        assert locate_name(where, slot) == (address, length)
        where[places.VALUES_END] -= 1
        assert locate_name(where, slot)[1] == 0


def test_names_are_compared_as_their_bytes_are() -> None:
    made = store(33, 1.0)
    where = made.where()
    some = np.random.default_rng(0).permutation(np.flatnonzero(made.live))[:40].tolist()
    for slot in [*some, 3, TWIN]:
        for other in some:
            found = compare_names(where, slot, other)
            name, second = made.ids[slot], made.ids[other]
            assert np.sign(found) == (name > second) - (name < second)


def test_rows_are_found_where_there_are_only_strips_and_only_blocks() -> None:
    for count in (1, STRIP_ROWS, ROOM - 1, ROOM, 2 * ROOM):
        made = Store(np.arange(count, dtype=np.float32).reshape(-1, 1) + 1, BLOCK_SHIFT)
        where = made.where()
        for slot in range(count):
            address, row, _ = locate(where, slot)
            assert ctypes.c_float.from_address(address + 4 * row).value == slot + 1


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("limit", [1, 10, 1_000])
def test_a_scan_of_rows_gives_the_nearest_live_ones_in_order(
    dim: int, limit: int, metric: str
) -> None:
    made = store(dim, 1e3, metric != "cosine")
    for seed in range(3):
        query = query_of(dim, metric, seed)
        exact = twins.exact_scores(made.vectors, query, metric)
        atol = tolerance(made, query, metric)
        some = np.sort(np.random.default_rng(seed).choice(END, 9, replace=False))
        for excluded in (NOTHING, some.astype(np.uint32)):
            allowed = made.live.copy()
            allowed[excluded] = False
            slots, scores = np.empty(2 * limit, np.uint32), np.empty(2 * limit, np.float32)
            held = scan_rows(
                made.where(METRICS[metric]), query, limit, made.pages, excluded, slots, scores
            )
            found = slots[:held]
            assert held == min(limit, allowed.sum())
            assert len(set(found.tolist())) == held
            assert allowed[found].all()
            assert (np.diff(scores[:held]) <= 0).all()
            assert (np.abs(scores[:held] - exact[found]) <= atol[found]).all()
            left = np.setdiff1d(np.flatnonzero(allowed), found)
            if len(left):
                last = found[-1]
                assert (exact[left] - atol[left] <= exact[last] + atol[last]).all()


@pytest.mark.parametrize("limit", [5, 90])
def test_of_rows_that_tie_a_scan_keeps_those_of_the_first_ids(limit: int) -> None:
    signs = np.random.default_rng(0).choice([-1, 1], (END, 1)).astype(np.float32)
    made = Store(signs, BLOCK_SHIFT, emptied=(1,))
    live = np.flatnonzero(made.live)
    best = live[twins.best_of(signs[live, 0], twins.ranks_of(made.ids)[live], limit)]
    slots, scores = np.empty(2 * limit, np.uint32), np.empty(2 * limit, np.float32)
    held = scan_rows(
        made.where(), np.ones(1, np.float32), limit, made.pages, NOTHING, slots, scores
    )
    assert set(slots[:held].tolist()) == set(best.tolist())
    assert scores[:held].tolist() == sorted(signs[best, 0].tolist(), reverse=True)


def rescored(
    made: Store, where: I64, slots: U32, sketches: F32, rerank: int, exact: int, query: F32
) -> tuple[U32, F32, int]:
    """What ``rescore`` leaves: slots, scores, and how many ties it dropped."""
    codes = np.empty(2 * made.layout.code_width, np.int8)
    step = query_bytes(query, codes)
    found, scores = slots.copy(), sketches.copy()
    held, dropped = rescore(where, found, scores, len(slots), rerank, exact, query, codes, step)
    return found[:held], scores[:held], dropped


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dim", DIMS)
def test_candidates_are_cut_by_sketch_then_by_codes_and_scored_exactly(
    dim: int, metric: str
) -> None:
    made = store(dim, 10.0, metric != "cosine")
    rng = np.random.default_rng(2)
    names = twins.ranks_of(made.ids)
    query = query_of(dim, metric, 3)
    codes = np.empty(2 * made.layout.code_width, np.int8)
    step = query_bytes(query, codes)
    truth = twins.exact_scores(made.vectors, query, metric)
    atol = tolerance(made, query, metric)
    for rerank, exact in ((200, 200), (60, 12), (12, 60), (30, 1), (1, 1)):
        slots = rng.permutation(np.flatnonzero(made.live)).astype(np.uint32)
        sketches = rng.integers(0, 50, len(slots)).astype(np.float32)
        kept = slots[twins.best_of(sketches, names[slots], rerank)]
        if len(kept) > exact:
            estimates = twins.code_scores(
                made.codes[kept], made.step[kept], made.inverse[kept], codes, step, metric
            )
            kept = kept[twins.best_of(estimates, names[kept], exact)]
        where = made.where(METRICS[metric])
        found, scores, _ = rescored(made, where, slots, sketches, rerank, exact, query)
        assert set(found.tolist()) == set(kept.tolist())
        assert (np.diff(scores) <= 0).all()
        assert (np.abs(scores - truth[found]) <= atol[found]).all()
        again, same, _ = rescored(
            made, where, slots[::-1].copy(), sketches[::-1].copy(), rerank, exact, query
        )
        assert dict(zip(again.tolist(), same.tolist(), strict=True)) == dict(
            zip(found.tolist(), scores.tolist(), strict=True)
        ), "no order of the candidates changes what is found"


def test_ties_that_are_dropped_are_counted_by_sketch_and_by_codes() -> None:
    made = Store(np.ones((50, 16), np.float32), BLOCK_SHIFT)
    slots = np.arange(40, dtype=np.uint32)
    query = query_of(16, "cosine", 0)
    differ = np.arange(40, dtype=np.float32)
    for sketches, rerank, exact, expected in (
        (differ, 40, 40, 0),
        (differ, 25, 40, 0),
        (differ, 40, 30, 10),
        (np.ones(40, np.float32), 25, 40, 15),
        (np.ones(40, np.float32), 25, 20, 20),
    ):
        found, _, dropped = rescored(made, made.where(), slots, sketches, rerank, exact, query)
        assert (len(found), dropped) == (min(rerank, exact), expected)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dim", [33, 384])
def test_scores_by_codes_are_near_the_true_ones(dim: int, metric: str) -> None:
    made = store(dim, 1.0)
    query = query_of(dim, metric, 1)
    codes = np.empty(2 * made.layout.code_width, np.int8)
    step = query_bytes(query, codes)
    estimates = twins.code_scores(made.codes, made.step, made.inverse, codes, step, metric)
    truth = twins.exact_scores(made.vectors, query, metric)
    if metric == "euclidean":  # the estimates leave the query's length out, and halve the rest
        truth = (truth + float(query @ query)) / 2
    sizes = np.linalg.norm(query) * (1 if metric == "cosine" else 1 / made.inverse)
    errors = (estimates - truth) / sizes
    assert abs(errors.mean()) < 0.01
    assert errors.std() < 0.03


@pytest.mark.parametrize("width", [16, 48, 64, 80, 192])
def test_a_row_of_any_width_is_multiplied_to_the_last_byte(width: int) -> None:
    rng = np.random.default_rng(width)
    codes = rng.integers(0, 256, (20, width)).astype(np.uint8)
    query = rng.integers(-127, 128, 2 * width).astype(np.int8)
    expected = twins.nibble_levels(codes, 2 * width) @ query.astype(np.int64)
    found = [nibble_product(row.ctypes.data, query.ctypes.data, width) for row in codes]
    assert found == expected.tolist()


def test_no_candidates_are_no_hits() -> None:
    made = store(16, 1.0)
    nothing = np.zeros(0, np.float32)
    found, _, dropped = rescored(
        made, made.where(), NOTHING, nothing, 2, 2, query_of(16, "cosine", 0)
    )
    assert (len(found), dropped) == (0, 0)


@pytest.mark.parametrize("metric", METRICS)
def test_scores_of_a_row_are_the_same_bits_in_a_block_and_in_a_strip(metric: str) -> None:
    made = store(128, 1e3)
    slots = np.array([3, TWIN], np.uint32)
    for seed in range(10):
        query = query_of(128, metric, seed)
        _, scores, _ = rescored(
            made, made.where(METRICS[metric]), slots, np.zeros(2, np.float32), 2, 2, query
        )
        assert scores[0] == scores[1]
