"""The scan of every vector by numpy's linear algebra."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench.peers.base import F32, I64, K, Peer, Setting


class ExactScan(Peer):
    """One matrix product a query."""

    title = "exact scan (numpy)"
    packages = ("numpy",)
    fixed = Setting("every vector")

    def __init__(self) -> None:
        self._items: F32 = np.empty((0, 0), np.float32)

    def build(self, items: F32, capacity: int, threads: int) -> None:
        self._items = items.copy()

    def asker(self, setting: Setting) -> Callable[[Any], Any]:
        return self._one

    def _one(self, query: F32) -> I64:
        scores = self._items @ query
        best = np.argpartition(scores, -K)[-K:]
        found: I64 = best[np.argsort(-scores[best])]
        return found

    def labels(self, answer: Any) -> Iterable[int]:
        found: list[int] = answer.tolist()
        return found

    def save(self, folder: Path) -> bool:
        np.save(folder / "vectors.npy", self._items)
        return True

    def close(self) -> None:
        self._items = np.empty((0, 0), np.float32)
