"""SVS: Intel's Vamana graphs, in half precision and in eight bits."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import svs

from tests.bench.peers.base import F32, K, Line, Peer, Setting

LINKS = 32
CONSTRUCTION = 128
ALPHA = 0.95
"""Below 1 for inner products, by SVS's documentation."""
MOST_WINDOW = 1_024
RERANKS = (12, 16, 24, 40)
LARGEST_CODE = 127


class _Vamana(Peer):
    """A static graph: SVS can build it with all items only."""

    packages = ("scalable-vs",)
    batches = True

    def __init__(self) -> None:
        self._index: Any = None

    @abstractmethod
    def _encoded(self, vectors: F32) -> Any:
        """Vectors as the graph holds them."""

    def build(self, items: F32, capacity: int, threads: int) -> None:
        parameters = svs.VamanaBuildParameters(
            alpha=ALPHA, graph_max_degree=LINKS, window_size=CONSTRUCTION
        )
        self._index = svs.Vamana.build(
            parameters, self._encoded(items), svs.DistanceType.MIP, num_threads=threads
        )
        self._index.num_threads = 1

    def prepare(self, queries: F32) -> Sequence[Any]:
        return [query[np.newaxis] for query in queries]

    def labels(self, answer: Any) -> Iterable[int]:
        found: list[int] = answer[0][0].tolist()
        return found

    def batch_labels(self, answer: Any) -> Iterable[Iterable[int]]:
        found: list[list[int]] = answer[0].tolist()
        return found

    def asker(self, setting: Setting) -> Callable[[Any], Any]:
        return self.batch_asker(setting, 1)

    def save(self, folder: Path) -> bool:
        names = ("config", "graph", "data")
        self._index.save(*(str(folder / name) for name in names))
        return True

    def close(self) -> None:
        self._index = None


class SvsFloat16(_Vamana):
    """Vectors in half precision, no second look."""

    title = "SVS Vamana float16"

    def _encoded(self, vectors: F32) -> Any:
        return vectors.astype(np.float16)

    def lines(self) -> Sequence[Line]:
        return [Line(K, MOST_WINDOW, lambda size: Setting(f"window {size}", (size,)))]

    def batch_asker(self, setting: Setting, threads: int) -> Callable[[F32], Any]:
        self._index.num_threads = threads
        self._index.search_window_size = int(setting.values[0])
        return partial(self._index.search, n_neighbors=K)


class SvsInt8(_Vamana):
    """Vectors and queries in eight bits; the best are scored again by the full vectors."""

    title = "SVS Vamana int8, re-ranked"

    def __init__(self) -> None:
        super().__init__()
        self._items: F32 = np.empty((0, 0), np.float32)
        self._scale = 1.0

    def build(self, items: F32, capacity: int, threads: int) -> None:
        self._items = items.copy()
        self._scale = LARGEST_CODE / float(np.abs(items).max())
        super().build(items, capacity, threads)

    def _encoded(self, vectors: F32) -> Any:
        codes = np.rint(vectors * np.float32(self._scale))
        np.minimum(codes, LARGEST_CODE, out=codes)
        np.maximum(codes, -LARGEST_CODE, out=codes)
        return codes.astype(np.int8)

    def lines(self) -> Sequence[Line]:
        return [Line(most, MOST_WINDOW, partial(_reranked, most)) for most in RERANKS]

    def asker(self, setting: Setting) -> Callable[[Any], Any]:
        return partial(self._one, self._tuned(setting, 1))

    def _one(self, rerank: int, query: F32) -> Any:
        labels = self._index.search(self._encoded(query), rerank)[0][0]
        return labels[np.argsort(-(self._items[labels] @ query[0]))[:K]]

    def labels(self, answer: Any) -> Iterable[int]:
        found: list[int] = answer.tolist()
        return found

    def batch_asker(self, setting: Setting, threads: int) -> Callable[[F32], Any]:
        return partial(self._many, self._tuned(setting, threads))

    def _many(self, rerank: int, queries: F32) -> Any:
        labels, _ = self._index.search(self._encoded(queries), rerank)
        scores = np.matmul(self._items[labels], queries[:, :, np.newaxis])[:, :, 0]
        order = np.argsort(-scores, axis=1)[:, :K]
        return (np.take_along_axis(labels, order, axis=1),)

    def _tuned(self, setting: Setting, threads: int) -> int:
        window, rerank = setting.values
        self._index.num_threads = threads
        self._index.search_window_size = int(window)
        return int(rerank)

    def save(self, folder: Path) -> bool:
        np.save(folder / "vectors.npy", self._items)
        return super().save(folder)

    def close(self) -> None:
        super().close()
        self._items = np.empty((0, 0), np.float32)


def _reranked(rerank: int, window: int) -> Setting:
    return Setting(f"window {window}, re-rank {rerank}", (window, rerank))
