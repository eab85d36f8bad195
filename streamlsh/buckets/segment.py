"""Segments: immutable bucket tables over a set of slots.

A segment is stored in parts. Part 0 is its directory: the sorted codes of the occupied buckets
and, for each, where its entries start (one more start closes the last). The further parts are
chunks of entry blocks. Entries are ordered by bucket, within a bucket by the age of the segments
that they were merged from and there by slot. Buckets follow each other without gaps, so a block
may hold the end of one bucket and the beginning of the next.
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
from streamlsh.kernels.merge import ENTRIES, merge_segments, start_place
from streamlsh.storage.schema import IN_PLACE, PAD, in_place, segment_key
from streamlsh.storage.values import address_of, fetch

TAIL_ENTRIES = 8192
"""Entries the tail may hold; a commit that brings it above turns it into a segment."""
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


def segment_keys(segment: Segment) -> list[bytes]:
    """The keys of all parts of a segment, the directory's first."""
    return [segment_key(segment.number, part) for part in range(segment.chunks + 1)]


def part_addresses(
    transaction: lmdb.Transaction, database: lmdb._Database, segment: Segment, chunk_bytes: int
) -> list[int]:
    """Where the content of all parts of a segment is, the directory's first.

    Raises:
        CorruptIndexError: one is missing, or too short for what it must hold.
    """
    per_chunk = entries_per_chunk(chunk_bytes)
    sizes = [_directory_size(segment)]
    sizes += [chunk_size(segment.entries, per_chunk, chunk) for chunk in range(segment.chunks)]
    return [
        address_of(fetch(transaction, database, key, size)) + PAD
        for key, size in zip(segment_keys(segment), sizes, strict=True)
    ]


def _directory_size(segment: Segment) -> int:
    """Size of the value of a segment's directory."""
    return max(PAD + 4 * (2 * segment.codes + 1), IN_PLACE)


def chunk_size(entries: int, per_chunk: int, chunk: int) -> int:
    """Size of one chunk's value, of a segment with so many entries."""
    blocks = -(-min(per_chunk, entries - chunk * per_chunk) // LANES)
    return max(PAD + blocks * BLOCK.itemsize, IN_PLACE)


@dataclass(frozen=True, slots=True)
class Sources:
    """Where segments are, for ``merge_segments``.

    Attributes:
        table: (s, 4) of (codes held, their address, address of the starts, first chunk).
        chunks: addresses of their chunks, source after source.
    """

    table: I64
    chunks: I64

    @staticmethod
    def stored(
        snapshot: lmdb.Transaction,
        database: lmdb._Database,
        segments: list[Segment],
        chunk_bytes: int,
    ) -> Sources:
        """Those of segments that a snapshot sees, for as long as it is open."""
        table = np.zeros((len(segments), 4), np.int64)
        chunks: list[int] = []
        for row, segment in zip(table, segments, strict=True):
            parts = part_addresses(snapshot, database, segment, chunk_bytes)
            row[:] = segment.codes, parts[0], parts[0] + 4 * segment.codes, len(chunks)
            chunks += parts[1:]
        return Sources(table, np.array(chunks, np.int64))


@dataclass(frozen=True, slots=True)
class Merged:
    """What one step of a merge has made.

    Attributes:
        codes: (n,) uint32, the buckets it began.
        starts: (n,) uint32, where each begins in the whole segment.
        chunks: (c, chunk_bytes) uint8 values to store.
        first: which chunk of the segment the first of them is.
        entries: how many the segment has so far.
        read: entries read, dead ones included.
    """

    codes: NDArray[np.uint32]
    starts: NDArray[np.uint32]
    chunks: NDArray[np.uint8]
    first: int
    entries: int
    read: int


def entries_per_chunk(chunk_bytes: int) -> int:
    """Entries that one value of a segment holds."""
    return LANES * blocks_per_chunk(chunk_bytes)


def merge_some(
    sources: Sources,
    chunk_bytes: int,
    live: I64,
    at: I64,
    place: I64,
    room: int,
    most: int,
    begun: memoryview | None = None,
) -> Merged:
    """Write on at a merge, in memory.

    Args:
        sources: what is merged.
        chunk_bytes: size of the large values.
        live: addresses of the live bitmap's pages as the commit leaves it.
        at: for each source its current bucket, changed; see ``merge_segments``.
        place: where in that bucket the merge stands, changed likewise.
        room: how many entries may be written.
        most: how many may be read, dead ones included.
        begun: the stored chunk that the next entry falls into, if it holds others before it.
    """
    per_chunk = entries_per_chunk(chunk_bytes)
    before = int(place[ENTRIES])
    first = before // per_chunk
    chunks = np.zeros((-(-(before + room) // per_chunk) - first, chunk_bytes), np.uint8)
    if begun is not None:
        chunks[0, : len(begun)] = begun
    codes = np.empty(min(int(sources.table[:, 0].sum()), room), np.uint32)
    starts = np.empty_like(codes)
    targets = address_of(chunks) + PAD + chunk_bytes * np.arange(len(chunks))
    occupied, count, read = merge_segments(
        sources.table, sources.chunks, per_chunk, live, at, place, room, most, codes, starts,
        targets,
    )  # fmt: skip
    entries = before + count
    used = chunks[: -(-entries // per_chunk) - first] if count else chunks[:0]
    return Merged(codes[:occupied], starts[:occupied], used, first, entries, read)


def write_chunks(
    transaction: lmdb.Transaction, database: lmdb._Database, number: int, merged: Merged
) -> None:
    """Store the chunks that a step of a merge has made as parts of a segment."""
    per_chunk = entries_per_chunk(merged.chunks.shape[1])
    for chunk, value in enumerate(merged.chunks, merged.first):
        size = chunk_size(merged.entries, per_chunk, chunk)
        transaction.put(segment_key(number, chunk + 1), value[:size].data, db=database)


def write_directory(
    transaction: lmdb.Transaction,
    database: lmdb._Database,
    number: int,
    codes: NDArray[np.uint32],
    starts: NDArray[np.uint32],
    entries: int,
) -> None:
    """Store a segment's codes and starts, closed by the number of entries, as its part 0."""
    directory = np.concatenate([codes, starts, np.array([entries], np.uint32)])
    transaction.put(segment_key(number, 0), in_place(directory.tobytes()), db=database)


def write_segment(
    transaction: lmdb.Transaction,
    snapshot: lmdb.Transaction,
    database: lmdb._Database,
    chunk_bytes: int,
    number: int,
    older: list[Segment],
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
        older: older segments, oldest first; they are deleted.
        entries: new entries, younger than theirs.
        live: addresses of the live bitmap's pages as the commit leaves it.

    Returns:
        The segment, or ``None`` if nothing is live.
    """
    entries = entries.take(np.lexsort((entries.slots, entries.buckets)))
    codes, first = np.unique(entries.buckets, return_index=True)
    starts = np.append(first, len(entries)).astype(np.uint32)
    blocks = pack_entries(entries)
    stored = Sources.stored(snapshot, database, older, chunk_bytes)
    row = [len(codes), address_of(codes), address_of(starts), len(stored.chunks)]
    step = blocks_per_chunk(chunk_bytes) * BLOCK.itemsize
    chunks = address_of(blocks) + np.arange(0, blocks.nbytes, step)
    sources = Sources(np.vstack([stored.table, row]), np.concatenate([stored.chunks, chunks]))
    held = sum(segment.entries for segment in older) + len(entries)
    at, place = np.zeros(len(sources.table), np.int64), start_place()
    merged = merge_some(sources, chunk_bytes, live, at, place, held, held)
    for segment in older:
        delete_segment(transaction, database, segment)
    if not merged.entries:
        return None
    write_directory(transaction, database, number, merged.codes, merged.starts, merged.entries)
    write_chunks(transaction, database, number, merged)
    return Segment(number, merged.entries, len(merged.codes), len(merged.chunks))


def read_directory(
    transaction: lmdb.Transaction, database: lmdb._Database, segment: Segment
) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """A segment's sorted codes and its starts, in place.

    Raises:
        CorruptIndexError: the directory is missing or was cut short.
    """
    value = fetch(transaction, database, segment_key(segment.number, 0), _directory_size(segment))
    directory = np.frombuffer(value, np.uint32, 2 * segment.codes + 1, offset=PAD)
    return directory[: segment.codes], directory[segment.codes :]


def read_segment(
    transaction: lmdb.Transaction, database: lmdb._Database, segment: Segment
) -> Entries:
    """All entries of a segment, copied."""
    codes, starts = read_directory(transaction, database, segment)
    values = [fetch(transaction, database, key) for key in segment_keys(segment)[1:]]
    return unpack_chunks(values, codes, starts)


def unpack_chunks(
    values: list[memoryview], codes: NDArray[np.uint32], starts: NDArray[np.uint32] | I64
) -> Entries:
    """All entries of stored chunks, copied; the last start is where the entries end."""
    # A short last chunk is padded to the least size of an in-place value.
    blocks = np.concatenate(
        [np.frombuffer(value, BLOCK, (len(value) - PAD) // BLOCK.itemsize, PAD) for value in values]
    )
    return unpack_entries(blocks, np.repeat(codes, np.diff(starts)))


def delete_segment(
    transaction: lmdb.Transaction, database: lmdb._Database, segment: Segment
) -> None:
    """Remove all parts of a segment."""
    for key in segment_keys(segment):
        transaction.delete(key, db=database)


def due_merge(segments: list[Segment], new: int) -> list[Segment]:
    """The youngest segments that new entries must be merged with to keep the ``RATIO``.

    Args:
        segments: those that no merge reads already, oldest first.
        new: how many new entries there are.
    """
    first = len(segments)
    while first and segments[first - 1].entries < RATIO * new:
        first -= 1
        new += segments[first].entries
    return segments[first:]
