"""streamlsh itself: calibrated recall, every sketch, every vector."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

import streamlsh
from tests.bench.peers.base import F32, K, Line, Peer, Setting

LOAD_BATCH = 10_000
MOST_RERANK = 1_000
PLANNED = 100
"""How many items are asked for once, to say what the planner does for a recall."""
FIRST_DIGIT = len("item-")


def item_ids(start: int, end: int) -> list[str]:
    """Ids of the items of these numbers."""
    return [f"item-{number:07d}" for number in range(start, end)]


class Ours(Peer):
    """``Reader.search(vector, recall=...)`` on an index on disk.

    Args:
        path: where the index is; if nothing is there, ``build`` makes it.
    """

    title = "streamlsh"
    packages = ("streamlsh",)
    grows = True
    batches = True
    family: ClassVar[str] = "voronoi"

    def __init__(self, path: Path) -> None:
        self.path = path
        self._reader: streamlsh.Reader | None = None

    @property
    def reader(self) -> streamlsh.Reader:
        """The reader that answers; opened on first use."""
        if self._reader is None:
            self._reader = streamlsh.open(self.path)
        return self._reader

    def build(self, items: F32, capacity: int, threads: int) -> None:
        streamlsh.create(self.path, dim=items.shape[1], family=self.family, sample=items)
        self.add(items)

    def add(self, items: F32) -> None:
        start = len(self.reader)
        with streamlsh.writer(self.path) as writer:
            for first in range(0, len(items), LOAD_BATCH):
                rows = items[first : first + LOAD_BATCH]
                writer.upsert(item_ids(start + first, start + first + len(rows)), rows)
                writer.commit()

    def calibrate(self) -> None:
        """Measure which effort reaches which recall on the index as it is now."""
        streamlsh.calibrate(self.path)

    def setting_for(self, recall: float) -> Setting | None:
        known = [self.reader.get(name) for name in item_ids(0, PLANNED)]
        vectors = np.array([item.vector for item in known if item is not None])
        plan = self.reader.search(vectors, K, recall=recall).plan
        way = f"{plan.route}, {plan.probes:.0f} probes, {plan.share:.1%} of the index"
        return Setting(f"recall={recall:g} ({way})", (recall,))

    def asker(self, setting: Setting) -> Callable[[Any], Any]:
        return partial(self.reader.search, k=K, recall=setting.values[0])

    def labels(self, answer: Any) -> Iterable[int]:
        return [int(name[FIRST_DIGIT:]) for name in answer.ids]

    def batch_asker(self, setting: Setting, threads: int) -> Callable[[F32], Any]:
        return partial(self.reader.search, k=K, recall=setting.values[0], threads=threads)

    def batch_labels(self, answer: Any) -> Iterable[Iterable[int]]:
        return [[int(name[FIRST_DIGIT:]) for name in row] for row in answer.ids]

    def file_bytes(self) -> int:
        """What the index takes on disk."""
        return (self.path / "data.mdb").stat().st_blocks * 512

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None


class OursCrosspolytope(Ours):
    """The family that needs no cells: of the sample it takes the centre alone."""

    title = "streamlsh crosspolytope"
    family = "crosspolytope"


class OursScan(Ours):
    """The same index, but every sketch is looked at: no tables; the knob is the re-rank."""

    title = "streamlsh, every sketch"
    batches = False

    @property
    def reader(self) -> streamlsh.Reader:
        if self._reader is None:
            self._reader = streamlsh.open(self.path)
            # Of this one reader's planner: it scans any index that is smaller than that.
            self._reader._index.family.scan_below = len(self._reader) + 1
        return self._reader

    def lines(self) -> Sequence[Line]:
        return [Line(K, MOST_RERANK, lambda size: Setting(f"re-rank {size}", (size,)))]

    def setting_for(self, recall: float) -> Setting | None:
        return None

    def asker(self, setting: Setting) -> Callable[[Any], Any]:
        return partial(self.reader.search, k=K, rerank=int(setting.values[0]))


class OursExact(Ours):
    """The same index, every vector: ``Reader.exact``."""

    title = "streamlsh, exact"
    batches = False
    fixed = Setting("every vector")

    def asker(self, setting: Setting) -> Callable[[Any], Any]:
        return partial(self.reader.exact, k=K)
