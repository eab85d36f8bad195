"""The tail: the latest entries, not yet in a segment, in the order they came.

Entries in the tail count only if their bucket is probed, exactly as if they stood in a segment.
So an answer does not depend on how far the tail has got. Readers lay them out as a segment, in
their own memory, once a commit.
"""

from __future__ import annotations

from dataclasses import dataclass

import lmdb
import numpy as np
from numpy.typing import NDArray

from streamlsh.buckets.layout import GROUP_BYTES, GROUP_ENTRIES, Entries, pack_group, unpack_group
from streamlsh.buckets.merging import AT_ONCE, Merge, Purge, free_segments, go_on
from streamlsh.buckets.segment import (
    TAIL_ENTRIES,
    Segment,
    due_merge,
    entries_per_chunk,
    write_segment,
)
from streamlsh.storage.environment import Environment
from streamlsh.storage.schema import number_key
from streamlsh.storage.state import State
from streamlsh.storage.values import fetch


def read_tail(transaction: lmdb.Transaction, tail: lmdb._Database, count: int) -> list[Entries]:
    """The first ``count`` entries of the tail, group by group."""
    return [
        unpack_group(
            fetch(transaction, tail, number_key(start // GROUP_ENTRIES), GROUP_BYTES),
            min(GROUP_ENTRIES, count - start),
        )
        for start in range(0, count, GROUP_ENTRIES)
    ]


def add_entries(
    transaction: lmdb.Transaction,
    snapshot: lmdb.Transaction,
    environment: Environment,
    chunk_bytes: int,
    state: State,
    live: NDArray[np.int64],
    entries: Entries,
    room: int,
    purge: bool,
) -> Purge:
    """Add a commit's entries to the tail, or make a segment of both; go on with merges.

    A new segment takes along younger ones that are no longer small beside it: at once if all are
    small, else by a merge that later commits carry out. To be called once in every commit, also
    without entries: merges go on with every commit.

    Args:
        transaction: the commit's write transaction.
        snapshot: a read transaction of the state before it.
        environment: whose databases these are.
        chunk_bytes: size of the large values.
        state: the state that the commit will leave; its tail, segments and merges are updated.
        live: addresses of the live bitmap's pages as the commit leaves it.
        entries: the new entries, all of live slots.
        room: entries that may be written for merges which earlier commits began.
        purge: whether to begin a purge. None is begun while any merge is under way: it was if the
            answer says so; else ask again with a later commit.

    Returns:
        Whether a purge was begun, and whether one has finished.
    """
    change = _Change(transaction, snapshot, environment, chunk_bytes, state, live)
    under_way = list(state.merges)
    done = Purge.NONE
    if purge and not under_way:
        done = change.purge(entries)
    elif state.tail_entries + len(entries) > TAIL_ENTRIES:
        change.turn(entries)
    elif len(entries):
        change.append(entries)
    return done | change.go_on(under_way, room)[0]


def reclaim(
    transaction: lmdb.Transaction,
    snapshot: lmdb.Transaction,
    environment: Environment,
    chunk_bytes: int,
    state: State,
    live: NDArray[np.int64],
    room: int,
) -> tuple[Purge, int]:
    """Go on with merges, or, if none is under way, begin a purge. Nothing is added.

    Args:
        transaction: a write transaction; what it leaves is the same content.
        snapshot: a read transaction of the state before it.
        environment: whose databases these are.
        chunk_bytes: size of the large values.
        state: the state that the transaction will leave; its tail, segments and merges are updated.
        live: addresses of the live bitmap's pages.
        room: entries that may be written.

    Returns:
        Whether a purge was begun, and whether one has finished; and how much of the room is used
        up, at least one.
    """
    change = _Change(transaction, snapshot, environment, chunk_bytes, state, live)
    if not state.merges:
        return change.purge(Entries.none()), 1
    done, used = change.go_on(list(state.merges), room)
    return done, max(used, 1)


@dataclass(frozen=True, slots=True)
class _Change:
    """What one commit does to the tail, the segments and the merges; see ``add_entries``."""

    transaction: lmdb.Transaction
    snapshot: lmdb.Transaction
    environment: Environment
    chunk_bytes: int
    state: State
    live: NDArray[np.int64]

    def append(self, entries: Entries) -> None:
        """Add entries to the tail."""
        state, tail = self.state, self.environment.database("tail")
        kept = state.tail_entries % GROUP_ENTRIES
        group = state.tail_entries // GROUP_ENTRIES
        state.tail_entries += len(entries)
        if kept:
            last = unpack_group(fetch(self.snapshot, tail, number_key(group), GROUP_BYTES), kept)
            entries = Entries.joined([last, entries])
        for start in range(0, len(entries), GROUP_ENTRIES):
            part = entries.take(slice(start, start + GROUP_ENTRIES))
            self.transaction.put(number_key(group), pack_group(part).data, db=tail)
            group += 1

    def turn(self, entries: Entries) -> None:
        """Make a segment of the tail and new entries, with those that it must take along."""
        young = self._take_tail(entries)
        free = free_segments(self.state.segments, self.state.merges)
        self._merge(due_merge(free, len(young)), young, purge=False)

    def purge(self, entries: Entries) -> Purge:
        """Merge everything: all segments, the tail and new entries."""
        finished = self._merge(self.state.segments, self._take_tail(entries), purge=True)
        return Purge.BEGUN | Purge.FINISHED if finished else Purge.BEGUN

    def go_on(self, merges: list[Merge], room: int) -> tuple[Purge, int]:
        """Write on at merges that were there before, the youngest first.

        Args:
            merges: all that the snapshot knows of.
            room: entries to write; those of one chunk if that is more.

        Returns:
            Whether a purge has finished, and how much of the room is used up.
        """
        state, done = self.state, Purge.NONE
        per_chunk = entries_per_chunk(self.chunk_bytes)
        room = left = max(room, per_chunk)
        for merge in reversed(merges):
            if left < per_chunk:
                break
            first = [segment.number for segment in state.segments].index(merge.sources[0])
            end = first + len(merge.sources)
            used, merged = go_on(
                self.transaction, self.snapshot, self.environment.database("segments"),
                self.chunk_bytes, merge, state.segments[first:end], self.live, left,
            )  # fmt: skip
            left -= used
            if merged is not None:
                state.segments[first:end] = merged
                state.merges.remove(merge)
                if merge.purge:
                    done = Purge.FINISHED
        return done, room - left

    def _take_tail(self, entries: Entries) -> Entries:
        """The tail's entries, which are deleted there, and new ones."""
        tail = self.environment.database("tail")
        held = read_tail(self.snapshot, tail, self.state.tail_entries)
        for group in range(len(held)):
            self.transaction.delete(number_key(group), db=tail)
        self.state.tail_entries = 0
        return Entries.joined([*held, entries])

    def _merge(self, older: list[Segment], young: Entries, *, purge: bool) -> bool:
        """Make a segment of young entries, and merge it with the youngest segments.

        Returns:
            Whether that is done already.
        """
        state = self.state
        at_once = sum(segment.entries for segment in older) + len(young) <= AT_ONCE
        taken = older if at_once else []
        segment = write_segment(
            self.transaction, self.snapshot, self.environment.database("segments"),
            self.chunk_bytes, self._number(), taken, young, self.live,
        )  # fmt: skip
        new = [segment] if segment else []
        sources = [s.number for s in [*older, *new]]
        state.segments = [*state.segments[: len(state.segments) - len(taken)], *new]
        if at_once or not older:
            return True
        # The new segment is not in the snapshot yet: a later commit begins to read.
        state.merges.append(Merge.of(self._number(), sources, purge=purge))
        return False

    def _number(self) -> int:
        number = self.state.next_segment
        self.state.next_segment += 1
        return number
