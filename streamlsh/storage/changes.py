"""What each of the last transactions wrote, so that a reader looks up only that.

Each transaction that writes rows or live bits has a number, counted in ``State.writes``. A
reader that holds the addresses of one write and meets a later one asks what lies between.
"""

from __future__ import annotations

from dataclasses import dataclass

import lmdb
import numpy as np
from numpy.typing import NDArray

from streamlsh.errors import CorruptIndexError
from streamlsh.storage.schema import commit_key
from streamlsh.storage.sealing import Buffer, seal, unseal

KEPT = 512
"""Records kept. A reader that is further behind looks everything up anew."""

U32 = NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Changes:
    """What was written.

    Attributes:
        blocks: numbers of slot blocks, with their names.
        pages: numbers of pages of the live bitmap.
    """

    blocks: U32
    pages: U32


def write_changes(
    transaction: lmdb.Transaction,
    database: lmdb._Database,
    write: int,
    blocks: list[int],
    pages: list[int],
) -> None:
    """Note what a transaction wrote, and forget what is too old.

    Args:
        transaction: the write transaction.
        database: the ``changes`` database.
        write: the transaction's number.
        blocks: slot blocks that it wrote.
        pages: pages of the live bitmap that it wrote.
    """
    numbers = np.array([len(blocks), *blocks, *pages], np.uint32)
    key = commit_key(write)
    transaction.put(key, seal(key, numbers.tobytes()), db=database)
    if write > KEPT:
        transaction.delete(commit_key(write - KEPT), db=database)


def read_changes(
    transaction: lmdb.Transaction, database: lmdb._Database, after: int, last: int
) -> Changes | None:
    """What was written after one write up to another; ``None`` if that is not known any more.

    Raises:
        CorruptIndexError: a record is damaged.
    """
    if last - after > KEPT:
        return None
    blocks, pages = [np.zeros(0, np.uint32)], [np.zeros(0, np.uint32)]
    for write in range(after + 1, last + 1):
        key = commit_key(write)
        value = transaction.get(key, db=database)
        if value is None:
            return None
        numbers = _unpack(key, value)
        blocks.append(numbers[1 : 1 + numbers[0]])
        pages.append(numbers[1 + int(numbers[0]) :])
    return Changes(_distinct(blocks), _distinct(pages))


def check_changes(transaction: lmdb.Transaction, database: lmdb._Database) -> None:
    """Check all records.

    Raises:
        CorruptIndexError: one is damaged.
    """
    with transaction.cursor(database) as cursor:
        for key, value in cursor:
            _unpack(key, value)


def _unpack(key: Buffer, value: Buffer) -> U32:
    try:
        return np.frombuffer(unseal(key, value), np.uint32)
    except ValueError as error:
        raise CorruptIndexError(
            "a record of what a commit wrote is damaged; restore the index from a copy or rebuild "
            "it",
            expected="a sound record", received=str(error),
        ) from error  # fmt: skip


def _distinct(parts: list[U32]) -> U32:
    """Each number once, sorted; ``np.unique`` would load more of NumPy at a first query."""
    numbers = np.sort(np.concatenate(parts))
    return numbers[np.flatnonzero(np.diff(numbers, prepend=np.uint32(numbers[:1].sum() ^ 1)))]
