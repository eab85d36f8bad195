"""The tail: the latest entries, not yet in a segment, in the order they came.

Entries in the tail are scanned one by one and count only if their bucket is probed, exactly as
if they stood in a segment. So an answer does not depend on how far the tail has got.
"""

from __future__ import annotations

import lmdb

from streamlsh.buckets.layout import GROUP_ENTRIES, Entries, EntryLayout
from streamlsh.buckets.segment import (
    TAIL_ENTRIES,
    delete_segment,
    due_merge,
    read_segment,
    write_segment,
)
from streamlsh.storage.environment import Environment
from streamlsh.storage.live import LiveBitmap
from streamlsh.storage.schema import number_key
from streamlsh.storage.state import State
from streamlsh.storage.values import fetch


def read_tail(
    transaction: lmdb.Transaction, tail: lmdb._Database, layout: EntryLayout, count: int
) -> list[Entries]:
    """The first ``count`` entries of the tail, group by group."""
    return [
        layout.unpack_group(
            fetch(transaction, tail, number_key(start // GROUP_ENTRIES)),
            min(GROUP_ENTRIES, count - start),
        )
        for start in range(0, count, GROUP_ENTRIES)
    ]


def add_entries(
    transaction: lmdb.Transaction,
    snapshot: lmdb.Transaction,
    environment: Environment,
    layout: EntryLayout,
    chunk_bytes: int,
    state: State,
    live: LiveBitmap,
    live_entries: int,
    entries: Entries,
) -> None:
    """Add a commit's entries: to the tail, or with the tail to a new segment.

    If that fills a tier of segments, the tier is merged. Dead entries are left behind on both
    ways.

    Args:
        transaction: the commit's write transaction.
        snapshot: a read transaction of the state before it.
        environment: whose databases these are.
        layout: of the index's entries.
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
            last = layout.unpack_group(fetch(snapshot, tail, number_key(group)), kept)
            entries = Entries.joined([last, entries])
        for start in range(0, len(entries), GROUP_ENTRIES):
            part = entries.take(slice(start, start + GROUP_ENTRIES))
            transaction.put(number_key(group), layout.pack_group(part), db=tail)
            group += 1
        return
    held = read_tail(snapshot, tail, layout, state.tail_entries)
    for group in range(len(held)):
        transaction.delete(number_key(group), db=tail)
    state.tail_entries = 0
    merged = Entries.joined([*held, entries])
    merged = merged.take(live.test(merged.slots))

    def store(entries: Entries) -> None:
        if len(entries):
            number = state.next_segment
            state.next_segment += 1
            state.segments.append(
                write_segment(transaction, segments, layout, chunk_bytes, number, entries)
            )

    # The new segment is not yet in the snapshot, so a merge that it makes due takes it along
    # with the next commit that finds the tier full.
    due = due_merge(state.segments, live_entries)
    store(merged)
    if due:
        parts = Entries.joined([read_segment(snapshot, segments, layout, s) for s in due])
        for segment in due:
            delete_segment(transaction, segments, segment)
            state.segments.remove(segment)
        store(parts.take(live.test(parts.slots)))
