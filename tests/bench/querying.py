"""One query at a time, at a stated recall, in turns with hnswlib over the same items."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

import streamlsh
from streamlsh.evaluation import recall_at_k
from tests.bench.dataset import F32, Dataset
from tests.bench.figures import Figure, Spread, within
from tests.bench.workbench import Workbench

GROUP = "query"
MEANING = """\
Held-out vectors, one a call, raw vector in and ids out: `reader.search(v, 10, probes=p)` against
hnswlib's `knn_query` with one thread. One half of the held-out vectors chooses the smallest `p`
(and hnswlib's smallest `ef`) that reaches the recall against `reader.exact` with 0.01 to spare;
the other half is timed and scored, and its recall is what is printed. All contestants take turns,
each pass over the queries in a new random order after one pass to warm up. Further rows: what
`reader.search` does when no `probes` are given, the scan of every sketch, and the exact scan of
every vector."""

K = 10
EXACT_K = 20
RECALLS = (0.95, 0.98)
SPARE = 0.01
"""How much more is asked of the choosing half, so that the other half reaches the recall too."""
PASSES_A_REPEAT = 4
EXACT_QUERIES = 20
MOST_EF = 2_048


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """Queries and what an exact scan found for them."""

    queries: list[F32]
    ids: list[list[str]]
    scores: list[F32]

    def recall(self, answer: Callable[[F32], Sequence[str]]) -> float:
        """Recall@10 of a way of answering; every query is asked once."""
        return recall_at_k([answer(query) for query in self.queries], self.ids, self.scores, K)


@dataclass(slots=True, eq=False)
class Contestant:
    """A way of answering queries, and how fast it was.

    Attributes:
        ask: one query, as it is timed.
        names: the ids in what ``ask`` returned.
        setting: the parameter chosen, in words.
        around: what must hold while it is asked.
        microseconds: a query, pass by pass.
        recall: on the scored half.
    """

    ask: Callable[[F32], Any]
    names: Callable[[Any], Sequence[str]]
    setting: str
    around: Callable[[], AbstractContextManager[None]] = nullcontext
    microseconds: list[float] = field(default_factory=list)
    recall: float = 0.0

    def score(self, truth: Truth) -> None:
        """Measure the recall; it warms up as well."""
        with self.around():
            self.recall = truth.recall(lambda query: self.names(self.ask(query)))

    def time(self, queries: Sequence[F32]) -> None:
        """One timed pass."""
        ask = self.ask
        with self.around():
            started = time.perf_counter()
            for query in queries:
                ask(query)
            seconds = time.perf_counter() - started
        self.microseconds.append(1e6 * seconds / len(queries))

    @property
    def described(self) -> str:
        """Recall and setting."""
        return f"recall {self.recall:.3f} with {self.setting}"


def measure(bench: Workbench) -> list[Figure]:
    """Choose parameters, then let everybody run in turns."""
    dataset, graph = bench.dataset, bench.loaded.graph
    path = bench.loaded.path
    with streamlsh.open(path) as reader, streamlsh.open(path) as scanner:
        scanner._index.family.scan_below = len(dataset)  # of this one reader's planner
        choosing = _truth(bench, reader, dataset.choosing)
        scored = _truth(bench, reader, dataset.scored)
        pairs = {
            recall: (_ours(reader, choosing, recall), _peer(graph, dataset, choosing, recall))
            for recall in RECALLS
        }
        ask = partial(_search, reader, None)
        plan = reader.search(dataset.scored[0], K).plan
        default = Contestant(ask, _ids, f"the default, {plan.probes:.0f} probes by {plan.route}")
        scan = Contestant(partial(_search, scanner, None), _ids, "every sketch")
        exact = Contestant(lambda query: reader.exact(query, K), _ids, "every vector")
        field = [one for pair in pairs.values() for one in pair if one is not None]
        field += [default, scan]
        _race(bench, field, exact, scored)
        info = reader.info()
    shape = f"{len(info['segments'])} segments, {info['tail_entries']:,} entries in the tail"
    size = f"{len(dataset):,} items"
    rows = []
    for recall, (ours, peer) in pairs.items():
        name = f"one query, recall@10 of {recall}, {size}"
        first = recall == RECALLS[0]
        floor, later = (within(300, "us"), "next issue") if first else (None, "")
        if ours is None:
            name += ": no number of probes reaches it, so the scan of every sketch"
            valid = scan.recall >= recall
            rows.append(replace(_alone(name, scan), floor=floor, later=later, valid=valid))
        else:
            rows.append(replace(_against(name, ours, peer), floor=floor, later=later))
    rows.append(_alone(f"one query with the default probes, {size}", default, shape))
    rows.append(_alone(f"one query by the scan of every sketch, {size}", scan))
    rows.append(_alone(f"one query by the exact scan, {size}", exact))
    return rows


def _race(bench: Workbench, field: list[Contestant], exact: Contestant, truth: Truth) -> None:
    """Time everybody in turns; the exact scan is slow and answers only a few queries a repeat."""
    rng = np.random.default_rng(3)
    passes = PASSES_A_REPEAT * bench.repeats
    with bench.bars.bar("queries", len(field) + passes + bench.repeats) as advance:
        for one in field:
            one.score(truth)
            advance(1)
        exact.recall = 1.0  # by definition
        for number in range(passes):
            order = rng.permutation(len(truth.queries))
            queries = [truth.queries[i] for i in order]
            start = number % len(field)
            for one in field[start:] + field[:start]:
                one.time(queries)
            advance(1)
        for _ in range(bench.repeats):
            order = rng.permutation(len(truth.queries))[:EXACT_QUERIES]
            exact.time([truth.queries[i] for i in order])
            advance(1)


def _truth(bench: Workbench, reader: streamlsh.Reader, vectors: F32) -> Truth:
    queries = list(np.ascontiguousarray(vectors))
    ids, scores = [], []
    with bench.bars.bar("exact neighbours", len(queries)) as advance:
        for query in queries:
            hits = reader.exact(query, EXACT_K)
            ids.append(hits.ids)
            scores.append(hits.scores)
            advance(1)
    return Truth(queries, ids, scores)


def _ours(reader: streamlsh.Reader, truth: Truth, recall: float) -> Contestant | None:
    def reached(probes: int) -> bool:
        return truth.recall(lambda query: _search(reader, probes, query).ids) >= recall + SPARE

    probes = smallest(1, reader.info()["family"]["buckets"], reached)
    if probes is None:
        return None
    return Contestant(partial(_search, reader, probes), _ids, f"{probes} probes")


def _peer(graph: Any, dataset: Dataset, truth: Truth, recall: float) -> Contestant | None:
    def ask(query: F32) -> Any:
        return graph.knn_query(query, k=K, num_threads=1)

    def names(answer: Any) -> list[str]:
        return [dataset.ids[label] for label in answer[0][0].tolist()]

    def reached(ef: int) -> bool:
        graph.set_ef(ef)
        return truth.recall(lambda query: names(ask(query))) >= recall + SPARE

    @contextmanager
    def around(ef: int) -> Iterator[None]:
        graph.set_ef(ef)
        yield

    ef = smallest(K, MOST_EF, reached)
    return None if ef is None else Contestant(ask, names, f"ef {ef}", partial(around, ef))


def smallest(low: int, high: int, reached: Callable[[int], bool]) -> int | None:
    """The smallest number from ``low`` to ``high`` that reaches, if more always helps."""
    known, at = low - 1, low
    while not reached(at):
        if at == high:
            return None
        known, at = at, min(2 * at, high)
    while at - known > 1:
        middle = (known + at) // 2
        if reached(middle):
            at = middle
        else:
            known = middle
    return at


def _search(reader: streamlsh.Reader, probes: int | None, query: F32) -> streamlsh.Hits:
    return reader.search(query, K, probes=probes)


def _ids(hits: streamlsh.Hits) -> Sequence[str]:
    names: Sequence[str] = hits.ids
    return names


def _against(name: str, ours: Contestant, peer: Contestant | None) -> Figure:
    spread = Spread.of(ours.microseconds)
    details: dict[str, Any] = {"recall": ours.recall, "setting": ours.setting}
    if peer is None:
        return Figure(
            GROUP, name, "us", spread.middle, spread,
            note=f"{ours.described}; hnswlib did not reach it", details=details,
        )  # fmt: skip
    peers = Spread.of(peer.microseconds)
    ratios = Spread.of([p / o for o, p in zip(ours.microseconds, peer.microseconds, strict=True)])
    return Figure(
        GROUP,
        name,
        "us",
        spread.middle,
        spread,
        peer=peers.middle,
        peer_name="hnswlib knn_query",
        peer_spread=peers,
        ratio=ratios.middle,
        ratio_spread=ratios,
        note=f"{ours.described}; hnswlib {peer.described}",
        details=details | {"peer_recall": peer.recall, "peer_setting": peer.setting},
    )


def _alone(name: str, one: Contestant, extra: str = "") -> Figure:
    spread = Spread.of(one.microseconds)
    note = f"{one.described}; {extra}" if extra else one.described
    return Figure(
        GROUP, name, "us", spread.middle, spread, note=note,
        details={"recall": one.recall, "setting": one.setting},
    )  # fmt: skip
