"""The tail: the latest entries, not yet in a segment, in the order they came.

Entries in the tail count only if their bucket is probed, exactly as if they stood in a segment.
So an answer does not depend on how far the tail has got. Readers sort them by bucket once a
commit.
"""

from __future__ import annotations

import lmdb

from streamlsh.buckets.layout import GROUP_ENTRIES, Entries, pack_group, unpack_group
from streamlsh.buckets.segment import TAIL_ENTRIES, due_merge, write_segment
from streamlsh.storage.environment import Environment
from streamlsh.storage.live import LiveBitmap
from streamlsh.storage.schema import number_key
from streamlsh.storage.state import State
from streamlsh.storage.values import fetch


def read_tail(transaction: lmdb.Transaction, tail: lmdb._Database, count: int) -> list[Entries]:
    """The first ``count`` entries of the tail, group by group."""
    return [
        unpack_group(
            fetch(transaction, tail, number_key(start // GROUP_ENTRIES)),
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
    live: LiveBitmap,
    live_entries: int,
    entries: Entries,
) -> None:
    """Add a commit's entries: to the tail, or with the tail to a new segment.

    The new segment takes along younger ones that are no longer small beside it. Dead entries
    are left behind on the way.

    Args:
        transaction: the commit's write transaction.
        snapshot: a read transaction of the state before it.
        environment: whose databases these are.
        chunk_bytes: size of the large values.
        state: the state that the commit will leave; its tail and segments are updated.
        live: the bitmap as the commit leaves it.
        live_entries: how many entries are live, about.
        entries: the new entries, all of live slots.
    """
    tail, segments = environment.database("tail"), environment.database("segments")
    if state.tail_entries + len(entries) <= TAIL_ENTRIES:
        kept = state.tail_entries % GROUP_ENTRIES
        group = state.tail_entries // GROUP_ENTRIES
        state.tail_entries += len(entries)
        if kept:
            last = unpack_group(fetch(snapshot, tail, number_key(group)), kept)
            entries = Entries.joined([last, entries])
        for start in range(0, len(entries), GROUP_ENTRIES):
            part = entries.take(slice(start, start + GROUP_ENTRIES))
            transaction.put(number_key(group), pack_group(part).data, db=tail)
            group += 1
        return
    held = read_tail(snapshot, tail, state.tail_entries)
    for group in range(len(held)):
        transaction.delete(number_key(group), db=tail)
    state.tail_entries = 0
    young = Entries.joined([*held, entries])
    due = due_merge(state.segments, len(young), live_entries)
    segment = write_segment(
        transaction, snapshot, segments, chunk_bytes, state.next_segment, due, young,
        live.addresses(),
    )  # fmt: skip
    state.next_segment += 1
    state.segments = state.segments[: len(state.segments) - len(due)]
    if segment:
        state.segments.append(segment)
