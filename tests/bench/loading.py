"""Durable upserts, side by side with hnswlib's insertion of the same batches."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import streamlsh
from tests.bench.bars import Bars
from tests.bench.dataset import F32, Dataset
from tests.bench.figures import Figure, Spread, Target, times
from tests.bench.peers.hnsw import new_graph

GROUP = "upserts"
MEANING = """\
Batches of 1,000 items go through `writer.upsert` and `writer.commit`; each commit is durable
(synced to disk) before the next batch begins. hnswlib gets the same batches in memory through
`add_items` (M=16, ef_construction=200, inner product of unit vectors) and makes nothing durable.
The two take turns, ten batches at a time over the same rows, until both hold all items; the rate
is rows over summed time, the spread that of the turns. Training the family comes before and
calibrating the full index after; each is a row of its own."""

BATCH = 1_000
TURN_BATCHES = 10
FEWEST_TURNS = 10
HYPERPLANE_ROWS = 20_000
MOST_TIMES_RAW = 1.4
GOAL_TIMES_RAW = 1.35

VORONOI, HYPERPLANE, GRAPH = "voronoi", "hyperplane", "hnswlib"


@dataclass(frozen=True, slots=True)
class Trained:
    """An empty index with a trained family.

    Attributes:
        path: its directory; nobody writes to it.
        cells: how many cells the family has.
        seconds: how long training and creating took.
    """

    path: Path
    cells: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side did before the other's turn came."""

    rows: int
    batch_seconds: list[float]

    @property
    def rate(self) -> float:
        """Rows a second."""
        return self.rows / sum(self.batch_seconds)


@dataclass(frozen=True, slots=True)
class Loaded:
    """The same items in an index and in a graph.

    Attributes:
        path: the index's directory (voronoi).
        graph: the hnswlib index; its labels are row numbers.
        turns: of each side, in the order they were taken.
        disk_bytes: blocks that the index's file takes on disk.
        calibrate_seconds: how long it took to learn which effort reaches which recall.
    """

    path: Path
    graph: Any
    turns: dict[str, list[Turn]] = field(default_factory=dict)
    disk_bytes: int = 0
    calibrate_seconds: float = 0.0


def train(dataset: Dataset, path: Path) -> Trained:
    """Create an empty voronoi index whose cells are trained on the items."""
    started = time.perf_counter()
    streamlsh.create(path, dim=dataset.dim, family=VORONOI, sample=dataset.items)
    seconds = time.perf_counter() - started
    with streamlsh.open(path) as reader:
        cells = reader.info()["family"]["buckets"]
    return Trained(path, cells, seconds)


def load(dataset: Dataset, path: Path, hyperplane_path: Path, bars: Bars) -> Loaded:
    """Bring all items into the trained, empty index at ``path`` and into a new graph, in turns.

    The first 20,000 rows also go into a hyperplane index at ``hyperplane_path``.
    """
    graph = new_graph(dataset.dim, len(dataset))
    streamlsh.create(hyperplane_path, dim=dataset.dim, family=HYPERPLANE)
    loaded = Loaded(path, graph, {VORONOI: [], HYPERPLANE: [], GRAPH: []})
    batches = -(-len(dataset) // BATCH)
    step = BATCH * max(1, min(TURN_BATCHES, batches // FEWEST_TURNS))
    with ExitStack() as stack:
        sides: dict[str, Callable[[int, int], float]] = {
            VORONOI: _upserts(stack.enter_context(streamlsh.writer(path)), dataset),
            GRAPH: _insertions(graph, dataset.items),
            HYPERPLANE: _upserts(stack.enter_context(streamlsh.writer(hyperplane_path)), dataset),
        }
        advance = stack.enter_context(bars.bar("upserts, and hnswlib's add_items", len(dataset)))
        for start in range(0, len(dataset), step):
            end = min(start + step, len(dataset))
            for name, apply in sides.items():
                if name == HYPERPLANE and start >= HYPERPLANE_ROWS:
                    continue
                bounds = [(at, min(at + BATCH, end)) for at in range(start, end, BATCH)]
                seconds = [apply(first, last) for first, last in bounds]
                loaded.turns[name].append(Turn(end - start, seconds))
            advance(end - start)
    disk_bytes = (path / "data.mdb").stat().st_blocks * 512
    bars.say("calibrating")
    started = time.perf_counter()
    streamlsh.calibrate(path)
    return Loaded(path, graph, loaded.turns, disk_bytes, time.perf_counter() - started)


def figures(dataset: Dataset, trained: Trained, loaded: Loaded) -> list[Figure]:
    """The rows of the table."""
    rows = [
        _rate(loaded, VORONOI, f"durable upserts, voronoi ({trained.cells:,} cells)"),
        _rate(loaded, HYPERPLANE, "durable upserts, hyperplane"),
    ]
    milliseconds = [
        1_000 * seconds for turn in loaded.turns[VORONOI] for seconds in turn.batch_seconds
    ]
    slow = float(np.percentile(milliseconds, 99))
    rows.append(
        Figure(
            GROUP,
            f"one batch of {BATCH:,}, voronoi, upsert and commit",
            "ms",
            float(np.median(milliseconds)),
            Spread.of(milliseconds),
            note=f"99th percentile {slow:.1f} ms",
            details={"p99_ms": slow},
        )
    )
    rows.append(
        Figure(
            GROUP,
            f"training voronoi on {len(dataset):,} vectors, once",
            "s",
            trained.seconds,
            Spread.of([trained.seconds]),
            note="numpy's linear algebra may use every core",
            details={"cells": trained.cells},
        )
    )
    rows.append(
        Figure(
            GROUP,
            f"calibrating {len(dataset):,} items, once",
            "s",
            loaded.calibrate_seconds,
            Spread.of([loaded.calibrate_seconds]),
            note="which probes and re-ranks reach which recall",
        )
    )
    size, raw = loaded.disk_bytes / len(dataset), 4 * dataset.dim
    rows.append(
        Figure(
            GROUP,
            "bytes on disk an item, voronoi",
            "bytes",
            size,
            Spread.of([size]),
            peer=raw,
            peer_name="raw float32",
            floor=Target("ours", "at most", MOST_TIMES_RAW * raw, f"{MOST_TIMES_RAW}x raw"),
            goal=Target("ours", "at most", GOAL_TIMES_RAW * raw, f"{GOAL_TIMES_RAW}x raw"),
            note=f"{size / raw:.2f} times the raw vectors",
            details={"times_raw": size / raw},
        )
    )
    return rows


def _upserts(writer: streamlsh.Writer, dataset: Dataset) -> Callable[[int, int], float]:
    def apply(first: int, last: int) -> float:
        ids, rows = dataset.ids[first:last], dataset.items[first:last]
        started = time.perf_counter()
        writer.upsert(ids, rows)
        result = writer.commit()
        seconds = time.perf_counter() - started
        if result.inserted != last - first:
            raise AssertionError(f"expected {last - first} insertions, received {result}")
        return seconds

    return apply


def _insertions(graph: Any, items: F32) -> Callable[[int, int], float]:
    def apply(first: int, last: int) -> float:
        rows, labels = items[first:last], np.arange(first, last)
        started = time.perf_counter()
        graph.add_items(rows, labels, num_threads=1)
        return time.perf_counter() - started

    return apply


def _rate(loaded: Loaded, side: str, name: str) -> Figure:
    ours = loaded.turns[side]
    peer = loaded.turns[GRAPH][: len(ours)]
    rows = sum(turn.rows for turn in ours)
    ours_rate, peer_rate = _overall(ours), _overall(peer)
    return Figure(
        GROUP,
        f"{name}, {rows:,} items in batches of {BATCH:,}",
        "items/s",
        ours_rate,
        Spread.of([turn.rate for turn in ours]),
        peer=peer_rate,
        peer_name="hnswlib add_items",
        peer_spread=Spread.of([turn.rate for turn in peer]),
        ratio=ours_rate / peer_rate,
        ratio_spread=Spread.of([o.rate / p.rate for o, p in zip(ours, peer, strict=True)]),
        floor=times(20) if side == VORONOI else None,
        goal=times(40) if side == VORONOI else None,
        details={"rows": rows, "batch": BATCH, "turns": len(ours)},
    )


def _overall(turns: list[Turn]) -> float:
    return sum(turn.rows for turn in turns) / sum(sum(turn.batch_seconds) for turn in turns)
