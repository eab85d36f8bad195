"""Segments: immutable bucket tables over a set of slots.

A segment is stored in parts. Part 0 is its directory: the sorted codes of the occupied buckets
and, for each, where its entries start (one more start closes the last). The further parts are
chunks of entry blocks. Entries are ordered by bucket, then slot, and buckets follow each other
without gaps, so a block may hold the end of one bucket and the beginning of the next.
"""

from __future__ import annotations

from dataclasses import dataclass

import lmdb
import numpy as np
from numpy.typing import NDArray

from streamlsh.buckets.layout import Entries, EntryLayout
from streamlsh.storage.schema import PAD, in_place, segment_key
from streamlsh.storage.values import fetch

TAIL_ENTRIES = 8192
"""Entries the tail may hold; a commit that brings it above turns it into a segment."""
MOST_DEAD = 2
"""Entries held for each live one above which all segments are merged."""
FAN_OUT = 16
"""Segments of one level that are merged into one of the next. Large, because every segment
that a query meets costs it (eight segments: 40 %), and merging is cheap."""


@dataclass(frozen=True, slots=True)
class Segment:
    """What the index's state says of one segment.

    Attributes:
        number: its key, never used again.
        entries: how many it holds, dead ones included.
        codes: how many buckets are occupied.
        chunks: how many parts hold its entries.
    """

    number: int
    entries: int
    codes: int
    chunks: int

    @property
    def level(self) -> int:
        """Tier by size: segments of one tier are merged once there are ``FAN_OUT`` of them."""
        level = 0
        while self.entries > TAIL_ENTRIES * FAN_OUT ** (level + 1) // 2:
            level += 1
        return level

    def pack(self) -> list[int]:
        """As msgpack can hold it."""
        return [self.number, self.entries, self.codes, self.chunks]


def write_segment(
    transaction: lmdb.Transaction,
    database: lmdb._Database,
    layout: EntryLayout,
    chunk_bytes: int,
    number: int,
    entries: Entries,
) -> Segment:
    """Store entries, in any order, as a segment."""
    order = np.lexsort((entries.slots, entries.buckets))
    entries = entries.take(order)
    codes, starts = np.unique(entries.buckets, return_index=True)
    directory = np.concatenate([codes, starts, [len(entries)]]).astype(np.uint32)
    transaction.put(segment_key(number, 0), in_place(directory.tobytes()), db=database)
    blocks = layout.pack(entries)
    per_chunk = layout.blocks_per_chunk(chunk_bytes)
    parts = range(0, len(blocks), per_chunk)
    for part, start in enumerate(parts, 1):
        transaction.put(
            segment_key(number, part),
            in_place(blocks[start : start + per_chunk].tobytes()),
            db=database,
        )
    return Segment(number, len(entries), len(codes), len(parts))


def read_directory(
    transaction: lmdb.Transaction, database: lmdb._Database, segment: Segment
) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """A segment's sorted codes and its starts, in place."""
    value = fetch(transaction, database, segment_key(segment.number, 0))
    directory = np.frombuffer(value, np.uint32, 2 * segment.codes + 1, offset=PAD)
    return directory[: segment.codes], directory[segment.codes :]


def read_segment(
    transaction: lmdb.Transaction,
    database: lmdb._Database,
    layout: EntryLayout,
    segment: Segment,
) -> Entries:
    """All entries of a segment, copied."""
    codes, starts = read_directory(transaction, database, segment)
    values = [
        fetch(transaction, database, segment_key(segment.number, part))
        for part in range(1, segment.chunks + 1)
    ]
    # A short last chunk is padded to the least size of an in-place value.
    blocks = np.concatenate(
        [
            np.frombuffer(value, layout.block, (len(value) - PAD) // layout.block.itemsize, PAD)
            for value in values
        ]
    )
    return layout.unpack(blocks, np.repeat(codes, np.diff(starts)))


def delete_segment(
    transaction: lmdb.Transaction, database: lmdb._Database, segment: Segment
) -> None:
    """Remove all parts of a segment."""
    for part in range(segment.chunks + 1):
        transaction.delete(segment_key(segment.number, part), db=database)


def due_merge(segments: list[Segment], live_entries: int) -> list[Segment]:
    """The segments to merge now, or none.

    Those of the lowest tier that has ``FAN_OUT`` of them; but all, once most of what they hold
    is dead: a small index that is rewritten all the time would else be mostly dead entries.

    Args:
        segments: all segments.
        live_entries: how many of their entries are live, about.
    """
    held = sum(segment.entries for segment in segments)
    if len(segments) > 1 and held > MOST_DEAD * live_entries + TAIL_ENTRIES:
        return list(segments)
    for level in sorted({segment.level for segment in segments}):
        members = [segment for segment in segments if segment.level == level]
        if len(members) >= FAN_OUT:
            return members
    return []
