"""LSH as in the literature: L tables of K random hyperplanes, one bucket a table, exact re-rank."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench.peers.base import F32, I64, K, Line, Peer, Setting

TABLES = 100
FEWEST_BITS = 4
SEED = 5


class Hyperplanes:
    """Sign codes of vectors in many tables (Charikar 2002), about the items' mean.

    Args:
        items: float32 (n, dim), for the mean alone.
        capacity: how many items there will be; a bucket then holds some hundred of them.
        tables: how many codes a vector gets.
    """

    def __init__(self, items: F32, capacity: int, tables: int) -> None:
        self.tables = tables
        self.bits = max(FEWEST_BITS, round(np.log2(capacity)) - 9)
        shape = (items.shape[1], tables * self.bits)
        self._planes = np.random.default_rng(SEED).standard_normal(shape, dtype=np.float32)
        self._offsets = items.mean(axis=0) @ self._planes
        self._weights = 1 << np.arange(self.bits)

    def codes(self, vectors: F32) -> I64:
        """The bucket of every vector in every table, (n, tables)."""
        signs = vectors @ self._planes >= self._offsets
        found: I64 = signs.reshape(len(vectors), self.tables, self.bits) @ self._weights
        return found


class PlainLsh(Peer):
    """Sorted codes a table in numpy; the knob is how many of the tables are asked."""

    title = "plain LSH (numpy)"
    packages = ("numpy",)
    slow = True

    def build(self, items: F32, capacity: int, threads: int) -> None:
        self._items = items.copy()
        self._hash = Hyperplanes(items, capacity, TABLES)
        buckets = 1 << self._hash.bits
        codes = self._hash.codes(items).T
        self._rows = np.argsort(codes, axis=1, kind="stable").astype(np.int32)
        counts = np.array([np.bincount(row, minlength=buckets) for row in codes])
        self._ends = np.cumsum(counts, axis=1)
        self._starts = self._ends - counts

    def lines(self) -> Sequence[Line]:
        return [Line(1, TABLES, lambda tables: Setting(f"{tables} tables", (tables,)))]

    def asker(self, setting: Setting) -> Callable[[Any], Any]:
        return partial(self._search, int(setting.values[0]))

    def _search(self, tables: int, query: F32) -> I64:
        codes = self._hash.codes(query[np.newaxis])[0, :tables].tolist()
        found = [
            self._rows[table, self._starts[table, code] : self._ends[table, code]]
            for table, code in enumerate(codes)
        ]
        return nearest(self._items, np.unique(np.concatenate(found)), query)

    def labels(self, answer: Any) -> Iterable[int]:
        found: list[int] = answer.tolist()
        return found

    def save(self, folder: Path) -> bool:
        np.savez(folder / "tables", items=self._items, rows=self._rows, ends=self._ends)
        return True

    def close(self) -> None:
        self._items = np.empty((0, 0), np.float32)
        self._rows = np.empty((0, 0), np.int32)


def nearest(items: F32, candidates: Any, query: F32) -> I64:
    """The best of the candidates by inner product."""
    scores = items[candidates] @ query
    best = np.argsort(-scores)[:K]
    found: I64 = candidates[best]
    return found
