"""hnswlib: the graph that everybody compares with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import hnswlib
import numpy as np

from tests.bench.peers.base import F32, K, Line, Peer, Setting

LINKS = 16
CONSTRUCTION = 200
MOST_EF = 2_048


class Hnsw(Peer):
    """``hnswlib.Index`` over inner products of unit vectors.

    Args:
        graph: one that holds all items already.
    """

    title = "hnswlib"
    packages = ("hnswlib",)
    grows = True
    batches = True

    def __init__(self, graph: Any = None) -> None:
        self.graph = graph

    def build(self, items: F32, capacity: int, threads: int) -> None:
        self.graph = new_graph(items.shape[1], capacity)
        self.insert(items, threads)

    def add(self, items: F32) -> None:
        self.insert(items, 1)

    def insert(self, items: F32, threads: int) -> None:
        """Add items with so many threads."""
        start = self.graph.get_current_count()
        labels = np.arange(start, start + len(items))
        self.graph.add_items(items, labels, num_threads=threads)

    def lines(self) -> Sequence[Line]:
        return [Line(K, MOST_EF, lambda ef: Setting(f"ef {ef}", (ef,)))]

    def asker(self, setting: Setting) -> Callable[[Any], Any]:
        self.graph.set_ef(int(setting.values[0]))
        return partial(self.graph.knn_query, k=K, num_threads=1)

    def labels(self, answer: Any) -> Iterable[int]:
        found: list[int] = answer[0][0].tolist()
        return found

    def batch_asker(self, setting: Setting, threads: int) -> Callable[[F32], Any]:
        self.graph.set_ef(int(setting.values[0]))
        return partial(self.graph.knn_query, k=K, num_threads=threads)

    def batch_labels(self, answer: Any) -> Iterable[Iterable[int]]:
        found: list[list[int]] = answer[0].tolist()
        return found

    def save(self, folder: Path) -> bool:
        self.graph.save_index(str(folder / "graph"))
        return True

    def own_bytes(self) -> int | None:
        # The graph may have been built for other figures, before anybody looked at the memory;
        # what it writes to a file is what it holds.
        size: int = self.graph.index_file_size()
        return size

    def close(self) -> None:
        self.graph = None


def new_graph(dim: int, capacity: int) -> Any:
    """An empty graph with the parameters of every comparison."""
    graph = hnswlib.Index(space="ip", dim=dim)
    graph.init_index(max_elements=capacity, M=LINKS, ef_construction=CONSTRUCTION, random_seed=1)
    return graph
