"""The state of an index as of its last commit: one small msgpack record."""

from __future__ import annotations

from dataclasses import dataclass, field

import lmdb
import msgpack
import numpy as np
from numpy.typing import NDArray

from streamlsh.buckets.segment import Segment
from streamlsh.calibration import Calibration
from streamlsh.errors import CorruptIndexError
from streamlsh.storage.schema import CALIBRATION_KEY, STATE_KEY


@dataclass(slots=True)
class State:
    """Everything a reader or writer must know to find its way around one commit.

    Attributes:
        commit: number of the commit; 0 is the empty index.
        epoch: number of the writer that may commit; a later writer takes a larger one.
        live: how many items there are.
        slot_end: the next slot to be given out.
        tail_entries: entries in the tail.
        next_segment: the next segment number.
        segments: the segments, oldest first.
        live_stamps: for each page of the live bitmap the commit that last wrote it, (pages,)
            uint64; readers fetch anew only what is younger than what they hold.
    """

    commit: int = 0
    epoch: int = 0
    live: int = 0
    slot_end: int = 0
    tail_entries: int = 0
    next_segment: int = 0
    segments: list[Segment] = field(default_factory=list)
    live_stamps: NDArray[np.uint64] = field(default_factory=lambda: np.zeros(0, np.uint64))

    def pack(self) -> bytes:
        """As stored."""
        packed: bytes = msgpack.packb(
            [
                self.commit,
                self.epoch,
                self.live,
                self.slot_end,
                self.tail_entries,
                self.next_segment,
                [segment.pack() for segment in self.segments],
                self.live_stamps.tobytes(),
            ]
        )
        return packed


def read_state(transaction: lmdb.Transaction, meta: lmdb._Database) -> State:
    """The state of the commit that a transaction sees.

    Raises:
        CorruptIndexError: there is none that can be read.
    """
    try:
        record = msgpack.unpackb(transaction.get(STATE_KEY, db=meta))
        commit, epoch, live, slot_end, tail_entries, next_segment, segments, stamps = record
        return State(
            commit, epoch, live, slot_end, tail_entries, next_segment,
            [Segment(*fields) for fields in segments],
            np.frombuffer(stamps, np.uint64),
        )  # fmt: skip
    except (ValueError, TypeError) as error:
        raise CorruptIndexError(
            "the state of the index cannot be read; restore it from a copy or rebuild it",
            expected="a sound state record", received=f"{type(error).__name__}: {error}",
        ) from error  # fmt: skip


def read_calibration(transaction: lmdb.Transaction, meta: lmdb._Database) -> Calibration | None:
    """What was measured of the index, if it was.

    Raises:
        CorruptIndexError: it cannot be read.
    """
    record = transaction.get(CALIBRATION_KEY, db=meta)
    if record is None:
        return None
    try:
        return Calibration.unpack(bytes(record))
    except (ValueError, TypeError) as error:
        raise CorruptIndexError(
            "the calibration of the index cannot be read; run streamlsh calibrate anew",
            expected="a sound record", received=f"{type(error).__name__}: {error}",
        ) from error  # fmt: skip
