"""usearch: a graph over vectors in half precision."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from usearch.index import Index

from tests.bench.peers.base import F32, K, Line, Peer, Setting

LINKS = 16
CONSTRUCTION = 200
MOST_EXPANSION = 2_048


class Usearch(Peer):
    """``usearch.Index`` over inner products of unit vectors."""

    title = "usearch f16"
    packages = ("usearch",)
    grows = True
    batches = True

    def __init__(self) -> None:
        self._index: Any = None

    def build(self, items: F32, capacity: int, threads: int) -> None:
        self._index = Index(
            ndim=items.shape[1],
            metric="ip",
            dtype="f16",
            connectivity=LINKS,
            expansion_add=CONSTRUCTION,
        )
        self._index.add(np.arange(len(items)), items, threads=threads)

    def add(self, items: F32) -> None:
        start = len(self._index)
        self._index.add(np.arange(start, start + len(items)), items, threads=1)

    def lines(self) -> Sequence[Line]:
        return [Line(K, MOST_EXPANSION, lambda size: Setting(f"expansion {size}", (size,)))]

    def asker(self, setting: Setting) -> Callable[[Any], Any]:
        return self.batch_asker(setting, 1)

    def labels(self, answer: Any) -> Iterable[int]:
        found: list[int] = answer.keys.tolist()
        return found

    def batch_asker(self, setting: Setting, threads: int) -> Callable[[F32], Any]:
        self._index.expansion_search = int(setting.values[0])
        return partial(self._index.search, count=K, threads=threads)

    def batch_labels(self, answer: Any) -> Iterable[Iterable[int]]:
        found: list[list[int]] = answer.keys.tolist()
        return found

    def save(self, folder: Path) -> bool:
        self._index.save(str(folder / "index"))
        return True

    def close(self) -> None:
        self._index = None
