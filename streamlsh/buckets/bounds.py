"""Whether what a segment's directory says is within bounds: kernels follow it without looking."""

from __future__ import annotations

import lmdb

from streamlsh.buckets.segment import Segment, entries_per_chunk, read_directory
from streamlsh.errors import CorruptIndexError


def check_segment(
    transaction: lmdb.Transaction,
    database: lmdb._Database,
    segment: Segment,
    buckets: int,
    chunk_bytes: int,
) -> None:
    """Check the directory of a segment; once for each, as a segment never changes.

    Codes must rise and be buckets of the family; starts must rise, from 0 to the number of
    entries; and there must be as many chunks as these fill.

    Args:
        transaction: a read transaction that sees the segment.
        database: the ``segments`` database.
        segment: what the state says of it.
        buckets: of the family, over all tables.
        chunk_bytes: size of the large values.

    Raises:
        CorruptIndexError: naming what is out of bounds.
    """
    what = f"the directory of segment {segment.number} is damaged; restore the index or rebuild it"
    if not 0 < segment.codes <= buckets:
        raise CorruptIndexError(what, expected=f"1 to {buckets} buckets", received=segment.codes)
    codes, starts = read_directory(transaction, database, segment)
    if not (codes[1:] > codes[:-1]).all() or codes[-1] >= buckets:
        raise CorruptIndexError(
            what, expected=f"rising buckets below {buckets}", received="others or out of order"
        )
    if starts[0] != 0 or starts[-1] != segment.entries or not (starts[1:] > starts[:-1]).all():
        raise CorruptIndexError(
            what, expected=f"starts that rise from 0 to {segment.entries}",
            received=f"others, from {starts[0]} to {starts[-1]}",
        )  # fmt: skip
    chunks = -(-segment.entries // entries_per_chunk(chunk_bytes))
    if segment.chunks != chunks:
        raise CorruptIndexError(what, expected=f"{chunks} chunks", received=segment.chunks)
