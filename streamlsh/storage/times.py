"""When LMDB transactions were committed: a table that stays small and is good for telling ages.

The newest transactions stand in it one by one, older ones ever sparser: neighbours are never
further apart than a third of the older one's age. So an age is found too small by a third at most.
"""

from __future__ import annotations

import time
from itertools import pairwise

import lmdb
import numpy as np
from numpy.typing import NDArray

from streamlsh.storage.schema import TIMES_KEY

MOST = 96
"""Rows of the table: enough for four years. Still older transactions are taken for younger."""
FINEST = 0.5
"""Seconds that neighbours may always be apart."""
ROW = np.dtype([("transaction", "<u8"), ("time", "<f8")])
Table = NDArray[np.void]


def note_time(transaction: lmdb.Transaction, meta: lmdb._Database) -> None:
    """Enter a write transaction that is about to be committed."""
    table = _with(_read(transaction, meta), transaction.id(), time.time())
    transaction.put(TIMES_KEY, table.tobytes(), db=meta)


def outdated_seconds(
    transaction: lmdb.Transaction, meta: lmdb._Database, pinned: int, now: float
) -> float | None:
    """For how many seconds there has been a later commit than a pinned transaction.

    Args:
        transaction: sees the newest commit.
        meta: the database of that name.
        pinned: the number of the pinned transaction.
        now: unix time.

    Returns:
        0.0 if it is the newest; ``None`` if no time is known.
    """
    if pinned >= transaction.id():
        return 0.0
    table = _read(transaction, meta)
    later = int(np.searchsorted(table["transaction"], pinned, side="right"))
    return None if later == len(table) else max(0.0, now - float(table["time"][later]))


def _read(transaction: lmdb.Transaction, meta: lmdb._Database) -> Table:
    value = bytes(transaction.get(TIMES_KEY, db=meta) or b"")
    return np.frombuffer(value[: len(value) // ROW.itemsize * ROW.itemsize], ROW)


def _with(table: Table, number: int, now: float) -> Table:
    """The table with one row more, thinned if it is long."""
    rows = table.tolist()
    # A clock that was set back must not leave rows of the future.
    kept = [(row, min(moment, now)) for row, moment in rows if row < number]
    kept.append((number, now))
    if len(kept) > MOST:
        kept = _thinned(kept, now)[-MOST:]
    return np.array(kept, ROW)


def _thinned(rows: list[tuple[int, float]], now: float) -> list[tuple[int, float]]:
    """The rows without those between neighbours that are close enough to each other."""
    kept = rows[:1]
    for row, following in pairwise(rows[1:]):
        before = kept[-1][1]
        if following[1] - before > max(FINEST, (now - before) / 3):
            kept.append(row)
    return [*kept, rows[-1]]
