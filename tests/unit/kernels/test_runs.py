"""Runs: where the entries of probed buckets stand; the tail, laid out as a segment."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from streamlsh.buckets.layout import (
    BLOCK,
    GROUP_ENTRIES,
    sort_groups,
    unpack_entries,
)
from streamlsh.kernels.compiling import CACHE_LINE
from streamlsh.kernels.runs import BLOCK_BYTES, find_bucket, list_whole_runs
from tests.entries import by_slot, same
from tests.unit.kernels.memory import I64, NOTHING, U32, Memory, random_entries
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


@pytest.mark.parametrize("count", [1, 7, 8, 9, GROUP_ENTRIES, GROUP_ENTRIES + 1, 700])
@pytest.mark.parametrize("more", [0, 3])
def test_the_tail_is_laid_out_as_a_segment_of_its_first_entries(count: int, more: int) -> None:
    rng = np.random.default_rng(count)
    slots = rng.permutation(count + more).astype(np.uint32)
    stored = random_entries(slots, BUCKETS, rng)
    memory = Memory()
    codes, starts, blocks = sort_groups(memory.groups(stored), count)
    assert [part.dtype.str for part in (codes, starts, blocks)] == ["<u4", "<u4", "|u1"]
    assert blocks.ctypes.data % CACHE_LINE == 0
    expected = stored.take(slice(count))
    assert codes.tolist() == sorted(set(expected.buckets.tolist()))
    assert (starts[0], starts[-1]) == (0, count)
    laid = unpack_entries(blocks.view(BLOCK), np.repeat(codes, np.diff(starts)))
    assert same(by_slot(laid), by_slot(expected))
