"""Scanning hand-built segments and tails, against scoring every entry in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamlsh.buckets.layout import (
    BLOCK,
    GROUP_ENTRIES,
    WORDS,
    pack_entries,
)
from streamlsh.kernels import compiling
from streamlsh.kernels.runs import (
    BLOCK_BYTES,
)
from streamlsh.kernels.scan import (
    LIVE_SHIFT,
    SLOTS_AT,
    _plane_tuple,
    is_among,
    is_live,
)
from tests.unit.kernels import twins
from tests.unit.kernels.fresh import fresh
from tests.unit.kernels.memory import NOTHING, Memory, random_entries, split
from tests.unit.kernels.table import BUCKETS, SLOTS, Table, store


@fresh
def score_block(
    block: int, planes: Any, delta: float, base: float, lanes: int, scores: Any
) -> None:
    compiling.score_eight(
        block, _plane_tuple(planes), np.float32(delta), np.float32(base), lanes,
        scores.ctypes.data,
    )  # fmt: skip


@fresh
def passing(scores: Any, threshold: float) -> int:
    bits: int = compiling.at_least(scores.ctypes.data, np.float32(threshold))
    return bits


@fresh
def lowest(bits: int) -> int:
    place: int = compiling.lowest_bit(bits)
    return place


def test_blocks_are_as_the_scan_believes() -> None:
    assert BLOCK.itemsize == BLOCK_BYTES
    assert BLOCK.fields is not None
    assert BLOCK.fields["slots"][1] == SLOTS_AT


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e4])
def test_eight_entries_are_scored_to_the_same_bits(scale: float) -> None:
    rng = np.random.default_rng(0)
    memory = Memory()
    for round_ in range(100):
        entries = random_entries(np.arange(8, dtype=np.uint32), 1, rng)
        entries.f[:] *= np.float16(scale)
        entries.a[:] *= np.float16(scale)
        planes = rng.integers(0, 2**64, (4, WORDS), np.uint64)
        if round_ == 0:  # nothing and everything differs
            entries.bits[:4], entries.bits[4:] = 0, 2**64 - 1
            planes[:] = 0
        delta = float(np.float32(rng.standard_normal() if round_ else 0))
        base = float(np.float32(rng.standard_normal() * 10))
        block = memory.keep(pack_entries(entries))
        lanes = int(rng.integers(0, 256)) if round_ > 1 else 255
        scores = np.full(8, 7, np.float32)
        score_block(block, planes, delta, base, lanes, scores)
        bases = np.full(8, base, np.float32)
        expected = twins.entry_scores(entries.bits, entries.f, entries.a, bases, planes, delta)
        expected[[not lanes >> lane & 1 for lane in range(8)]] = -np.inf
        np.testing.assert_array_equal(scores.view(np.uint32), expected.view(np.uint32))


def test_sixteen_scores_are_compared_with_a_threshold() -> None:
    rng = np.random.default_rng(0)
    for threshold in (-np.inf, -1.0, 0.0, 2.0, np.inf):
        scores = rng.integers(-3, 4, 16).astype(np.float32)
        scores[3], scores[15] = -np.inf, threshold
        expected = sum(1 << place for place in np.flatnonzero(scores >= threshold).tolist())
        assert passing(scores, threshold) == expected


def test_the_lowest_bit_is_found_in_any_word() -> None:
    for place in range(64):
        for above in (0, -1):
            bits = (1 << place | above << place) & (2**64 - 1)
            assert lowest(int(np.array(bits, np.uint64).view(np.int64))) == place


def test_live_bits_are_those_of_the_pages_and_off_where_there_is_no_page() -> None:
    memory = Memory()
    live = np.random.default_rng(0).random(SLOTS) < 0.5
    pages = memory.live_pages(live, absent={1})
    live[1 << LIVE_SHIFT : 2 << LIVE_SHIFT] = False
    found = [is_live(pages, slot) for slot in range(0, SLOTS, 7)]
    np.testing.assert_array_equal(found, live[::7])


def test_membership_in_sorted_slots() -> None:
    rng = np.random.default_rng(0)
    for count in (0, 1, 2, 9):
        some = np.sort(rng.choice(20, count, replace=False)).astype(np.uint32)
        assert [is_among(some, slot) for slot in range(20)] == np.isin(range(20), some).tolist()
    top = np.array([2**32 - 1], np.uint32)
    assert is_among(top, 2**32 - 1)
    assert not is_among(top, 2**31)


SHAPES: list[tuple[list[int], int]] = [
    ([], 0),
    ([], 5),
    ([], 700),
    ([900], 0),
    ([1, 700, 33], 300),
    ([500, 500], GROUP_ENTRIES),
    ([400], GROUP_ENTRIES + 1),
    ([9_000, 4_000, 200], 3_000),
    ([], 12_000),
]
"""Entries of segments, and of the tail."""


@pytest.mark.parametrize(("segments", "tail"), SHAPES)
@pytest.mark.parametrize("kinds", [0, 3], ids=["all differ", "three kinds"])
@pytest.mark.parametrize("limit", [1, 40, 5_000])
def test_the_best_entries_of_the_probed_buckets_are_kept(
    segments: list[int], tail: int, kinds: int, limit: int
) -> None:
    """Dead and excluded ones take nobody's place; of equal ones those of the first ids stay."""
    table = Table(segments, tail, kinds)
    if kinds:
        table.bases[:] = np.round(table.bases)
    rng = np.random.default_rng(1)
    for probes in (1, 7, BUCKETS):
        buckets = rng.permutation(BUCKETS)[:probes].astype(np.uint32)
        best = list(table.expected(buckets, NOTHING, 9)[0])
        for excluded in (NOTHING, np.sort(np.array(best, np.uint32))):
            slots, scores, scored, dropped = table.scan(buckets, excluded, limit)
            expected, probed = table.expected(buckets, excluded, limit)
            assert scored == probed
            assert len(slots) == len(expected)
            assert dict(zip(slots.tolist(), scores.tolist(), strict=True)) == expected
            ties = len(table.expected(buckets, excluded, SLOTS)[0]) > limit and kinds
            assert dropped == 0 or ties


@pytest.mark.parametrize("limit", [1, 30, 700])
def test_no_layout_of_the_entries_changes_what_is_kept(limit: int) -> None:
    """Neither their segments, nor their order, nor the order of the probes."""
    table = Table([3_000], 0, kinds=5)
    table.bases[:] = np.round(table.bases)
    rng = np.random.default_rng(2)
    buckets = rng.permutation(BUCKETS)[:40].astype(np.uint32)
    expected, _ = table.expected(buckets, NOTHING, limit)
    for segments, tail in ((1, 0), (0, 0), (2, 100), (5, 1_500), (3, 0)):
        *parts, rest = split(table.entries, rng, segments, tail)
        table.place(parts, rest)
        for probes in (buckets, np.sort(buckets), rng.permutation(buckets)):
            slots, scores, _, _ = table.scan(probes, NOTHING, limit)
            assert dict(zip(slots.tolist(), scores.tolist(), strict=True)) == expected


@pytest.mark.parametrize("order", ["rising", "falling"])
def test_entries_that_come_in_the_order_of_their_scores_are_no_special_case(order: str) -> None:
    """The worst for a threshold: every entry beats all before it, or none does."""
    table = Table([20_000], 0)
    table.bases[:] = np.arange(BUCKETS) * 1_000
    buckets = np.arange(BUCKETS, dtype=np.uint32)
    for limit in (1, 100, 3_000):
        probes = buckets if order == "rising" else buckets[::-1].copy()
        slots, scores, _, _ = table.scan(probes, NOTHING, limit)
        expected, _ = table.expected(buckets, NOTHING, limit)
        assert dict(zip(slots.tolist(), scores.tolist(), strict=True)) == expected


def test_what_is_far_from_the_best_is_still_found_where_all_near_is_dead() -> None:
    """The first guess of what is near counts the dead; then the scan must go on below it."""
    table = Table([30_000], 0)
    table.bases[:] = 0
    table.bases[:30] = 1_000
    near = table.entries.buckets < 30
    table.live = store().live.copy()
    table.live[table.entries.slots[near]] = False
    table.pages = table.memory.live_pages(table.live)
    buckets = np.arange(BUCKETS, dtype=np.uint32)
    for limit in (1, 50, 1_000):
        slots, scores, _, _ = table.scan(buckets, NOTHING, limit)
        expected, _ = table.expected(buckets, NOTHING, limit)
        assert len(slots) == limit
        assert dict(zip(slots.tolist(), scores.tolist(), strict=True)) == expected
