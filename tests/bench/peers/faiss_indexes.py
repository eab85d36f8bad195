"""faiss: a quantised graph, and inverted files with and without fast-scan codes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from tests.bench.peers.base import F32, K, Line, Peer, Setting

CONSTRUCTION = 200
MOST_EF = 2_048
REFINES = (2, 4, 8, 16, 32)
"""For one neighbour wanted, so many are scored again by half-precision vectors."""


class FaissIndex(Peer):
    """Whatever ``faiss.index_factory`` makes, over inner products of unit vectors."""

    packages = ("faiss-cpu",)
    grows = True
    batches = True

    def __init__(self) -> None:
        self._index: Any = None
        self._lists = 0

    @abstractmethod
    def _new(self, dim: int) -> Any:
        """An empty index."""

    @abstractmethod
    def _parameters(self, setting: Setting) -> Any:
        """faiss's object for a setting."""

    def build(self, items: F32, capacity: int, threads: int) -> None:
        self._lists = list_count(capacity)
        self._index = self._new(items.shape[1])
        faiss.omp_set_num_threads(threads)
        self._index.train(items)
        self._index.add(items)
        faiss.omp_set_num_threads(1)

    def add(self, items: F32) -> None:
        faiss.omp_set_num_threads(1)
        self._index.add(items)

    def prepare(self, queries: F32) -> Sequence[Any]:
        return [query[np.newaxis] for query in queries]

    def asker(self, setting: Setting) -> Callable[[Any], Any]:
        return self.batch_asker(setting, 1)

    def labels(self, answer: Any) -> Iterable[int]:
        found: list[int] = answer[1][0].tolist()
        return found

    def batch_asker(self, setting: Setting, threads: int) -> Callable[[F32], Any]:
        faiss.omp_set_num_threads(threads)
        return partial(self._index.search, k=K, params=self._parameters(setting))

    def batch_labels(self, answer: Any) -> Iterable[Iterable[int]]:
        found: list[list[int]] = answer[1].tolist()
        return found

    def save(self, folder: Path) -> bool:
        faiss.write_index(self._index, str(folder / "index"))
        return True

    def close(self) -> None:
        self._index = None


class HnswSq8(FaissIndex):
    """A graph over vectors in eight bits a number."""

    title = "faiss HNSW32,SQ8"

    def _new(self, dim: int) -> Any:
        index = faiss.index_factory(dim, "HNSW32,SQ8", faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = CONSTRUCTION
        return index

    def lines(self) -> Sequence[Line]:
        return [Line(K, MOST_EF, lambda ef: Setting(f"ef {ef}", (ef,)))]

    def _parameters(self, setting: Setting) -> Any:
        return faiss.SearchParametersHNSW(efSearch=int(setting.values[0]))


class IvfFlat(FaissIndex):
    """An inverted file over full vectors."""

    title = "faiss IVF,Flat"

    def _new(self, dim: int) -> Any:
        return faiss.index_factory(dim, f"IVF{self._lists},Flat", faiss.METRIC_INNER_PRODUCT)

    def lines(self) -> Sequence[Line]:
        return [Line(1, self._lists, lambda lists: Setting(f"nprobe {lists}", (lists,)))]

    def _parameters(self, setting: Setting) -> Any:
        return faiss.IVFSearchParameters(nprobe=int(setting.values[0]))


class _Refined(FaissIndex):
    """An inverted file over codes, whose best are scored again."""

    def lines(self) -> Sequence[Line]:
        return [Line(1, self._lists, partial(_refined, refine)) for refine in REFINES]

    def _parameters(self, setting: Setting) -> Any:
        lists, refine = setting.values
        return faiss.IndexRefineSearchParameters(
            k_factor=refine, base_index_params=faiss.IVFSearchParameters(nprobe=int(lists))
        )


class IvfPq(_Refined):
    """Product codes of four bits for every two dimensions, scanned in registers."""

    title = "faiss IVF,PQ fast scan"

    def _new(self, dim: int) -> Any:
        spec = f"IVF{self._lists},PQ{dim // 2}x4fs,Refine(SQfp16)"
        return faiss.index_factory(dim, spec, faiss.METRIC_INNER_PRODUCT)


class IvfRabitq(_Refined):
    """One bit a dimension (RaBitQ), scanned in registers."""

    title = "faiss IVF,RaBitQ fast scan"

    def _new(self, dim: int) -> Any:
        spec = f"IVF{self._lists},RaBitQfs,Refine(SQfp16)"
        return faiss.index_factory(dim, spec, faiss.METRIC_INNER_PRODUCT)


def _refined(refine: int, lists: int) -> Setting:
    return Setting(f"nprobe {lists}, refine {refine * K}", (lists, refine))


def list_count(items: int) -> int:
    """Inverted lists for so many items: the power of two nearest to four roots."""
    return int(2 ** round(np.log2(4 * np.sqrt(items))))
