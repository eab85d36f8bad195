"""Keeping the best of many, and merging copies, against sorting."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlsh.kernels.select import cut, keep_best, merge_copies, sort_best_first
from tests.unit.kernels import twins
from tests.unit.kernels.memory import U32, Store

ROWS = 200
scores_lists = st.lists(st.integers(-5, 5), min_size=1, max_size=40)


@cache
def named() -> tuple[Store, twins.Ranks]:
    """Rows with ids in blocks and strips, and how the ids sort."""
    store = Store(np.ones((ROWS, 1), np.float32))
    return store, twins.ranks_of(store.ids)


@settings(deadline=None, max_examples=200)
@given(values=scores_lists, limit=st.integers(1, 45), spare=st.integers(0, 3))
def test_the_best_stand_in_front_with_their_slots(
    values: list[int], limit: int, spare: int
) -> None:
    held = len(values)
    slots = np.arange(held + spare, dtype=np.uint32)
    scores = np.array([*values, *[99] * spare], np.float32)
    lowest = keep_best(slots, scores, held, limit)
    kept = min(held, limit)
    assert sorted(scores[:kept].tolist(), reverse=True) == sorted(values, reverse=True)[:kept]
    assert sorted(slots[:held].tolist()) == list(range(held)), "a slot was lost"
    assert [values[slot] for slot in slots[:held]] == scores[:held].tolist()
    assert lowest == (scores[:kept].min() if held > limit else -np.inf)
    assert (slots[held:] == np.arange(held, held + spare)).all()


@pytest.mark.parametrize("order", ["random", "rising", "falling", "equal", "organ pipe"])
def test_no_order_of_the_input_misleads_the_selection(order: str) -> None:
    n, limit = 10_000, 137
    values = {
        "random": np.random.default_rng(0).standard_normal(n),
        "rising": np.arange(n),
        "falling": -np.arange(n),
        "equal": np.ones(n),
        "organ pipe": np.minimum(np.arange(n), n - np.arange(n)),
    }[order].astype(np.float32)
    slots, scores = np.arange(n, dtype=np.uint32), values.copy()
    lowest = keep_best(slots, scores, n, limit)
    expected = np.sort(values)[::-1][:limit]
    np.testing.assert_array_equal(np.sort(scores[:limit])[::-1], expected)
    np.testing.assert_array_equal(values[slots], scores)
    assert lowest == expected[-1]


def shuffled(values: list[float], seed: int, spare: int = 0) -> tuple[U32, twins.F32]:
    """The slots 0, 1, ... in any order with their scores, and room behind them."""
    order = np.random.default_rng(seed).permutation(len(values))
    slots = np.append(order, np.full(spare, 7)).astype(np.uint32)
    return slots, np.append(np.array(values)[order], np.full(spare, 99)).astype(np.float32)


@settings(deadline=None, max_examples=300)
@given(
    values=scores_lists, limit=st.integers(1, 45), seed=st.integers(0, 9), spare=st.integers(0, 2)
)
def test_a_cut_keeps_the_best_and_of_equal_ones_those_of_the_first_ids(
    values: list[int], limit: int, seed: int, spare: int
) -> None:
    store, ranks = named()
    held = len(values)
    slots, scores = shuffled([*map(float, values)], seed, spare)
    kept, lowest, dropped = cut(slots, scores, held, limit, store.where())
    best = twins.best_of(np.array(values), ranks[:held], limit)
    assert kept == min(limit, held)
    assert set(slots[:kept].tolist()) == set(best.tolist())
    assert [values[slot] for slot in slots[:kept]] == scores[:kept].tolist()
    assert lowest == (values[best[-1]] if held > limit else -np.inf)
    assert dropped == (
        values.count(int(lowest)) - (scores[:kept] == lowest).sum() if held > limit else 0
    )
    assert (slots[held:] == 7).all()


def test_a_cut_keeps_the_same_of_thousands_of_ties_in_any_order() -> None:
    count = 5_000
    store = Store(np.ones((count, 1), np.float32), block_shift=8)
    values = (np.arange(count) % 3).astype(np.float64).tolist()
    kept: set[frozenset[int]] = set()
    for seed in range(6):
        slots, scores = shuffled(values, seed)
        held, lowest, dropped = cut(slots, scores, count, 2_000, store.where())
        assert (held, lowest) == (2_000, 1.0)
        assert dropped == values.count(1.0) + values.count(2.0) - 2_000
        kept.add(frozenset(slots[:held].tolist()))
    assert len(kept) == 1


def test_cuts_upon_cuts_keep_what_one_cut_keeps() -> None:
    store, ranks = named()
    values = np.random.default_rng(0).integers(0, 4, ROWS).astype(np.float64)
    expected = set(twins.best_of(values, ranks, 20).tolist())
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(ROWS)
        slots, scores = np.empty(40, np.uint32), np.empty(40, np.float32)
        held = 0
        for slot in order.tolist():
            slots[held], scores[held] = slot, values[slot]
            held += 1
            if held == 40:
                held, _, _ = cut(slots, scores, held, 20, store.where())
        held, _, _ = cut(slots, scores, held, 20, store.where())
        assert set(slots[:held].tolist()) == expected


@settings(deadline=None, max_examples=200)
@given(
    pairs=st.lists(st.tuples(st.integers(0, 6), st.integers(-5, 5)), max_size=40),
    copies=st.integers(1, 5),
    base=st.sampled_from([0, 1 << 31, 2**32 - 8]),
)
def test_each_slot_stays_once_with_its_best_score_if_it_came_often_enough(
    pairs: list[tuple[int, int]], copies: int, base: int
) -> None:
    slots = np.array([base + slot for slot, _ in pairs] + [0], np.uint32)
    scores = np.array([score for _, score in pairs] + [0], np.float32)
    expected = twins.merged(slots[:-1].tolist(), scores[:-1].tolist(), copies)
    held = merge_copies(slots, scores, len(pairs), copies)
    assert held == len(expected)
    assert dict(zip(slots[:held].tolist(), scores[:held].tolist(), strict=True)) == expected


def test_copies_among_many_slots_are_merged() -> None:
    rng = np.random.default_rng(0)
    slots = rng.integers(0, 2**32, 3_000).astype(np.uint32)
    slots = rng.permutation(np.concatenate([slots, slots[::2], slots[::6]]))
    scores = rng.standard_normal(len(slots)).astype(np.float32)
    for copies in (1, 2, 3, 4):
        expected = twins.merged(slots.tolist(), scores.tolist(), copies)
        found, best = slots.copy(), scores.copy()
        held = merge_copies(found, best, len(slots), copies)
        assert dict(zip(found[:held].tolist(), best[:held].tolist(), strict=True)) == expected


@pytest.mark.parametrize("count", [0, 1, 5, 64, 65, 3_000])
def test_pairs_are_sorted_by_falling_score(count: int) -> None:
    slots = np.arange(count + 2, dtype=np.uint32)
    scores = np.random.default_rng(0).integers(0, 50, count + 2).astype(np.float32)
    before = scores.copy()
    sort_best_first(slots, scores, count)
    assert (np.diff(scores[:count]) <= 0).all()
    np.testing.assert_array_equal(before[slots], scores)
    assert slots[count:].tolist() == [count, count + 1]
