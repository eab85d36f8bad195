"""The peers of the runbooks: each of them inserts, deletes and replaces in its library's own way.

Everybody has one thread, and is tuned in the same way: see ``tests/bench/choosing.py``.
"""

from __future__ import annotations

import shutil
from abc import abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import faiss
import hnswlib
import numpy as np
from usearch.index import Index as UsearchIndex

import streamlsh
from streamlsh.calibrating import keep_calibration
from streamlsh.calibration import Calibration
from tests.bench.peers import faiss_indexes, hnsw, usearch_graph
from tests.bench.peers.base import F32, I64, Peer, Setting
from tests.bench.peers.hnsw import Hnsw
from tests.bench.peers.ours import Ours
from tests.churn.indexes import FILL

SAMPLE = 10_000
FEWEST_A_CENTROID = 1
SEED = 9
INDEX, FAMILY, CALIBRATION, FRESH = "index", "family", "calibration", "fresh"
AGAIN = "again"


def ids_of(tags: I64) -> list[str]:
    """Our ids of items of these numbers."""
    return [f"item-{tag:07d}" for tag in tags.tolist()]


class Changing(Peer):
    """A peer that takes updates; items are known by their numbers, the tags."""

    @abstractmethod
    def begin(self, first: F32, most: int) -> None:
        """Make an empty index.

        Args:
            first: (n, dim) vectors of the first insert, to train on.
            most: items that are live at any time.
        """

    @abstractmethod
    def put(self, tags: I64, vectors: F32) -> None:
        """Add items that are not live."""

    @abstractmethod
    def delete(self, tags: I64) -> None:
        """Remove live items."""

    def replace(self, tags: I64, vectors: F32) -> None:
        """Give live items other vectors."""
        self.delete(tags)
        self.put(tags, vectors)

    def settle(self, tags: I64, vectors: F32, choosing: F32) -> None:
        """Get ready for a search of what is live; not timed.

        Args:
            tags: of the live items.
            vectors: theirs.
            choosing: queries that settings may be chosen with.
        """


class ChangingHnsw(Hnsw, Changing):
    """``mark_deleted``, and new items in the places of deleted ones by ``replace_deleted``.

    A label is never given twice: hnswlib forgets where a label is when it takes the place of an
    older item of the same one.
    """

    def __init__(self) -> None:
        super().__init__()
        self._tag_of: dict[int, int] = {}
        self._label_of: dict[int, int] = {}
        self._next = 0

    def begin(self, first: F32, most: int) -> None:
        self.graph = hnswlib.Index(space="ip", dim=first.shape[1])
        self.graph.init_index(
            max_elements=most, M=hnsw.LINKS, ef_construction=hnsw.CONSTRUCTION, random_seed=1,
            allow_replace_deleted=True,
        )  # fmt: skip

    def put(self, tags: I64, vectors: F32) -> None:
        new = range(self._next, self._next + len(tags))
        self._next = new.stop
        self.graph.add_items(vectors, list(new), num_threads=1, replace_deleted=True)
        for label, tag in zip(new, tags.tolist(), strict=True):
            self._tag_of[label], self._label_of[tag] = tag, label

    def delete(self, tags: I64) -> None:
        for tag in tags.tolist():
            label = self._label_of.pop(tag)
            del self._tag_of[label]
            self.graph.mark_deleted(label)

    def labels(self, answer: Any) -> Iterable[int]:
        return [self._tag_of[label] for label in super().labels(answer)]


class ChangingIvf(faiss_indexes.IvfFlat, Changing):
    """An inverted file with a table of where each item is, so that ``remove_ids`` need not scan.

    Its cells are trained on the first insert.
    """

    def begin(self, first: F32, most: int) -> None:
        self._lists = faiss_indexes.list_count(most)
        self._index = self._new(first.shape[1])
        self._index.cp.min_points_per_centroid = FEWEST_A_CENTROID
        self._index.set_direct_map_type(faiss.DirectMap.Hashtable)
        faiss.omp_set_num_threads(1)
        self._index.train(first)

    def put(self, tags: I64, vectors: F32) -> None:
        self._index.add_with_ids(vectors, tags)

    def delete(self, tags: I64) -> None:
        self._index.remove_ids(tags)


class ChangingUsearch(usearch_graph.Usearch, Changing):
    """``add`` and ``remove``."""

    def begin(self, first: F32, most: int) -> None:
        self._index = UsearchIndex(
            ndim=first.shape[1], metric="ip", dtype="f16", connectivity=usearch_graph.LINKS,
            expansion_add=usearch_graph.CONSTRUCTION,
        )  # fmt: skip

    def put(self, tags: I64, vectors: F32) -> None:
        self._index.add(tags, vectors, threads=1)

    def delete(self, tags: I64) -> None:
        self._index.remove(tags, threads=1)


class _Calibrated(Ours, Changing):
    def setting_for(self, recall: float) -> Setting | None:
        return Setting(f"recall={recall:g}, calibrated", (recall,))


class ChangingOurs(_Calibrated):
    """Durable commits of a thousand updates; calibrated when it is searched first.

    Args:
        folder: the index goes there, a copy of it while it was empty, and its calibration.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / INDEX)
        self._family, self._calibration = folder / FAMILY, folder / CALIBRATION

    def begin(self, first: F32, most: int) -> None:
        streamlsh.create(self.path, dim=first.shape[1], family=self.family, sample=first[:SAMPLE])
        shutil.copytree(self.path, self._family)
        self._writer = streamlsh.writer(self.path)

    def put(self, tags: I64, vectors: F32) -> None:
        upsert(self._writer, tags, vectors)

    def replace(self, tags: I64, vectors: F32) -> None:
        upsert(self._writer, tags, vectors)

    def delete(self, tags: I64) -> None:
        for start in range(0, len(tags), FILL):
            self._writer.delete(ids_of(tags[start : start + FILL]))
            self._writer.commit()

    def settle(self, tags: I64, vectors: F32, choosing: F32) -> None:
        if not self._calibration.exists():
            self._calibration.write_bytes(streamlsh.calibrate(self.path, queries=choosing).pack())

    def close(self) -> None:
        super().close()
        self._writer.close()


class FreshOurs(_Calibrated):
    """Not one index under updates, but a fresh one of what is live for every search.

    It has the family and the calibration of the index that lived through the same steps before.
    """

    title = "streamlsh, fresh build"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / FRESH)
        self._family, self._calibration = folder / FAMILY, folder / CALIBRATION

    def begin(self, first: F32, most: int) -> None:
        """Nothing: ``settle`` builds."""

    def put(self, tags: I64, vectors: F32) -> None:
        """Nothing."""

    def delete(self, tags: I64) -> None:
        """Nothing."""

    def settle(self, tags: I64, vectors: F32, choosing: F32) -> None:
        self.close()
        shutil.rmtree(self.path, ignore_errors=True)
        self._create(vectors)
        with streamlsh.writer(self.path) as writer:
            upsert(writer, tags, vectors)
        self._calibrate(choosing)

    def _create(self, vectors: F32) -> None:
        shutil.copytree(self._family, self.path)

    def _calibrate(self, choosing: F32) -> None:
        keep_calibration(self.path, Calibration.unpack(self._calibration.read_bytes()))


class CalibratedAgain(ChangingOurs):
    """One index under updates, calibrated before every search; its family stays."""

    title = "streamlsh, calibrated again"

    def __init__(self, folder: Path) -> None:
        own = folder / AGAIN
        own.mkdir()
        super().__init__(own)

    def settle(self, tags: I64, vectors: F32, choosing: F32) -> None:
        streamlsh.calibrate(self.path, queries=choosing)


class BuiltAnew(FreshOurs):
    """A fresh index for every search, with a family of its own sample and its own calibration."""

    title = "streamlsh, built anew"

    def _create(self, vectors: F32) -> None:
        sample = vectors[np.random.default_rng(SEED).permutation(len(vectors))[:SAMPLE]]
        streamlsh.create(self.path, dim=vectors.shape[1], family=self.family, sample=sample)

    def _calibrate(self, choosing: F32) -> None:
        streamlsh.calibrate(self.path, queries=choosing)


def upsert(writer: streamlsh.Writer, tags: I64, vectors: F32) -> None:
    """Durable commits of a thousand items each."""
    for start in range(0, len(tags), FILL):
        part = slice(start, start + FILL)
        writer.upsert(ids_of(tags[part]), vectors[part])
        writer.commit()


OURS, FRESHLY, GRAPH = ChangingOurs.title, FreshOurs.title, ChangingHnsw.title
RETUNED, REBUILT = CalibratedAgain.title, BuiltAnew.title
BUILT = (FRESHLY, REBUILT)
"""Those that live through no updates."""
PEERS: dict[str, Callable[[Path], Changing]] = {
    OURS: ChangingOurs,
    FRESHLY: FreshOurs,
    RETUNED: CalibratedAgain,
    REBUILT: BuiltAnew,
    GRAPH: lambda _: ChangingHnsw(),
    ChangingIvf.title: lambda _: ChangingIvf(),
    ChangingUsearch.title: lambda _: ChangingUsearch(),
}
"""Title -> peer in a folder. Ours comes before the fresh builds: these take its family."""
