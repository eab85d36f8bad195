"""Merging segments, against sorting their entries in NumPy."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from streamlsh.buckets.layout import BLOCK, LANES, Entries, unpack_entries
from streamlsh.kernels.merge import ENTRIES, merge_segments, start_place
from tests.entries import same
from tests.unit.kernels.memory import Memory, random_entries

BUCKETS = 50
SLOTS = 40_000
BLOCKS_PER_CHUNK = 3
PER_CHUNK = LANES * BLOCKS_PER_CHUNK
GUARD = 0xAB


def merged(
    parts: list[Entries], live: NDArray[np.bool_], rng: np.random.Generator | None = None
) -> tuple[list[int], list[int], Entries]:
    """The occupied buckets, their starts and the entries that ``merge_segments`` writes.

    With a generator in many calls, each with random room and reading.
    """
    memory = Memory()
    sources, chunks = memory.segments(parts, BLOCKS_PER_CHUNK)
    total = sum(map(len, parts))
    used = -(-total // PER_CHUNK)
    out = np.zeros((used + 1, BLOCKS_PER_CHUNK), BLOCK)
    guard = out[used].view(np.uint8)
    guard[:] = GUARD
    targets = out.ctypes.data + out.strides[0] * np.arange(used)
    pages = memory.live_pages(live)
    at, place = np.zeros(len(parts), np.int64), start_place()
    found: list[int] = []
    bounds: list[int] = []
    while True:
        room, most = rng.integers(1, 60, 2).tolist() if rng else (total, total)
        before = int(place[ENTRIES])
        codes = np.full(min(room, int(sources[:, 0].sum())), 0xFFFF, np.uint32)
        starts = np.full(len(codes), 0xFFFF, np.uint32)
        buckets, entries, read = merge_segments(
            sources, chunks, PER_CHUNK, pages, at, place, room, most, codes, starts,
            targets[before // PER_CHUNK :],
        )  # fmt: skip
        assert entries <= min(room, read)
        assert read <= most
        assert place[ENTRIES] == before + entries
        found += codes[:buckets].tolist()
        bounds += starts[:buckets].tolist()
        if (at == sources[:, 0]).all():
            break
        assert rng is not None, "with room for all, one call merges all"
        assert entries == room or read == most, "a call does not stop before it must"
    assert (guard == GUARD).all()
    bounds.append(int(place[ENTRIES]))
    numbers = np.repeat(np.array(found, np.uint32), np.diff(bounds))
    return found, bounds, unpack_entries(out[:used].reshape(-1), numbers)


def sorted_live(parts: list[Entries], live: NDArray[np.bool_]) -> Entries:
    """The live entries by bucket, then age, then slot."""
    joined = Entries.joined(parts)
    age = np.repeat(np.arange(len(parts)), list(map(len, parts)))
    order = np.lexsort((joined.slots, age, joined.buckets))
    return joined.take(order[live[joined.slots[order]]])


def check(parts: list[Entries], live: NDArray[np.bool_]) -> None:
    expected = sorted_live(parts, live)
    distinct, first = np.unique(expected.buckets, return_index=True)
    for rng in (None, np.random.default_rng(0), np.random.default_rng(1)):
        codes, bounds, found = merged(parts, live, rng)
        assert codes == distinct.tolist()
        assert bounds == [*first.tolist(), len(expected)]
        assert same(found, expected)


def parts_of(sizes: list[int], seed: int = 0) -> list[Entries]:
    """Segments of slots that rise with their age, as an index gives them out."""
    rng = np.random.default_rng(seed)
    slots = np.sort(rng.choice(SLOTS, sum(sizes), replace=False)).astype(np.uint32)
    whole = random_entries(slots, BUCKETS, rng)
    ends = np.cumsum([0, *sizes]).tolist()
    return [whole.take(slice(a, b)) for a, b in pairwise(ends)]


@pytest.mark.parametrize("share", [0.0, 0.05, 0.7, 1.0])
@pytest.mark.parametrize(
    "sizes",
    [[1], [8], [23, 1], [24, 24], [PER_CHUNK * 2, PER_CHUNK + 1, 5], [3_000, 200, 7], [1] * 30],
)
def test_live_entries_are_merged_by_bucket_then_age_across_all_borders(
    sizes: list[int], share: float
) -> None:
    live = np.random.default_rng(1).random(SLOTS) < share
    parts = parts_of(sizes)
    check(parts, live)
    check(parts[::-1], live)


def test_entries_of_one_bucket_alone_and_of_the_last_bucket_there_can_be_are_merged() -> None:
    live = np.ones(SLOTS, np.bool_)
    for bucket in (0, 2**32 - 1):
        parts = parts_of([40, 3, 60])
        for part in parts:
            part.buckets[:] = bucket
        check(parts, live)


def test_a_bucket_whose_entries_are_all_dead_is_left_out() -> None:
    parts = parts_of([200, 50])
    live = np.ones(SLOTS, np.bool_)
    joined = Entries.joined(parts)
    live[joined.slots[np.isin(joined.buckets, [0, 7, 8, BUCKETS - 1])]] = False
    codes, _, _ = merged(parts, live)
    assert not {0, 7, 8, BUCKETS - 1} & set(codes)
    check(parts, live)


def test_nothing_merged_is_nothing() -> None:
    live = np.ones(SLOTS, np.bool_)
    sources, chunks = np.zeros((0, 4), np.int64), np.zeros(0, np.int64)
    codes = starts = np.zeros(0, np.uint32)
    pages = Memory().live_pages(live)
    place = start_place()
    assert merge_segments(
        sources, chunks, PER_CHUNK, pages, chunks, place, 9, 9, codes, starts, chunks
    ) == (0, 0, 0)
    assert place.tolist() == start_place().tolist()
    codes_found, bounds, found = merged(parts_of([20, 9]), ~live)
    assert (codes_found, bounds, len(found)) == ([], [0], 0)


def test_a_merge_of_merged_segments_is_a_merge_of_all() -> None:
    rng = np.random.default_rng(0)
    parts = parts_of([100, 30, 300, 10])
    live = rng.random(SLOTS) < 0.6
    everything = np.ones(SLOTS, np.bool_)
    _, _, old = merged(parts[:2], everything)
    _, _, young = merged(parts[2:], everything)
    _, _, twice = merged([old, young], live)
    _, _, once = merged(parts, live)
    assert same(twice, once)
