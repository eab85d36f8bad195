"""A catalogue that never stands still: which items are live, and with which vector each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

import streamlsh
from tests.bench.peers.base import F32, I64

SIZES = (1, 10, 100, 1_000, 5_000, 20_000)
"""Updates a commit, small and large."""
SHARES = (0.002, 0.008, 0.05, 0.27, 0.27, 0.4)
"""Which share of all updates goes into commits of each of these sizes."""
TAGGED, SHELVES = 4, 8
"""One item of so many has a tag, of so many different ones."""


def names(numbers: I64) -> list[str]:
    """Ids of the items of these numbers."""
    return [f"item-{number:07d}" for number in numbers.tolist()]


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """The updates of one commit; no item occurs twice.

    Attributes:
        gone: numbers of the items to delete.
        put: numbers of the items to insert or replace.
        rows: which vectors of the pool they get.
    """

    gone: I64
    put: I64
    rows: I64

    def __len__(self) -> int:
        return len(self.gone) + len(self.put)


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """Updates in order, not yet cut into commits.

    Attributes:
        numbers: of the items.
        deletes: whether an update deletes its item; otherwise it gets a new vector.
    """

    numbers: I64
    deletes: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.numbers)


class Catalogue:
    """Live items, each with a row of a pool of vectors.

    Rows are given out in turn, so that no two live items share one as long as the pool has more
    than twice as many rows as the catalogue has items and no item outlives two turnovers.

    Attributes:
        pool: (n, dim) vectors.
    """

    def __init__(self, pool: F32, seed: int) -> None:
        self.pool = pool
        self._rng = np.random.default_rng(seed)
        self._rows = np.full(len(pool), -1, np.int64)
        self._next = 0
        self._given = 0

    def __len__(self) -> int:
        return int((self._rows >= 0).sum())

    def live(self) -> I64:
        """Numbers of the live items, in order."""
        return np.flatnonzero(self._rows >= 0)

    def vectors(self) -> F32:
        """Their vectors in the same order."""
        return self.pool[self._rows[self.live()]]

    def places(self) -> I64:
        """For each number ever given its place among the live items, or -1."""
        is_live = self._rows >= 0
        return np.where(is_live, np.cumsum(is_live) - 1, -1)

    def insertions(self, count: int) -> Work:
        """So many new items."""
        return Work(self._new(count), np.zeros(count, bool))

    def deletions(self, count: int) -> Work:
        """So many live items, at random, to be deleted for good."""
        return Work(self._rng.permutation(self.live())[:count], np.ones(count, bool))

    def turnover(self) -> Work:
        """Every live item once, in random order: one half is replaced, of the other half each is
        deleted and a new one inserted behind it."""
        old = self._rng.permutation(self.live())
        leaves = self._rng.permutation(len(old)) < len(old) // 2
        ends = np.cumsum(1 + leaves)
        numbers, deletes = np.empty(ends[-1], np.int64), np.zeros(ends[-1], bool)
        numbers[ends - 1 - leaves] = old
        deletes[(ends - 2)[leaves]] = True
        numbers[(ends - 1)[leaves]] = self._new(int(leaves.sum()))
        return Work(numbers, deletes)

    def mixed(self, count: int) -> Work:
        """So many updates for one commit: eight of ten replace, one deletes, one inserts."""
        tenth = count // 10
        old = self._rng.permutation(self.live())[: count - tenth]
        numbers = np.concatenate([old, self._new(tenth)])
        return Work(numbers, np.arange(count) < tenth)

    def commits(self, work: Work) -> list[slice]:
        """Cut updates into commits of mixed sizes, in random order."""
        sizes = []
        for size, share in zip(SIZES, SHARES, strict=True):
            sizes += [size] * round(share * len(work) / size)
        if sum(sizes) < len(work):
            sizes.append(len(work) - sum(sizes))
        ends = np.cumsum(self._rng.permutation(sizes))
        starts = np.minimum(ends - np.diff(ends, prepend=0), len(work))
        return [slice(start, end) for start, end in zip(starts, ends, strict=True) if start < end]

    def take(self, work: Work, part: slice | None = None) -> Batch:
        """Do some of the work here, and say what it is for an index."""
        numbers, deletes = work.numbers[part or slice(None)], work.deletes[part or slice(None)]
        gone, put = numbers[deletes], numbers[~deletes]
        rows = (self._given + np.arange(len(put))) % len(self.pool)
        self._given += len(put)
        self._rows[gone] = -1
        self._rows[put] = rows
        return Batch(gone, put, rows)

    def contents(self, size: int) -> Iterator[Batch]:
        """The live items as a fresh index gets them: in order, so many a commit."""
        live = self.live()
        for start in range(0, len(live), size):
            put = live[start : start + size]
            yield Batch(put[:0], put, self._rows[put])

    def updates(self, batch: Batch) -> list[streamlsh.Upsert | streamlsh.Delete]:
        """The same updates as the library takes them."""
        ids = names(batch.put)
        upserts = [
            streamlsh.Upsert(name, self.pool[row], tags=_tags(number))
            for name, number, row in zip(ids, batch.put.tolist(), batch.rows.tolist(), strict=True)
        ]
        return [*map(streamlsh.Delete, names(batch.gone)), *upserts]

    def _new(self, count: int) -> I64:
        numbers = np.arange(self._next, self._next + count)
        self._next += count
        while self._next > len(self._rows):
            self._rows = np.concatenate([self._rows, np.full(len(self._rows), -1, np.int64)])
        return numbers


def _tags(number: int) -> Sequence[str]:
    return () if number % TAGGED else (f"shelf-{number // TAGGED % SHELVES}",)
