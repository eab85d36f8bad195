"""Runs: where the entries of probed buckets stand, in segments and in the tail."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from streamlsh.buckets.layout import (
    GROUP_ENTRIES,
    sort_groups,
)
from streamlsh.kernels.runs import (
    BLOCK_BYTES,
    find_bucket,
    find_in_tail,
    list_tail_runs,
    list_whole_runs,
)
from streamlsh.kernels.scan import (
    SLOTS_AT,
)
from streamlsh.storage.schema import PAD
from tests.unit.kernels.memory import I64, NOTHING, U32
from tests.unit.kernels.table import BUCKETS, F32, PER_CHUNK, Table


@pytest.mark.parametrize("share", [0.02, 0.5, 0.98, 1.0])
def test_a_bucket_is_found_where_it_stands_or_not_at_all(share: float) -> None:
    rng = np.random.default_rng(0)
    for buckets in (1, 2, 64, 501):
        held = rng.random(buckets) < share
        codes = np.flatnonzero(held).astype(np.uint32)
        for bucket in range(buckets):
            place = find_bucket(codes, bucket, buckets)
            assert place == (int(np.searchsorted(codes, bucket)) if held[bucket] else -1)


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
