"""Merges that go on over many commits: what they write, when they begin, how much at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import lmdb
import numpy as np
import pytest
from numpy.typing import NDArray

from streamlsh.buckets import merging, segment, tail
from streamlsh.buckets.layout import WORDS, Entries
from streamlsh.buckets.merging import (
    AT_ONCE,
    Merge,
    Purge,
    allowance,
    free_segments,
)
from streamlsh.buckets.segment import (
    TAIL_ENTRIES,
    Segment,
    entries_per_chunk,
    read_segment,
    write_segment,
)
from streamlsh.buckets.tail import add_entries, read_tail, reclaim
from streamlsh.kernels.merge import ENTRIES
from streamlsh.storage.schema import LIVE_PAGE_SLOTS, STATE_KEY, segment_key
from streamlsh.storage.state import State, read_state
from tests.entries import by_slot, same

CHUNK_BYTES = 3_000
"""Size of large values, for a few blocks of entries in each."""
PER_CHUNK = entries_per_chunk(CHUNK_BYTES)
PAGES = 4
SLOTS = PAGES * LIVE_PAGE_SLOTS
ENTRIES_A_SLOT = 2
Result = TypeVar("Result")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Constants with which a few hundred entries are merged over many commits."""
    monkeypatch.setattr(tail, "TAIL_ENTRIES", 100)
    monkeypatch.setattr(tail, "AT_ONCE", 150)
    monkeypatch.setattr(segment, "RATIO", 3)
    monkeypatch.setattr(merging, "LEAST", 50)
    monkeypatch.setattr(merging, "AMPLIFY", 4)


@dataclass
class Databases:
    """As much of an ``Environment`` as the bucket tables need."""

    handle: lmdb.Environment
    databases: dict[str, Any] = field(default_factory=dict)

    def database(self, name: str) -> Any:
        if name not in self.databases:
            self.databases[name] = self.handle.open_db(name.encode())
        return self.databases[name]


@contextmanager
def databases(path: Path) -> Iterator[Databases]:
    with lmdb.open(str(path), max_dbs=3, map_size=1 << 28, sync=False) as handle:
        found = Databases(handle)
        for name in ("meta", "segments", "tail"):
            found.database(name)
        yield found


class Index:
    """Bucket tables, the live bitmap, and what both must come to."""

    def __init__(self, environment: Databases, seed: int) -> None:
        self.environment = environment
        self.rng = np.random.default_rng(seed)
        self.live = np.zeros(SLOTS, np.bool_)
        self.slot_end = 0
        self.expected = empty()
        self.most_written = 0
        with environment.handle.begin(write=True) as transaction:
            transaction.put(STATE_KEY, State().pack(), db=environment.database("meta"))

    def state(self) -> State:
        """As a process that begins now would find it."""
        with self.environment.handle.begin(buffers=True) as transaction:
            return read_state(transaction, self.environment.database("meta"))

    def commit(self, rows: int, died: int, *, purge: bool = False) -> Purge:
        """A commit of new rows in which others die; each has ``ENTRIES_A_SLOT`` entries."""
        slots = np.arange(self.slot_end, self.slot_end + rows)
        dead = self.rng.permutation(np.flatnonzero(self.live))[:died]
        self.slot_end += rows
        self.live[slots] = True
        self.live[dead] = False
        entries = random_entries(np.repeat(slots, ENTRIES_A_SLOT), self.rng)
        self.expected = Entries.joined([self.expected, entries])
        self.expected = self.expected.take(self.live[self.expected.slots])
        room = allowance(len(entries) + len(dead) * ENTRIES_A_SLOT)
        return self._write(add_entries, entries, room, purge)

    def reclaim(self, room: int) -> tuple[Purge, int]:
        """A transaction that goes on with merges and adds nothing."""
        return self._write(reclaim, room)

    def _write(self, change: Callable[..., Result], *arguments: Any) -> Result:
        """One transaction that changes the tables as they are now, and what the change returns."""
        environment = self.environment
        pages = np.packbits(self.live.reshape(PAGES, -1), axis=1, bitorder="little")
        addresses = pages.ctypes.data + pages.strides[0] * np.arange(PAGES)
        state = self.state()
        with (
            environment.handle.begin(buffers=True) as snapshot,
            environment.handle.begin(write=True) as transaction,
        ):
            result = change(
                transaction, snapshot, environment, CHUNK_BYTES, state, addresses, *arguments
            )
            transaction.put(STATE_KEY, state.pack(), db=environment.database("meta"))
        return result

    def stored(self) -> Entries:
        """All entries of segments and tail, dead ones included, by bucket and slot."""
        state = self.state()
        with self.environment.handle.begin(buffers=True) as transaction:
            parts = [
                empty(),
                *read_tail(transaction, self.environment.database("tail"), state.tail_entries),
            ]
            for one in state.segments:
                part = read_segment(transaction, self.environment.database("segments"), one)
                assert len(part) == one.entries
                parts.append(part)
        return Entries.joined(parts)

    def keys(self) -> set[bytes]:
        """All keys of the segments' database."""
        with self.environment.handle.begin() as transaction:
            return {bytes(k) for k, _ in transaction.cursor(self.environment.database("segments"))}

    def check(self) -> None:
        """The live entries are those expected, and nothing is stored that nothing refers to."""
        stored = self.stored()
        live = stored.take(self.live[stored.slots])
        assert same(by_slot(live), by_slot(self.expected))
        state = self.state()
        keys = {segment_key(s.number, part) for s in state.segments for part in range(s.chunks + 1)}
        for merge in state.merges:
            keys |= {segment_key(merge.number, 1 + chunk) for chunk in range(merge.chunks)}
            keys |= {
                segment_key(merge.number, merging.PIECES + piece) for piece in range(merge.pieces)
            }
        assert self.keys() == keys


def random_entries(slots: NDArray[np.int64], rng: np.random.Generator) -> Entries:
    count = len(slots)
    f, a = rng.standard_normal((2, count)).astype(np.float16)
    buckets = rng.integers(0, 60, count).astype(np.uint32)
    bits = rng.integers(0, 2**64, (count, WORDS), np.uint64)
    return Entries(buckets, bits, f, a, slots.astype(np.uint32))


def empty() -> Entries:
    return random_entries(np.zeros(0, np.int64), np.random.default_rng(0))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("seed", range(4))
def test_live_entries_are_all_there_after_every_commit_and_a_purge_leaves_no_dead_ones(
    seed: int, tmp_path: Path
) -> None:
    began = at_once = 0
    dead_before: NDArray[np.int64] | None = None
    with databases(tmp_path) as environment:
        index = Index(environment, seed)
        rng = np.random.default_rng(seed)
        for _ in range(400):
            rows = int(rng.choice([0, 1, 5, 30, 80]))
            died = int(rng.choice([0, rows, rows // 2, 60]))
            wish, before = bool(rng.random() < 0.1), index.state()
            result = index.commit(rows, died, purge=wish)
            index.check()
            if wish and not before.merges:
                assert Purge.BEGUN in result
                dead_before = np.flatnonzero(~index.live[: index.slot_end])
                began += 1
            else:
                assert Purge.BEGUN not in result
            assert index.state().purging == (
                (before.purging or Purge.BEGUN in result) and Purge.FINISHED not in result
            )
            if Purge.FINISHED in result:
                assert dead_before is not None
                assert not np.isin(index.stored().slots, dead_before).any()
                at_once += Purge.BEGUN in result
                dead_before = None
        assert began > at_once, "some purges took several commits"


@pytest.mark.usefixtures("small")
def test_a_commit_writes_no_more_of_merges_than_its_allowance_and_no_less_than_a_chunk(
    tmp_path: Path,
) -> None:
    with databases(tmp_path) as environment:
        index = Index(environment, 0)
        for rows in [100] * 12:
            index.commit(rows, 0)
        while index.state().merges:
            index.commit(0, 0)
        assert Purge.BEGUN in index.commit(0, 0, purge=True)
        commits = 0
        while index.state().purging:
            before = index.state().merges[0].entries
            died = int(index.rng.integers(0, 9))
            index.commit(0, died)
            commits += 1
            if index.state().purging:
                written = index.state().merges[0].entries - before
                room = max(allowance(died * ENTRIES_A_SLOT), PER_CHUNK)
                assert written == room // PER_CHUNK * PER_CHUNK
        assert commits > 10


@pytest.mark.usefixtures("small")
def test_a_commit_that_waits_for_slots_carries_merges_to_their_end_and_purges(
    tmp_path: Path,
) -> None:
    with databases(tmp_path) as environment:
        index = Index(environment, 0)
        for rows in [100] * 12:
            index.commit(rows, 40)
        assert index.state().merges
        assert not index.state().purging
        dead = np.flatnonzero(~index.live[: index.slot_end])
        results: list[tuple[Purge, int]] = []
        while not results or Purge.FINISHED not in results[-1][0]:
            results.append(index.reclaim(60))
            index.check()
        assert sum(Purge.BEGUN in done for done, _ in results) == 1
        assert all(0 < used <= max(60, PER_CHUNK) for _, used in results)
        assert len(results) > 20
        assert not np.isin(index.stored().slots, dead).any()


@pytest.mark.usefixtures("small")
def test_reading_dead_entries_counts_and_a_chunk_may_be_finished_by_a_later_commit(
    tmp_path: Path,
) -> None:
    with databases(tmp_path) as environment:
        index = Index(environment, 0)
        for rows in [400] * 6:
            index.commit(rows, 0)
        while index.state().merges:
            index.commit(0, 0)
        index.commit(0, int(index.live.sum()) - 20, purge=True)
        places = []
        while index.state().purging:
            index.check()
            places.append(index.state().merges[0].place)
            index.commit(0, 0)
        index.check()
        assert len(places) > 10, "so many dead entries are not read in one commit"
        assert any(entries % PER_CHUNK for *_, entries in places)
        assert len(index.stored()) == 20 * ENTRIES_A_SLOT


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_merge_over_many_commits_stores_the_bytes_of_one_at_once(
    share: float, tmp_path: Path
) -> None:
    with databases(tmp_path) as environment:
        index = Index(environment, 0)
        for rows in [400] * 6:
            index.commit(rows, 0)
        while index.state().merges:
            index.commit(0, 0)
        index.commit(100, int(share * (index.live.sum() + 100)), purge=True)
        state = index.state()
        assert state.purging
        pages = np.packbits(index.live.reshape(PAGES, -1), axis=1, bitorder="little")
        addresses = pages.ctypes.data + pages.strides[0] * np.arange(PAGES)
        database = environment.database("segments")
        with (
            environment.handle.begin(buffers=True) as snapshot,
            environment.handle.begin(write=True) as transaction,
        ):
            once = write_segment(
                transaction, snapshot, database, CHUNK_BYTES, 99, state.segments, empty(),
                addresses,
            )  # fmt: skip
            parts = range(once.chunks + 1) if once else range(0)
            wanted = [transaction.get(segment_key(99, p), db=database) for p in parts]
            transaction.abort()
        while index.state().purging:
            index.commit(0, 0)
        found = index.state().segments
        if once is None:
            assert found == []
            assert not index.keys()
            return
        assert [s.pack()[1:] for s in found] == [once.pack()[1:]]
        with environment.handle.begin() as transaction:
            for part, value in enumerate(wanted):
                assert transaction.get(segment_key(found[0].number, part), db=database) == value


@pytest.mark.usefixtures("small")
def test_an_older_snapshot_reads_the_sources_when_they_are_merged_already(tmp_path: Path) -> None:
    with databases(tmp_path) as environment:
        index = Index(environment, 0)
        for rows in [100] * 8:
            index.commit(rows, 0)
        state, wanted = index.state(), index.stored()
        database = environment.database("segments")
        with environment.handle.begin(buffers=True) as snapshot:
            while index.state().merges:
                index.commit(0, 0)
            index.commit(0, 10, purge=True)
            while index.state().purging:
                index.commit(0, 0)
            parts = [read_segment(snapshot, database, s) for s in state.segments]
            held = read_tail(snapshot, environment.database("tail"), state.tail_entries)
        assert same(Entries.joined([empty(), *held, *parts]), wanted)


def test_segments_younger_than_those_of_a_merge_are_free() -> None:
    segments = [Segment(number, 1, 1, 1) for number in (3, 7, 4, 9, 11)]
    assert free_segments(segments, []) == segments
    merge = Merge.of(12, [3, 7], purge=False)
    assert free_segments(segments, [merge]) == segments[2:]
    younger = Merge.of(13, [4, 9], purge=False)
    assert free_segments(segments, [merge, younger]) == segments[4:]


class Numbers:
    """Merging in numbers alone: how many entries are written, and when.

    Takes the place of what stores segments; one holds nothing but how many entries it has.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.values: dict[bytes, bytes] = {}
        self.state = State()
        self.written = self.of_commit = 0
        monkeypatch.setattr(tail, "write_segment", self.write_segment)
        monkeypatch.setattr(tail, "go_on", self.go_on)

    def database(self, name: str) -> str:
        return name

    def get(self, key: bytes, db: str) -> bytes:
        assert db == "tail"
        return self.values[key]

    def put(self, key: bytes, value: memoryview, db: str) -> None:
        assert db == "tail"
        self.values[key] = bytes(value)

    def delete(self, key: bytes, db: str) -> None:
        assert db == "tail"
        del self.values[key]

    def write_segment(self, *given: Any) -> Segment:
        _, _, _, _, number, older, entries, _ = given
        count = len(entries) + sum(one.entries for one in older)
        self.of_commit += count
        return Segment(number, count, 1, 1)

    def go_on(self, *given: Any) -> tuple[int, list[Segment] | None]:
        _, _, _, chunk_bytes, merge, segments, _, room = given
        assert [one.number for one in segments] == merge.sources
        held = sum(one.entries for one in segments)
        per_chunk = entries_per_chunk(chunk_bytes)
        used = min(room // per_chunk * per_chunk, held - merge.entries)
        merge.place[ENTRIES] += used
        self.of_commit += used
        done = merge.entries == held
        return used, [Segment(merge.number, held, 1, 1)] if done else None

    def commit(self, entries: Entries) -> None:
        self.of_commit = 0
        add_entries(
            self, self, self, 1 << 20, self.state, np.zeros(0, np.int64), entries,  # type: ignore[arg-type]
            allowance(len(entries)), purge=False,
        )  # fmt: skip
        self.written += self.of_commit


@pytest.mark.parametrize("size", [1_000, 3_000, 8_000, 20_000])
def test_segments_stay_few_and_commits_small_up_to_five_million_entries(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = Numbers(monkeypatch)
    entries = random_entries(np.zeros(size, np.int64), np.random.default_rng(0))
    most = allowance(size) + AT_ONCE + TAIL_ENTRIES + size
    total = 0
    counts = []
    while total < 5_000_000:
        numbers.commit(entries)
        total += size
        state = numbers.state
        assert sum(one.entries for one in state.segments) + state.tail_entries == total
        assert numbers.of_commit <= most
        counts.append(len(state.segments))
    assert max(counts) <= 8
    assert np.mean(counts) < 5
    assert numbers.written < 15 * total, "an entry is not written again and again"
