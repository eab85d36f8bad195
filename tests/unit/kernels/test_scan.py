"""Scanning hand-built segments and tails, against scoring every entry in NumPy."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from streamlsh.buckets.layout import GROUP_ENTRIES, Entries, EntryLayout
from streamlsh.kernels.compiling import kernel
from streamlsh.kernels.scan import count_entries, find_bucket, is_live, scan_buckets, scan_table
from tests.unit.kernels import twins
from tests.unit.kernels.memory import I64, Memory

BUCKETS = 60
SLOTS = 40_000
PER_CHUNK = 3


@kernel
def find(codes: Any, bucket: int, buckets: int) -> int:
    return find_bucket(codes, bucket, buckets)


@kernel
def live_bits(pages: Any, out: Any) -> None:
    for slot in range(out.shape[0]):
        out[slot] = is_live(pages, slot)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.98, 1.0])
def test_a_bucket_is_found_where_it_stands_or_not_at_all(share: float) -> None:
    rng = np.random.default_rng(0)
    for buckets in (1, 2, 64, 501):
        held = rng.random(buckets) < share
        codes = np.flatnonzero(held).astype(np.uint32)
        for bucket in range(buckets):
            place = find(codes, bucket, buckets)
            assert place == (int(np.searchsorted(codes, bucket)) if held[bucket] else -1)


def test_live_bits_are_those_of_the_pages_and_off_where_there_is_no_page() -> None:
    memory = Memory()
    live = np.random.default_rng(0).random(SLOTS) < 0.5
    pages = memory.live_pages(live, absent={1})
    out = np.empty(SLOTS, np.bool_)
    live_bits(pages, out)
    live[1 << 14 : 2 << 14] = False
    np.testing.assert_array_equal(out, live)


class Table:
    """Random entries in segments and a tail, some of them dead."""

    def __init__(self, words: int, segments: list[int], tail: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.layout = EntryLayout(words)
        total = sum(segments) + tail
        self.entries = Entries(
            rng.integers(0, BUCKETS, total).astype(np.uint32),
            rng.integers(0, 2**64, (total, words), np.uint64),
            rng.standard_normal(total).astype(np.float16),
            rng.standard_normal(total).astype(np.float16),
            rng.choice(SLOTS, total, replace=False).astype(np.uint32),
        )
        cuts = np.cumsum([0, *segments])
        parts = [self.entries.take(slice(start, stop)) for start, stop in pairwise(cuts)]
        self.memory = Memory()
        self.segments, self.chunks = self.memory.segments(self.layout, parts, PER_CHUNK)
        self.tail_entries = tail
        self.tail = self.memory.tail(self.layout, self.entries.take(slice(cuts[-1], None)))
        self.live = rng.random(SLOTS) < 0.8
        self.pages = self.memory.live_pages(self.live, absent={2})
        self.live[2 << 14 :] = False
        self.planes = rng.integers(0, 2**64, (4, words), np.uint64)
        self.delta = 0.0173
        self.bases = rng.standard_normal(BUCKETS).astype(np.float32)

    def where(self) -> tuple[int, I64, I64, int, I64, int, int]:
        return (
            BUCKETS, self.segments, self.chunks, PER_CHUNK, self.tail, self.tail_entries,
            GROUP_ENTRIES,
        )  # fmt: skip

    def expected(
        self, buckets: NDArray[np.uint32], excluded: NDArray[np.uint32]
    ) -> tuple[dict[int, float], int]:
        """The scores of live entries in these buckets, by slot, and how many are looked at."""
        probed = np.isin(self.entries.buckets, buckets)
        chosen = self.entries.take(
            probed & self.live[self.entries.slots] & ~np.isin(self.entries.slots, excluded)
        )
        scores = twins.entry_scores(
            chosen.bits, chosen.f, chosen.a, self.bases[chosen.buckets], self.planes, self.delta
        )
        return dict(zip(chosen.slots.tolist(), scores.tolist(), strict=True)), int(probed.sum())


def check_best(
    slots: NDArray[np.uint32], scores: NDArray[np.float32], held: int, limit: int,
    expected: dict[int, float],
) -> None:  # fmt: skip
    assert held == min(limit, len(expected))
    found = slots[:held].tolist()
    assert len(set(found)) == held
    np.testing.assert_allclose(
        scores[:held], [expected[slot] for slot in found], rtol=1e-5, atol=1e-5
    )
    np.testing.assert_allclose(
        np.sort(scores[:held])[::-1], twins.best_of(expected, limit), rtol=1e-5, atol=1e-5
    )


SHAPES = [
    (4, [], 0),
    (4, [], 5),
    (4, [], 700),
    (4, [900], 0),
    (4, [1, 700, 33], 300),
    (6, [500, 500], 256),
    (8, [400], 257),
    (1, [600], 10),
]


@pytest.mark.parametrize(("words", "segments", "tail"), SHAPES)
@pytest.mark.parametrize("limit", [1, 40, 5_000])
def test_the_best_entries_of_the_probed_buckets_are_kept(
    words: int, segments: list[int], tail: int, limit: int
) -> None:
    table = Table(words, segments, tail)
    rng = np.random.default_rng(1)
    for probes in (1, 7, BUCKETS):
        buckets = rng.permutation(BUCKETS)[:probes].astype(np.uint32)
        some = rng.choice(table.entries.slots, min(9, len(table.entries)), replace=False)
        for excluded in (np.zeros(0, np.uint32), np.sort(some).astype(np.uint32)):
            slots, scores = np.empty(2 * limit, np.uint32), np.empty(2 * limit, np.float32)
            held, looked_at, whole = scan_buckets(
                buckets, table.bases[buckets], *table.where(), table.planes, table.delta,
                table.pages, excluded, limit, slots, scores,
            )  # fmt: skip
            assert whole
            expected, probed = table.expected(buckets, excluded)
            assert looked_at == probed
            check_best(slots, scores, held, limit, expected)


@pytest.mark.parametrize(("words", "segments", "tail"), SHAPES)
@pytest.mark.parametrize("first", [BUCKETS, 20])
def test_the_scan_of_the_first_table_meets_each_of_its_entries_once(
    words: int, segments: list[int], tail: int, first: int
) -> None:
    table = Table(words, segments, tail)
    table.bases[10:15] = table.bases[10]  # a run of buckets with one centre
    nothing = np.zeros(0, np.uint32)
    for limit in (1, 40, 5_000):
        slots, scores = np.empty(2 * limit, np.uint32), np.empty(2 * limit, np.float32)
        held, looked_at, whole = scan_table(
            table.bases[:first], *table.where(), table.planes, table.delta, table.pages, nothing,
            limit, slots, scores,
        )  # fmt: skip
        assert whole
        expected, probed = table.expected(np.arange(first, dtype=np.uint32), nothing)
        assert looked_at == probed
        check_best(slots, scores, held, limit, expected)


@pytest.mark.parametrize(("words", "segments", "tail"), SHAPES)
def test_entries_of_buckets_are_counted_over_all_segments(
    words: int, segments: list[int], tail: int
) -> None:
    table = Table(words, segments, tail)
    in_segments = table.entries.buckets[: sum(segments)]
    for probes in (1, 10, BUCKETS):
        buckets = np.random.default_rng(1).permutation(BUCKETS)[:probes].astype(np.uint32)
        found = count_entries(buckets, BUCKETS, table.segments)
        assert found == np.isin(in_segments, buckets).sum()
