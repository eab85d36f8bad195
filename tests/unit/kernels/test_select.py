"""Keeping the best of many, and merging copies, against sorting."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlsh.kernels.compiling import kernel
from streamlsh.kernels.select import cut, keep_best, merge_copies, sort_best_first
from tests.unit.kernels import twins

scores_lists = st.lists(st.integers(-5, 5), min_size=1, max_size=40)


@kernel
def best(slots: Any, scores: Any, held: int, limit: int) -> float:
    return keep_best(slots, scores, held, limit)


@settings(deadline=None, max_examples=200)
@given(values=scores_lists, limit=st.integers(1, 45), spare=st.integers(0, 3))
def test_the_best_stand_in_front_with_their_slots(
    values: list[int], limit: int, spare: int
) -> None:
    held = len(values)
    slots = np.arange(held + spare, dtype=np.uint32)
    scores = np.array([*values, *[99] * spare], np.float32)
    lowest = best(slots, scores, held, limit)
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
    lowest = best(slots, scores, n, limit)
    expected = np.sort(values)[::-1][:limit]
    np.testing.assert_array_equal(np.sort(scores[:limit])[::-1], expected)
    np.testing.assert_array_equal(values[slots], scores)
    assert lowest == expected[-1]


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


@kernel
def cut_at(slots: Any, scores: Any, held: int, limit: int) -> tuple[int, float]:
    return cut(slots, scores, held, limit)


@settings(deadline=None, max_examples=200)
@given(values=scores_lists, limit=st.integers(1, 45), seed=st.integers(0, 9))
def test_what_a_cut_keeps_does_not_depend_on_the_order_of_the_input(
    values: list[int], limit: int, seed: int
) -> None:
    held = len(values)
    order = np.random.default_rng(seed).permutation(held)
    slots, scores = order.astype(np.uint32), np.array(values, np.float32)[order]
    kept, lowest = cut_at(slots, scores, held, limit)
    bound = sorted(values, reverse=True)[min(limit, held) - 1] if held > limit else -np.inf
    assert lowest == bound
    assert set(slots[:kept].tolist()) == {i for i, value in enumerate(values) if value >= bound}


@pytest.mark.parametrize("count", [0, 1, 5, 64, 65, 3_000])
def test_pairs_are_sorted_by_falling_score(count: int) -> None:
    slots = np.arange(count + 2, dtype=np.uint32)
    scores = np.random.default_rng(0).integers(0, 50, count + 2).astype(np.float32)
    before = scores.copy()
    sort_pairs(slots, scores, count)
    assert (np.diff(scores[:count]) <= 0).all()
    np.testing.assert_array_equal(before[slots], scores)
    assert slots[count:].tolist() == [count, count + 1]


@kernel
def sort_pairs(slots: Any, scores: Any, held: int) -> None:
    sort_best_first(slots, scores, held)
