"""The state of an index as of its last commit: one small msgpack record with a checksum."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import lmdb
import msgpack

from streamlsh.buckets.merging import Merge, are_neighbours
from streamlsh.buckets.segment import Segment
from streamlsh.calibration import Calibration
from streamlsh.config import MAX_SLOTS
from streamlsh.content import Sums, no_content, pack, unpack
from streamlsh.errors import CorruptIndexError
from streamlsh.kernels.merge import ENTRIES, ENTRY, LAST, SOURCE
from streamlsh.storage.schema import CALIBRATION_KEY, STATE_KEY
from streamlsh.storage.sealing import seal, unseal

NO_BLOCK = -1
"""In place of the open block's number: there is none."""


@dataclass(slots=True)
class State:
    """Everything a reader or writer must know to find its way around one commit.

    Attributes:
        commit: number of the commit; 0 is the empty index.
        epoch: number of the writer that may commit; a later writer takes a larger one.
        writes: how many transactions have written rows or live bits; see ``storage.changes``.
        live: how many items there are.
        dying: how many slots died since the last purge began.
        slot_end: all slots below were given or are free; a multiple of a block's.
        open_block: the block whose slots are given out first and stand in strips, or
            ``NO_BLOCK``.
        tail_entries: entries in the tail.
        next_segment: the next segment number.
        segments: the segments, oldest first.
        merges: the merges under way, those of older segments first.
        content: (4,) uint64, the sums of the items' hashes; see ``streamlsh.content``.
        sweeping: whether a sweep has begun and not ended.
        caught_up: when the index was last known to reflect all of its source, unix seconds;
            0 for never.
    """

    commit: int = 0
    epoch: int = 0
    writes: int = 0
    live: int = 0
    dying: int = 0
    slot_end: int = 0
    open_block: int = NO_BLOCK
    tail_entries: int = 0
    next_segment: int = 0
    segments: list[Segment] = field(default_factory=list)
    merges: list[Merge] = field(default_factory=list)
    content: Sums = field(default_factory=no_content)
    sweeping: bool = False
    caught_up: float = 0.0

    @property
    def purging(self) -> bool:
        """Whether a purge is under way."""
        return any(merge.purge for merge in self.merges)

    def pack(self) -> bytes:
        """As stored."""
        packed: bytes = msgpack.packb(
            [
                self.commit, self.epoch, self.writes, self.live, self.dying, self.slot_end,
                self.open_block, self.tail_entries, self.next_segment,
                [segment.pack() for segment in self.segments],
                [merge.pack() for merge in self.merges],
                pack(self.content), self.sweeping, self.caught_up,
            ]
        )  # fmt: skip
        return seal(STATE_KEY, packed)


def read_state(transaction: lmdb.Transaction, meta: lmdb._Database) -> State:
    """The state of the commit that a transaction sees.

    Raises:
        CorruptIndexError: there is none that can be read.
    """
    try:
        record: list[Any] = msgpack.unpackb(
            unseal(STATE_KEY, transaction.get(STATE_KEY, b"", db=meta))
        )
        *_, segments, merges, content, _, _ = record
        state = State(*record)
        state.segments = [Segment(*fields) for fields in segments]
        state.merges = [Merge(*fields) for fields in merges]
        state.content = unpack(content)
        _check_counts(state)
        return state
    except (ValueError, TypeError) as error:
        raise CorruptIndexError(
            "the state of the index cannot be read; restore it from a copy or rebuild it",
            expected="a sound state record", received=f"{type(error).__name__}: {error}",
        ) from error  # fmt: skip


def _check_counts(state: State) -> None:
    """Raise ``ValueError`` for counts that cannot be: readers take memory by them."""
    counts = [state.commit, state.epoch, state.writes, state.live, state.dying, state.slot_end,
              state.open_block + 1, state.tail_entries, state.next_segment]  # fmt: skip
    counts += [count for segment in state.segments for count in segment.pack()]
    for merge in state.merges:
        counts += [merge.number, merge.chunks, merge.codes, merge.pieces]
        counts += [*merge.sources, *merge.at]
    if not all(type(count) is int and 0 <= count < 2**63 for count in counts):
        raise ValueError("counts that are none")
    numbers = [segment.number for segment in state.segments]
    if (
        not state.live + state.dying <= state.slot_end <= MAX_SLOTS
        or len(set(numbers)) != len(numbers)
        or not all(number < state.next_segment for number in numbers)
        or not all(1 <= s.codes <= s.entries and s.chunks >= 1 for s in state.segments)
        or not all(are_neighbours(numbers, merge) for merge in state.merges)
        or not all(_stands_within(state.segments, merge) for merge in state.merges)
    ):
        raise ValueError("counts that contradict each other")


def _stands_within(segments: list[Segment], merge: Merge) -> bool:
    """Whether a merge stands within its sources, which are among the segments."""
    codes = {segment.number: segment.codes for segment in segments}
    return (
        all(at <= codes[source] for at, source in zip(merge.at, merge.sources, strict=True))
        and 0 <= merge.place[SOURCE] <= len(merge.sources)
        and 0 <= merge.place[ENTRY] < 2**32
        and -1 <= merge.place[LAST] < 2**32
        and 0 <= merge.place[ENTRIES] < 2**32
    )


def read_calibration(transaction: lmdb.Transaction, meta: lmdb._Database) -> Calibration | None:
    """What was measured of the index, if it was.

    Raises:
        CorruptIndexError: it cannot be read.
    """
    record = transaction.get(CALIBRATION_KEY, db=meta)
    if record is None:
        return None
    try:
        return Calibration.unpack(bytes(unseal(CALIBRATION_KEY, record)))
    except (ValueError, TypeError) as error:
        raise CorruptIndexError(
            "the calibration of the index cannot be read; run streamlsh calibrate anew",
            expected="a sound record", received=f"{type(error).__name__}: {error}",
        ) from error  # fmt: skip
