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

from streamlsh.buckets.layout import (
    BLOCK,
    LANES,
    Entries,
    blocks_per_chunk,
    pack_entries,
    unpack_entries,
)
from streamlsh.kernels.merge import merge_segments
from streamlsh.storage.schema import IN_PLACE, PAD, in_place, segment_key
from streamlsh.storage.values import address_of, fetch

TAIL_ENTRIES = 8192
"""Entries the tail may hold; a commit that brings it above turns it into a segment."""
MOST_DEAD = 2
"""Entries held for each live one above which all segments are merged."""
RATIO = 8
"""A segment holds at least so many times what the next younger one holds; if not, they are merged.
Every segment that a query meets costs it, so there are few: two of any size to speak of."""

I64 = NDArray[np.int64]


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

    def pack(self) -> list[int]:
        """As msgpack can hold it."""
        return [self.number, self.entries, self.codes, self.chunks]


def write_segment(
    transaction: lmdb.Transaction,
    snapshot: lmdb.Transaction,
    database: lmdb._Database,
    chunk_bytes: int,
    number: int,
    merged: list[Segment],
    entries: Entries,
    live: I64,
) -> Segment | None:
    """Store the live entries of older segments and new ones, in any order, as a segment.

    Args:
        transaction: the commit's write transaction.
        snapshot: a read transaction that sees the older segments.
        database: the ``segments`` database.
        chunk_bytes: size of the large values.
        number: of the new segment.
        merged: older segments, oldest first; they are deleted.
        entries: new entries, younger than theirs.
        live: addresses of the live bitmap's pages as the commit leaves it.

    Returns:
        The segment, or ``None`` if nothing is live.
    """
    per_chunk = LANES * blocks_per_chunk(chunk_bytes)
    order = np.lexsort((entries.slots, entries.buckets))
    entries = entries.take(order)
    new_codes, first = np.unique(entries.buckets, return_index=True)
    new_starts = np.append(first, len(entries)).astype(np.uint32)
    new_blocks = pack_entries(entries)
    sources = np.zeros((len(merged) + 1, 4), np.int64)
    chunks: list[int] = []
    for row, segment in zip(sources, merged, strict=False):
        parts = [
            address_of(fetch(snapshot, database, segment_key(segment.number, part))) + PAD
            for part in range(segment.chunks + 1)
        ]
        row[:] = segment.codes, parts[0], parts[0] + 4 * segment.codes, len(chunks)
        chunks += parts[1:]
    sources[-1] = len(new_codes), address_of(new_codes), address_of(new_starts), len(chunks)
    step = per_chunk // LANES * BLOCK.itemsize
    chunks += range(address_of(new_blocks), address_of(new_blocks) + new_blocks.nbytes, step)
    held = sum(segment.entries for segment in merged) + len(entries)
    codes = np.empty(int(sources[:, 0].sum()), np.uint32)
    starts = np.empty(len(codes) + 1, np.uint32)
    out = np.zeros((-(-held // per_chunk), chunk_bytes), np.uint8)
    targets = address_of(out) + PAD + chunk_bytes * np.arange(len(out))
    occupied, count = merge_segments(
        sources, np.array(chunks, np.int64), per_chunk, live, codes, starts, targets
    )
    for segment in merged:
        delete_segment(transaction, database, segment)
    if not count:
        return None
    directory = np.concatenate([codes[:occupied], starts[: occupied + 1]])
    transaction.put(segment_key(number, 0), in_place(directory.tobytes()), db=database)
    used = -(-count // per_chunk)
    for part in range(used):
        blocks = -(-min(per_chunk, count - part * per_chunk) // LANES)
        size = max(PAD + blocks * BLOCK.itemsize, IN_PLACE)
        transaction.put(segment_key(number, part + 1), out[part, :size].data, db=database)
    return Segment(number, count, occupied, used)


def read_directory(
    transaction: lmdb.Transaction, database: lmdb._Database, segment: Segment
) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """A segment's sorted codes and its starts, in place."""
    value = fetch(transaction, database, segment_key(segment.number, 0))
    directory = np.frombuffer(value, np.uint32, 2 * segment.codes + 1, offset=PAD)
    return directory[: segment.codes], directory[segment.codes :]


def read_segment(
    transaction: lmdb.Transaction, database: lmdb._Database, segment: Segment
) -> Entries:
    """All entries of a segment, copied."""
    codes, starts = read_directory(transaction, database, segment)
    values = [
        fetch(transaction, database, segment_key(segment.number, part))
        for part in range(1, segment.chunks + 1)
    ]
    # A short last chunk is padded to the least size of an in-place value.
    blocks = np.concatenate(
        [np.frombuffer(value, BLOCK, (len(value) - PAD) // BLOCK.itemsize, PAD) for value in values]
    )
    return unpack_entries(blocks, np.repeat(codes, np.diff(starts)))


def delete_segment(
    transaction: lmdb.Transaction, database: lmdb._Database, segment: Segment
) -> None:
    """Remove all parts of a segment."""
    for part in range(segment.chunks + 1):
        transaction.delete(segment_key(segment.number, part), db=database)


def due_merge(segments: list[Segment], new: int, live_entries: int) -> list[Segment]:
    """The youngest segments that new entries must be merged with to keep the ``RATIO``.

    All of them, once most of what they hold is dead: a small index that is rewritten all the
    time would else be mostly dead entries.

    Args:
        segments: all segments, oldest first.
        new: how many new entries there are.
        live_entries: how many entries of the index are live, about.
    """
    held = sum(segment.entries for segment in segments)
    if held > MOST_DEAD * live_entries + TAIL_ENTRIES:
        return list(segments)
    first = len(segments)
    while first and segments[first - 1].entries < RATIO * new:
        first -= 1
        new += segments[first].entries
    return segments[first:]
