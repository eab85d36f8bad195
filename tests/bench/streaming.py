"""Queries while updates stream in: ours beside a writer process, and hnswlib in turns with it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import hnswlib
import numpy as np
from threadpoolctl import threadpool_limits

from tests.bench.choosing import Chooser
from tests.bench.dataset import F32, Dataset
from tests.bench.figures import Figure, Spread, times
from tests.bench.outcomes import FIRST, SHORTFALL
from tests.bench.peers.base import K, Peer, Setting, padded
from tests.bench.peers.hnsw import Hnsw
from tests.bench.peers.ours import Ours
from tests.bench.tables import Table, number
from tests.bench.truth import Truth
from tests.bench.workbench import Workbench

GROUP = "stream"
MEANING = """\
A second process replaces items through `streamlsh.writer`, 2,000 a second, with a durable commit
every ten milliseconds or so; this process asks one query after the other at recall 0.95. The
replacements are the items' own vectors moved by a ten-thousandth of their length, so what is right
stays right and recall can be measured. In turns with that, without updates: the same queries here,
and to hnswlib. hnswlib does not allow `add_items` beside `knn_query`, so in its own turn with
updates one thread does both: after each query as many of the updates that are due as there are
cores, each a `mark_deleted` and an `add_items(..., replace_deleted=True)`. A latency is the time
from one answer to the next."""

RATE = 2_000
REACHED = 0.98
"""Share of the rate that must have been committed for the figure to count."""
SLICE_SECONDS = 1.5
SETTLE_SECONDS = 0.3
SHIFT = 1e-4
MOST_UPDATES = 50_000
MOST_SCORED = 1_000
ROOT = Path(__file__).parents[2]
SEED = 11

OURS, OURS_STILL = "streamlsh, 2,000 updates/s", "streamlsh, standing still"
GRAPH_STILL, GRAPH = "hnswlib, standing still", "hnswlib, replace_deleted in turns"


@dataclass(slots=True, eq=False)
class Stretch:
    """One way of being asked, over all of its turns.

    Attributes:
        latencies: seconds from one answer to the next, turn by turn.
        updates: updates a second, turn by turn.
        asked: numbers of the queries.
        answers: labels of what came.
    """

    latencies: list[list[float]] = field(default_factory=list)
    updates: list[float] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)
    answers: list[list[int]] = field(default_factory=list)

    @property
    def rates(self) -> list[float]:
        """Queries a second, turn by turn."""
        return [len(turn) / sum(turn) for turn in self.latencies]

    def percentile(self, share: float) -> float:
        """Of all latencies, in microseconds."""
        return 1e6 * float(np.percentile(np.concatenate(self.latencies), share))

    def recall(self, truth: Truth) -> float:
        """Of what was kept."""
        return truth.recall(padded(self.answers), np.array(self.asked))


class Asker:
    """Asks one query after the other for a while."""

    def __init__(self, truth: Truth) -> None:
        self._queries = list(truth.queries)
        self._order = cycle(np.random.default_rng(SEED).permutation(len(self._queries)).tolist())

    def run(
        self,
        stretch: Stretch,
        ask: Callable[[Any], Any],
        labels: Callable[[Any], Any],
        between: Callable[[], None] | None = None,
    ) -> None:
        """One turn; ``between`` is called after every query."""
        latencies: list[float] = []
        asked: list[int] = []
        answers: list[Any] = []
        before = started = time.perf_counter()
        while before - started < SLICE_SECONDS:
            query = next(self._order)
            answer = ask(self._queries[query])
            if between is not None:
                between()
            now = time.perf_counter()
            latencies.append(now - before)
            before = now
            if len(asked) < MOST_SCORED:
                asked.append(query)
                answers.append(answer)
        stretch.latencies.append(latencies)
        stretch.asked += asked
        stretch.answers += [list(labels(answer)) for answer in answers]


def measure(bench: Workbench) -> list[Figure]:
    """Take turns: hnswlib and ourselves standing still, ourselves and hnswlib with updates."""
    dataset = bench.dataset
    with ExitStack() as stack:
        ours, graph = bench.filled(dataset)
        path = bench.copy(ours.path, "streaming")
        bench.keep(dataset, ours.path, graph)
        ours = Ours(path)
        stack.callback(ours.close)
        stack.enter_context(threadpool_limits(1))
        choosing = Truth.of(dataset.items, dataset.choosing)
        setting = Chooser(graph, choosing).cheapest(FIRST)
        if setting is None:
            raise AssertionError(f"hnswlib did not reach recall {FIRST}")
        truth = Truth.of(dataset.items, dataset.scored)
        ids, vectors = _replacements(dataset)
        updated = UpdatedGraph(graph, dataset, vectors, bench.folder, bench.cores)
        writer = stack.enter_context(_writer(path, ids, vectors, bench.folder))
        stretches = {name: Stretch() for name in (GRAPH_STILL, OURS_STILL, OURS, GRAPH)}
        rounds = max(3, bench.repeats)
        with bench.bars.bar("queries while updates stream in", rounds) as advance:
            for _ in range(rounds):
                _round(Asker(truth), stretches, ours, graph, setting, updated, writer)
                advance(1)
    bench.tables.append(_table(dataset, stretches, truth, setting))
    return [_figure(dataset, stretches, truth, setting)]


def _round(
    asker: Asker,
    stretches: dict[str, Stretch],
    ours: Ours,
    graph: Hnsw,
    setting: Setting,
    updated: UpdatedGraph,
    writer: Updates,
) -> None:
    known = Setting(f"recall={FIRST}", (FIRST,))
    still: list[tuple[str, Peer, Setting]] = [
        (GRAPH_STILL, graph, setting), (OURS_STILL, ours, known),
    ]  # fmt: skip
    for name, peer, chosen in still:
        asker.run(stretches[name], peer.asker(chosen), peer.labels)
    writer.go()
    time.sleep(SETTLE_SECONDS)
    asker.run(stretches[OURS], ours.asker(known), ours.labels)
    stretches[OURS].updates.append(writer.stop())
    updated.begin()
    asker.run(stretches[GRAPH], updated.asker(setting), updated.labels, updated.apply)
    stretches[GRAPH].updates.append(updated.rate())


class UpdatedGraph:
    """A copy of the graph that takes the same updates, as far as it can keep up.

    A replacement gets a label of its own, since hnswlib puts it wherever something was deleted:
    the item's number plus a multiple of how many there are.
    """

    def __init__(
        self, graph: Hnsw, dataset: Dataset, vectors: F32, folder: Path, cores: int
    ) -> None:
        file = folder / "graph"
        graph.graph.save_index(str(file))
        self._graph = hnswlib.Index(space="ip", dim=dataset.dim)
        self._graph.load_index(str(file), len(dataset), allow_replace_deleted=True)
        file.unlink()
        self._vectors, self._cores, self._count = vectors, cores, len(dataset)
        self._labels = np.arange(len(vectors))
        self._numbers = cycle(range(len(vectors)))
        self._done, self._started = 0, 0.0

    def begin(self) -> None:
        """The clock of the updates starts."""
        self._done, self._started = 0, time.perf_counter()

    def apply(self) -> None:
        """Some of the updates that are due."""
        due = int((time.perf_counter() - self._started) * RATE) - self._done
        rows = list(islice(self._numbers, min(due, self._cores)))
        if rows:
            for label in self._labels[rows].tolist():
                self._graph.mark_deleted(label)
            self._labels[rows] += self._count
            self._graph.add_items(
                self._vectors[rows],
                self._labels[rows],
                num_threads=self._cores,
                replace_deleted=True,
            )
            self._done += len(rows)

    def rate(self) -> float:
        """Updates a second since ``begin``."""
        return self._done / (time.perf_counter() - self._started)

    def asker(self, setting: Setting) -> Callable[[Any], Any]:
        """Like hnswlib's."""
        return Hnsw(self._graph).asker(setting)

    def labels(self, answer: Any) -> list[int]:
        """Numbers of items."""
        found: list[int] = (answer[0][0] % self._count).tolist()
        return found


class Updates:
    """The writer process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def go(self) -> None:
        """Start updating; returns after the first commit."""
        answer = self._say("go")
        if answer != "going":
            raise RuntimeError(f"the process that updates the index said {answer!r}")

    def stop(self) -> float:
        """Stop; returns updates a second."""
        answer = json.loads(self._say("stop"))
        rate: float = answer["updates"] / answer["seconds"]
        return rate

    def _say(self, word: str) -> str:
        pipes = self._process.stdin, self._process.stdout
        if pipes[0] is None or pipes[1] is None:
            raise AssertionError("expected a process with pipes")
        pipes[0].write(word + "\n")
        pipes[0].flush()
        return pipes[1].readline().strip()


@contextmanager
def _writer(index: Path, ids: Sequence[str], vectors: F32, folder: Path) -> Iterator[Updates]:
    scratch = folder / "updates"
    scratch.mkdir()
    (scratch / "ids.json").write_text(json.dumps(list(ids)), encoding="utf-8")
    np.save(scratch / "vectors.npy", vectors)
    command = [sys.executable, "-m", "tests.bench.updating", str(index), str(scratch), str(RATE)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Updates(process)


def _replacements(dataset: Dataset) -> tuple[list[str], F32]:
    """Ids and slightly moved vectors of the first items."""
    count = min(MOST_UPDATES, len(dataset))
    rng = np.random.default_rng(SEED)
    moves = rng.standard_normal((count, dataset.dim), dtype=np.float32)
    moves *= SHIFT / np.linalg.norm(moves, axis=1, keepdims=True)
    vectors = dataset.items[:count] + moves
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return dataset.ids[:count], vectors


def _figure(
    dataset: Dataset, stretches: dict[str, Stretch], truth: Truth, setting: Setting
) -> Figure:
    ours, still = stretches[OURS], stretches[GRAPH_STILL]
    rate, recall = Spread.of(ours.updates).middle, ours.recall(truth)
    ratios = Spread.of(
        [mine / theirs for mine, theirs in zip(ours.rates, still.rates, strict=True)]
    )
    return Figure(
        GROUP,
        f"recall {FIRST} while {RATE:,} updates/s stream in, {dataset.name} ({len(dataset):,})",
        "queries/s",
        Spread.of(ours.rates).middle,
        Spread.of(ours.rates),
        peer=Spread.of(still.rates).middle,
        peer_name=GRAPH_STILL,
        peer_spread=Spread.of(still.rates),
        ratio=ratios.middle,
        ratio_spread=ratios,
        floor=times(1),
        goal=times(3),
        valid=recall >= FIRST - SHORTFALL and rate >= REACHED * RATE,
        note=f"recall {recall:.3f}, p50 {ours.percentile(50):.0f}, p99 {ours.percentile(99):.0f} "
        f"us, {rate:,.0f} updates/s; hnswlib recall {still.recall(truth):.3f}, {setting.text}",
        details={"updates_a_second": ours.updates, "recall": recall},
    )


def _table(
    dataset: Dataset, stretches: dict[str, Stretch], truth: Truth, setting: Setting
) -> Table:
    rows, data = [], []
    for name, one in stretches.items():
        rate = Spread.of(one.rates)
        updates = Spread.of(one.updates).middle if one.updates else 0.0
        p50, p99, recall = one.percentile(50), one.percentile(99), one.recall(truth)
        rows.append(
            [
                name,
                f"{number(rate.middle)} ({number(rate.low)} - {number(rate.high)})",
                number(p50), number(p99), f"{recall:.3f}", f"{updates:,.0f}",
            ]
        )  # fmt: skip
        data.append({"name": name, "rates": one.rates, "updates": one.updates,
                     "p50_us": p50, "p99_us": p99, "recall": recall})  # fmt: skip
    return Table(
        GROUP,
        f"Queries while updates stream in, {dataset.name}, hnswlib with {setting.text}",
        ("", "queries/s", "p50, us", "p99, us", "recall@10", "updates/s reached"),
        rows,
        {"set": dataset.name, "k": K, "stretches": data},
    )
