"""Scanning hand-built segments and tails, against scoring every entry in NumPy."""

from __future__ import annotations

import ctypes
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from streamlsh.buckets.layout import (
    BLOCK,
    GROUP_ENTRIES,
    WORDS,
    Entries,
    pack_entries,
    sort_groups,
)
from streamlsh.kernels import compiling
from streamlsh.kernels.runs import (
    BLOCK_BYTES,
    find_bucket,
    find_in_tail,
    list_runs,
    list_tail_runs,
    list_whole_runs,
)
from streamlsh.kernels.scan import (
    LIVE_SHIFT,
    PENDING,
    SLOTS_AT,
    _plane_tuple,
    is_among,
    is_live,
    look_through,
    scan_runs,
)
from streamlsh.kernels.select import cut
from streamlsh.storage.schema import PAD
from tests.unit.kernels import twins
from tests.unit.kernels.fresh import fresh
from tests.unit.kernels.memory import I64, NOTHING, U32, Memory, Store, random_entries, split

BUCKETS = 60
SLOTS = 40_000
PER_CHUNK = 3
F32 = NDArray[np.float32]


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


@pytest.mark.parametrize("share", [0.02, 0.5, 0.98, 1.0])
def test_a_bucket_is_found_where_it_stands_or_not_at_all(share: float) -> None:
    rng = np.random.default_rng(0)
    for buckets in (1, 2, 64, 501):
        held = rng.random(buckets) < share
        codes = np.flatnonzero(held).astype(np.uint32)
        for bucket in range(buckets):
            place = find_bucket(codes, bucket, buckets)
            assert place == (int(np.searchsorted(codes, bucket)) if held[bucket] else -1)


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


@cache
def store() -> Store:
    """Many slots with names; page 2 of the live bitmap was never written."""
    made = Store(np.ones((SLOTS, 1), np.float32), block_shift=10)
    made.live[2 << LIVE_SHIFT :] = False
    made.pages = made.memory.live_pages(made.live, absent={2})
    return made


@cache
def ranks() -> twins.Ranks:
    """How the ids of all slots sort."""
    return twins.ranks_of(store().ids)


class Table:
    """Random entries in segments and a tail, some of them dead, and a query."""

    def __init__(self, segments: list[int], tail: int, kinds: int = 0, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        total = sum(segments) + tail
        slots = rng.choice(SLOTS, total, replace=False).astype(np.uint32)
        self.entries = random_entries(slots, BUCKETS, rng, kinds)
        cuts = np.cumsum([0, *segments]).tolist()
        self.place(
            [self.entries.take(slice(start, stop)) for start, stop in pairwise(cuts)],
            self.entries.take(slice(cuts[-1], None)),
        )
        self.planes = rng.integers(0, 2**64, (4, WORDS), np.uint64)
        self.delta = float(np.float32(0.0173))
        self.bases = rng.standard_normal(BUCKETS).astype(np.float32)
        self.live, self.pages = store().live, store().pages

    def place(self, segments: list[Entries], tail: Entries) -> None:
        self.memory = Memory()
        self.segments, self.chunks = self.memory.segments(segments, PER_CHUNK)
        self.groups = self.memory.groups(tail)
        self.tail_buckets, self.tail_places = sort_groups(self.groups, len(tail))

    def runs(self, buckets: U32, room: int) -> tuple[int, int, I64, F32]:
        runs, bases = np.full((room, 3), -1, np.int64), np.empty(room, np.float32)
        held, entries = list_runs(
            buckets, self.bases[buckets], len(buckets), BUCKETS, self.segments, self.chunks,
            PER_CHUNK, runs, bases,
        )  # fmt: skip
        return held, entries, runs, bases

    def tail_runs(self, buckets: U32) -> tuple[I64, F32]:
        """The same of the tail."""
        ends = np.empty((2, len(buckets)), np.int64)
        held = find_in_tail(buckets, len(buckets), False, self.tail_buckets, ends)
        runs, bases = np.full((held, 3), -1, np.int64), np.empty(held, np.float32)
        list_tail_runs(self.bases[buckets], ends, self.tail_places, 0, runs, bases)
        return runs, bases

    def scan(self, buckets: U32, excluded: U32, limit: int) -> tuple[U32, F32, int, int]:
        """The best slots, their scores, how many entries were scored, how many ties dropped."""
        held, scored, runs, run_bases = self.runs(
            buckets, len(buckets) * len(self.segments) + len(self.chunks)
        )
        tail_runs, tail_bases = self.tail_runs(buckets)
        runs = np.concatenate([runs[:held], tail_runs])
        run_bases = np.concatenate([run_bases[:held], tail_bases])
        slots, scores = np.empty(2 * limit, np.uint32), np.empty(2 * limit, np.float32)
        pending, blocks = np.empty(8 * PENDING, np.float32), np.empty(PENDING, np.int64)
        state, threshold = np.zeros(3, np.int64), np.full(1, -np.inf, np.float32)
        where, live = store().where(), self.pages
        scan_runs(
            runs, run_bases, len(runs), self.planes, self.delta, live, excluded, limit, pending,
            blocks, slots, scores, state, threshold, where,
        )  # fmt: skip
        scored += len(tail_runs)
        look_through(live, excluded, limit, pending, blocks, slots, scores, state, threshold, where)
        kept, _, dropped = cut(slots, scores, state[0], limit, where)
        return slots[:kept], scores[:kept], scored, int(state[1]) + dropped

    def expected(self, buckets: U32, excluded: U32, limit: int) -> tuple[dict[int, float], int]:
        """The best ``limit`` that may be returned, with their scores, and entries looked at."""
        probed = np.isin(self.entries.buckets, buckets)
        chosen = self.entries.take(
            probed & self.live[self.entries.slots] & ~np.isin(self.entries.slots, excluded)
        )
        scores = twins.entry_scores(
            chosen.bits, chosen.f, chosen.a, self.bases[chosen.buckets], self.planes, self.delta
        )
        best = twins.best_of(scores, ranks()[chosen.slots], limit)
        return dict(zip(chosen.slots[best].tolist(), scores[best].tolist(), strict=True)), int(
            probed.sum()
        )


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


def places_of(table: Table, buckets: U32) -> list[tuple[int, int, float]]:
    """(address of the block, lane, base) of every entry of the buckets in the segments."""
    found = []
    for codes_held, codes_at, starts_at, first_chunk in table.segments.tolist():
        codes = read(codes_at, codes_held)
        starts = read(starts_at, codes_held + 1)
        for code, start, stop in zip(codes, starts, starts[1:], strict=False):
            if code in buckets:
                for entry in range(start, stop):
                    block, lane = divmod(entry, 8)
                    chunk, inside = divmod(block, PER_CHUNK)
                    address = int(table.chunks[first_chunk + chunk]) + inside * BLOCK_BYTES
                    found.append((address, lane, float(table.bases[code])))
    return sorted(found)


def read(address: int, count: int) -> list[int]:
    """Numbers of 32 bits at an address."""
    return list((ctypes.c_uint32 * count).from_address(address))


def entries_of(runs: I64, bases: F32) -> list[tuple[int, int, float]]:
    """The same of the entries of runs."""
    return sorted(
        (address + lane // 8 * BLOCK_BYTES, lane % 8, float(base))
        for (address, first, end), base in zip(runs.tolist(), bases, strict=True)
        for lane in range(first, end)
    )


@pytest.mark.parametrize("segments", [[], [1], [700], [900, 40, 7], [5, 5_000]])
@pytest.mark.parametrize("bases", ["differ", "equal", "some equal"])
def test_runs_hold_every_entry_of_their_buckets_once(segments: list[int], bases: str) -> None:
    table = Table(segments, 0)
    if bases == "equal":
        table.bases[:] = 1
    elif bases == "some equal":
        table.bases[10:15] = table.bases[16:30] = 0.5
    for buckets in (
        np.arange(BUCKETS, dtype=np.uint32),
        np.arange(BUCKETS, dtype=np.uint32)[::-1].copy(),
        np.random.default_rng(0).permutation(BUCKETS)[:20].astype(np.uint32),
        NOTHING,
    ):
        held, entries, runs, run_bases = table.runs(
            buckets, len(buckets) * len(segments) + len(table.chunks)
        )
        expected = places_of(table, buckets)
        assert entries == len(expected)
        assert entries_of(runs[:held], run_bases[:held]) == expected
        assert (runs[held:] == -1).all()


def test_neighbouring_buckets_of_one_base_are_one_run_in_each_chunk() -> None:
    table = Table([700, 90], 0)
    buckets = np.arange(BUCKETS, dtype=np.uint32)
    table.bases[:] = 0.5
    held, _, _, _ = table.runs(buckets, 500)
    assert held == len(table.chunks)
    held, _, _, _ = table.runs(buckets[::-1].copy(), 500)
    assert held > len(table.chunks), "only as they follow each other"


@pytest.mark.parametrize("segments", [[], [1], [700], [900, 40, 7], [5, 5_000]])
@pytest.mark.parametrize("last", [0, 19, BUCKETS - 1])
def test_whole_runs_hold_the_entries_of_all_buckets_up_to_one(
    segments: list[int], last: int
) -> None:
    table = Table(segments, 0)
    table.bases[:] = 0.5
    room = len(table.chunks)
    runs, bases = np.full((room, 3), -1, np.int64), np.empty(room, np.float32)
    held, entries = list_whole_runs(last, 0.5, table.segments, table.chunks, PER_CHUNK, runs, bases)
    expected = places_of(table, np.arange(last + 1, dtype=np.uint32))
    assert entries == len(expected)
    assert entries_of(runs[:held], bases[:held]) == expected


TAILS = [0, 1, 7, 8, 9, GROUP_ENTRIES, GROUP_ENTRIES + 1, 700]


def tail_entries_of(table: Table) -> list[tuple[int, int, int]]:
    """(bucket, address of the block, lane) of every entry of the tail, in stored order."""
    found = []
    for number, bucket in enumerate(table.entries.buckets.tolist()):
        group, inside = divmod(number, GROUP_ENTRIES)
        address = np.frombuffer(table.groups[group], np.uint8).ctypes.data + PAD
        found.append((bucket, address + inside // 8 * BLOCK_BYTES, inside % 8))
    return found


@pytest.mark.parametrize("tail", TAILS)
def test_the_tails_directory_has_every_entry_once_by_bucket_and_where_it_stands(tail: int) -> None:
    table = Table([], tail)
    buckets, places = table.tail_buckets, table.tail_places
    assert [part.dtype.str for part in (buckets, places)] == ["<u4", "<i8"]
    np.testing.assert_array_equal(buckets, np.sort(table.entries.buckets))
    listed = sorted(
        zip(buckets.tolist(), (places & ~7).tolist(), (places & 7).tolist(), strict=True)
    )
    assert listed == sorted(tail_entries_of(table))
    slots = [
        read(int(place & ~7) + SLOTS_AT + 4 * int(place & 7), 1)[0] for place in places.tolist()
    ]
    bucket_of = dict(zip(table.entries.slots.tolist(), table.entries.buckets.tolist(), strict=True))
    assert [bucket_of[slot] for slot in slots] == buckets.tolist()


def test_the_tails_directory_leaves_out_what_is_behind_the_last_entry() -> None:
    table = Table([], GROUP_ENTRIES + 40)
    buckets, places = sort_groups(table.groups, GROUP_ENTRIES + 3)
    expected = sorted(tail_entries_of(table)[: GROUP_ENTRIES + 3])
    assert (
        sorted(zip(buckets.tolist(), (places & ~7).tolist(), (places & 7).tolist(), strict=True))
        == expected
    )


@pytest.mark.parametrize("tail", TAILS)
def test_runs_of_the_tail_are_its_entries_in_the_probed_buckets(tail: int) -> None:
    table = Table([], tail)
    rng = np.random.default_rng(3)
    for buckets in (
        np.arange(BUCKETS, dtype=np.uint32),
        rng.permutation(BUCKETS)[:20].astype(np.uint32),
        np.array([BUCKETS - 1, 0, 2**32 - 1, BUCKETS + 7], np.uint32),
        NOTHING,
    ):
        bases = np.resize(table.bases, len(buckets))
        ends = np.full((2, len(buckets)), -1, np.int64)
        held = find_in_tail(buckets, len(buckets), False, table.tail_buckets, ends)
        base_of = dict(zip(buckets.tolist(), bases.tolist(), strict=True))
        expected = [
            (address, lane, base_of[bucket])
            for bucket, address, lane in tail_entries_of(table)
            if bucket in base_of
        ]
        assert held == len(expected)
        for place, bucket in enumerate(buckets.tolist()):
            first, end = ends[:, place].tolist()
            assert (table.tail_buckets[first:end] == bucket).all()
            assert end - first == (table.entries.buckets == bucket).sum()
        runs = np.full((held + 5, 3), -1, np.int64)
        run_bases = np.full(held + 5, np.nan, np.float32)
        list_tail_runs(bases, ends, table.tail_places, 3, runs, run_bases)
        assert (runs[:3] == -1).all(), "what is there already stays"
        assert (runs[held + 3 :] == -1).all()
        listed = slice(3, held + 3)
        assert (runs[listed, 2] == runs[listed, 1] + 1).all(), "an entry each"
        assert entries_of(runs[listed], run_bases[listed]) == sorted(expected)


def test_of_probed_buckets_only_as_many_as_count_are_looked_for_in_the_tail() -> None:
    table = Table([], 300)
    buckets, ends = np.arange(9, dtype=np.uint32), np.full((2, 4), -1, np.int64)
    held = find_in_tail(buckets, 4, False, table.tail_buckets, ends)
    assert held == (table.entries.buckets < 4).sum()


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("last", [0, 19, BUCKETS - 1, 2**32 - 1])
def test_one_bucket_may_stand_for_all_below_it_in_the_tail(tail: int, last: int) -> None:
    table = Table([], tail)
    ends = np.full((2, 1), -1, np.int64)
    held = find_in_tail(np.array([last], np.uint32), 1, True, table.tail_buckets, ends)
    runs, bases = np.full((held, 3), -1, np.int64), np.empty(held, np.float32)
    list_tail_runs(np.full(1, 0.5, np.float32), ends, table.tail_places, 0, runs, bases)
    expected = [
        (address, lane, 0.5) for bucket, address, lane in tail_entries_of(table) if bucket <= last
    ]
    assert held == len(expected)
    assert entries_of(runs, bases) == sorted(expected)
