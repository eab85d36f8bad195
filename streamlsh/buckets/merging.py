"""Merging segments a bounded amount a commit.

A merge reads neighbouring segments and writes one in their place, without their dead entries.
A commit writes only so much of it; what it has written is stored at once under the number of the
segment to come, which is not among the index's segments before it is whole. Until then readers
go on with the sources. Segments that are made meanwhile merge among themselves: the merges under
way are a stack, and the youngest, which is the smallest, goes on first.

A *purge* is a merge of everything. When it has finished, no entry refers to a slot that was dead
when it began.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import lmdb
import numpy as np
from numpy.typing import NDArray

from streamlsh.buckets.layout import Entries
from streamlsh.buckets.segment import (
    Merged,
    Segment,
    Sources,
    chunk_size,
    delete_segment,
    entries_per_chunk,
    merge_some,
    unpack_chunks,
    write_chunks,
    write_directory,
)
from streamlsh.errors import CorruptIndexError
from streamlsh.kernels.merge import ENTRIES, start_place
from streamlsh.storage.schema import segment_key
from streamlsh.storage.sealing import seal, unseal
from streamlsh.storage.values import fetch

AT_ONCE = 32_768
"""A merge of no more entries is done within the commit that would begin it: 1.3 MB."""
LEAST = 8_192
"""Entries that any commit may write for the merges under way. An entry is 40 bytes."""
AMPLIFY = 24
"""Entries that it may write besides for each that is new and each whose row it let die. Keeping
the ``RATIO`` takes fewer, so merges keep up with what comes. A commit of 10,000 entries may write
248,192, which is 9.9 MB."""
READ = 4
"""Entries that may be read for each that may be written: dead ones cost reading alone."""
PIECES = 1 << 31
"""First part number of the pieces of an unfinished segment's directory."""

I64 = NDArray[np.int64]


class Purge(enum.Flag):
    """What became of a purge in one commit; both if it was done at once."""

    NONE = 0
    BEGUN = enum.auto()
    FINISHED = enum.auto()


@dataclass(slots=True)
class Merge:
    """A merge under way, as it stands between two commits.

    Attributes:
        number: of the segment that comes of it, not yet among the index's segments.
        sources: numbers of the segments it reads, neighbours among the index's, oldest first.
        purge: whether it reads all that were there when it began.
        at: for each source its current bucket, as an index.
        place: where within that bucket it stands, the last bucket and the entries written; see
            ``kernels.merge``.
        chunks: how many parts with entries are written.
        codes: how many buckets are written.
        pieces: how many pieces of its directory are written.
    """

    number: int
    sources: list[int]
    purge: bool
    at: list[int]
    place: list[int]
    chunks: int = 0
    codes: int = 0
    pieces: int = 0

    @staticmethod
    def of(number: int, sources: list[int], *, purge: bool) -> Merge:
        """One that has not begun."""
        return Merge(number, sources, purge, [0] * len(sources), start_place().tolist())

    @property
    def entries(self) -> int:
        """How many are written."""
        return self.place[ENTRIES]

    def pack(self) -> list[int | list[int]]:
        """As msgpack can hold it."""
        return [
            self.number, self.sources, self.purge, self.at, self.place, self.chunks, self.codes,
            self.pieces,
        ]  # fmt: skip


def allowance(changed: int) -> int:
    """Entries that a commit may write for the merges under way.

    Args:
        changed: entries that are new, and entries of rows that died.
    """
    return LEAST + AMPLIFY * changed


def are_neighbours(numbers: list[int], merge: Merge) -> bool:
    """Whether a merge's sources stand side by side among the index's segments, and it is sound.

    Args:
        numbers: of the segments, oldest first.
        merge: as it was stored.
    """
    sources = merge.sources
    if not sources or sources[0] not in numbers:
        return False
    first = numbers.index(sources[0])
    return (
        numbers[first : first + len(sources)] == sources
        and len(merge.at) == len(sources)
        and len(merge.place) == len(start_place())
        and all(type(number) is int for number in merge.place)
    )


def free_segments(segments: list[Segment], merges: list[Merge]) -> list[Segment]:
    """The segments that are younger than those which merges under way read."""
    if not merges:
        return list(segments)
    last = merges[-1].sources[-1]
    numbers = [segment.number for segment in segments]
    return segments[numbers.index(last) + 1 :]


def go_on(
    transaction: lmdb.Transaction,
    snapshot: lmdb.Transaction,
    database: lmdb._Database,
    chunk_bytes: int,
    merge: Merge,
    segments: list[Segment],
    live: I64,
    room: int,
) -> tuple[int, list[Segment] | None]:
    """Write on at a merge, in whole chunks.

    Args:
        transaction: the commit's write transaction.
        snapshot: a read transaction of the state before it, which must know of the merge.
        database: the ``segments`` database.
        chunk_bytes: size of the large values.
        merge: the merge, changed.
        segments: its sources.
        live: addresses of the live bitmap's pages as the commit leaves it.
        room: entries to write, at least those of one chunk.

    Returns:
        How much of the room is used up; and what takes the sources' place, if the merge is done:
        a segment, or nothing if no entry was live. The sources are deleted then.

    Raises:
        CorruptIndexError: a part of a source, or of what is written already, is missing or damaged.
    """
    per_chunk = entries_per_chunk(chunk_bytes)
    started = merge.entries % per_chunk
    begun = None
    if started:
        size = chunk_size(merge.entries, per_chunk, merge.chunks - 1)
        begun = fetch(snapshot, database, segment_key(merge.number, merge.chunks), size)[:size]
    room = room // per_chunk * per_chunk - started
    sources = Sources.stored(snapshot, database, segments, chunk_bytes)
    at, place = np.array(merge.at, np.int64), np.array(merge.place, np.int64)
    merged = merge_some(sources, chunk_bytes, live, at, place, room, READ * room, begun)
    used = max(merged.entries - merge.entries, -(-merged.read // READ))
    write_chunks(transaction, database, merge.number, merged)
    merge.at, merge.place = at.tolist(), place.tolist()
    merge.chunks = -(-merged.entries // per_chunk)
    merge.codes += len(merged.codes)
    if (at == sources.table[:, 0]).all():
        for segment in segments:
            delete_segment(transaction, database, segment)
        return used, _finish(transaction, snapshot, database, merge, merged)
    if len(merged.codes):
        key = segment_key(merge.number, PIECES + merge.pieces)
        piece = seal(key, np.concatenate([merged.codes, merged.starts]).tobytes())
        transaction.put(key, piece, db=database)
        merge.pieces += 1
    return used, None


def read_pieces(
    snapshot: lmdb.Transaction, database: lmdb._Database, merge: Merge
) -> NDArray[np.uint32]:
    """The buckets that a merge has written so far, and where each begins: (2, n).

    Raises:
        CorruptIndexError: a piece of it is missing or damaged.
    """
    pieces = [np.zeros((2, 0), np.uint32)]
    for piece in range(merge.pieces):
        key = segment_key(merge.number, PIECES + piece)
        try:
            codes = np.frombuffer(unseal(key, fetch(snapshot, database, key)), np.uint32)
        except ValueError as error:
            raise CorruptIndexError(
                "an unfinished segment is damaged; restore the index from a copy or rebuild it",
                expected="a sound directory", received=str(error),
            ) from error  # fmt: skip
        pieces.append(codes.reshape(2, -1))
    return np.hstack(pieces)


def read_unfinished(
    snapshot: lmdb.Transaction, database: lmdb._Database, chunk_bytes: int, merge: Merge
) -> Entries:
    """The entries that a merge has written so far, at least one, copied.

    Raises:
        CorruptIndexError: a part of it is missing or damaged.
    """
    codes, starts = read_pieces(snapshot, database, merge)
    per_chunk = entries_per_chunk(chunk_bytes)
    values = []
    for chunk in range(merge.chunks):
        size = chunk_size(merge.entries, per_chunk, chunk)
        key = segment_key(merge.number, chunk + 1)
        values.append(fetch(snapshot, database, key, size)[:size])
    return unpack_chunks(values, codes, np.append(starts.astype(np.int64), merge.entries))


def _finish(
    transaction: lmdb.Transaction,
    snapshot: lmdb.Transaction,
    database: lmdb._Database,
    merge: Merge,
    last: Merged,
) -> list[Segment]:
    """Join the pieces of the directory, which the snapshot sees, and what the last step made."""
    before = read_pieces(snapshot, database, merge)
    codes, starts = np.hstack([before, np.stack([last.codes, last.starts])])
    for piece in range(merge.pieces):
        transaction.delete(segment_key(merge.number, PIECES + piece), db=database)
    if not merge.entries:
        return []
    write_directory(transaction, database, merge.number, codes, starts, merge.entries)
    return [Segment(merge.number, merge.entries, merge.codes, merge.chunks)]
