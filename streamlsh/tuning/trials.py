"""Trials: an index of the sample in a temporary directory, searched in many ways.

Every way is measured on all held-out queries. One half of them chooses, the other half checks:
the recall of a choice on the queries it was chosen by is a little too good.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import lmdb
import numpy as np
from numpy.typing import NDArray

from streamlsh.buckets.layout import BLOCK, LANES
from streamlsh.calibration import MARGIN
from streamlsh.creating import create
from streamlsh.planning import SearchPlan, new_search
from streamlsh.search import NONE_EXCLUDED, answer_in_groups
from streamlsh.storage.opening import Index, open_index
from streamlsh.tuning import costs
from streamlsh.tuning.grid import Tried
from streamlsh.tuning.occupancy import Occupancy, foreseen
from streamlsh.tuning.report import Choice, Measured
from streamlsh.view import View, make_view
from streamlsh.writing import writer

F32 = NDArray[np.float32]

K = 10
"""The neighbours of which recall is measured."""
EXACT = 16
"""Candidates scored by their vectors: as many as the planner takes for so many neighbours."""
RERANKS = (30, 40, 60, 90, 130, 200, 320)
PART = 4
"""How much smaller the sample is on which the growth of candidates is seen."""
DEARER = 2.0
"""What costs more than so many times the cheapest is of no interest."""
MOST_PROBES = 4096
"""Wider probing is not tried: by then the scan of all sketches is as cheap."""
NAME_BYTES = 80
"""What an item takes for its id, of some 16 bytes, in the two places where it stands."""
SLACK = 1.03
"""Pages that are not quite full."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What every trial is made on.

    Attributes:
        training: (t, dim) float32 vectors that families are made from, as they were given.
        rows: (n, dim) float32 vectors to index, likewise.
        hashed: the same as the metric wants them.
        queries: (q, dim) float32 as the metric wants them; the first half chooses.
        cuts: (q,) the score that a row must have to be one of the K nearest to a query. Of rows
            that tie with the last of them each one counts.
        metric: how they are compared.
        items: the planned number of items.
        recall: the recall that is asked for.
        seed: of the families.
    """

    training: F32
    rows: F32
    hashed: F32
    queries: F32
    cuts: F32
    metric: str
    items: int
    recall: float
    seed: int

    def smaller(self) -> Sample:
        """The same with only the first of every ``PART`` rows."""
        count = len(self.rows) // PART
        hashed = self.hashed[:count]
        cuts = least_scores(self.metric, self.queries, hashed)
        return replace(self, rows=self.rows[:count], hashed=hashed, cuts=cuts)


def least_scores(metric: str, queries: F32, rows: F32) -> F32:
    """(q,) the score of each query's Kth nearest row, less what arithmetic may take from it.

    Args:
        metric: how they are compared; scores are the kernels', higher being nearer.
        queries: (q, dim) as the metric wants them.
        rows: (n, dim) likewise.
    """
    scores = queries @ rows.T
    squares = np.einsum("ij,ij->i", rows, rows)
    if metric == "euclidean":
        scores -= np.float32(0.5) * squares
    nearest = np.argpartition(-scores, K - 1, axis=1)[:, :K]
    last = np.take_along_axis(nearest, np.take_along_axis(scores, nearest, 1).argmin(1)[:, None], 1)
    chosen = rows[last[:, 0]]
    least: F32
    if metric == "euclidean":
        distances = ((queries - chosen) ** 2).sum(axis=1)  # rounding would spoil small ones above
        least = -np.float32(1.0 + 1e-5) * distances
        return least
    cuts = np.einsum("ij,ij->i", queries, chosen)
    sizes = np.sqrt(np.einsum("ij,ij->i", queries, queries) * squares[last[:, 0]])
    least = cuts - np.float32(1e-6) * sizes
    return least


@contextmanager
def built(sample: Sample, tried: Tried, folder: Path) -> Iterator[Runs]:
    """An index of the sample's rows, ready to be searched."""
    path = folder / "index"
    create(
        path, dim=sample.rows.shape[1], metric=sample.metric, family=tried.family,
        sample=sample.training, seed=sample.seed, **tried.parameters,
    )  # fmt: skip
    with writer(path) as into:
        into.upsert([f"{row:08d}" for row in range(len(sample.rows))], sample.rows)
    index = open_index(path)
    try:
        with index.environment.read() as transaction:
            yield Runs(sample, tried, index, transaction)
    finally:
        index.environment.close()


class Runs:
    """One index and everything that is measured of it; see ``built``."""

    def __init__(
        self, sample: Sample, tried: Tried, index: Index, transaction: lmdb.Transaction
    ) -> None:
        self._sample, self._tried, self._index = sample, tried, index
        self._view: View = make_view(index, transaction, None)
        self._growth = sample.items / len(sample.rows)
        hashed = index.family.encode(sample.hashed).buckets
        self._occupancy = foreseen(hashed, index.family.buckets, sample.items)
        self._known: dict[tuple[int, int, float, int], Measured] = {}

    def tables(self, limit: float) -> list[Measured]:
        """The cheapest way by tables that reaches the recall, for each match that does.

        Args:
            limit: ways that take more microseconds are of no interest.
        """
        wide = self._wide()
        best: list[Measured] = []
        for match in _matches(self._index.family.tables):
            if match > 1:
                # What appearing in any table does not reach, appearing in more does not either.
                if not best or self._price_of_counting(*wide[0]) > limit:
                    break
                wide = [(probes, math.inf) for probes, _ in wide]
            first = self._first(match, wide, limit)
            cheapest: Measured | None = None
            for probes, reach in wide[first:]:
                found = self._cheapest_rerank(match, probes, reach)
                if found is None or (cheapest and found.microseconds >= cheapest.microseconds):
                    break  # wider is dearer
                cheapest = found
            if cheapest is not None:
                best.append(cheapest)
                wide = wide[first:]
                limit = min(limit, DEARER * best[0].microseconds)
        return best

    def needed(self) -> float | None:
        """How many entries a query must score, in any table; see ``entries_needed``."""
        self._first(1, self._wide(), math.inf)
        return entries_needed(self.ways, self._sample.recall)

    def scan(self) -> Measured | None:
        """The cheapest scan of all sketches that reaches the recall."""
        return self._cheapest_rerank(1, 0, math.inf)

    def choice(self, way: Measured) -> Choice:
        """A way with all that is to be said of the index."""
        family, items = self._index.family, self._sample.items
        directory = 8 * self._occupancy.occupied
        entry = family.assignments * BLOCK.itemsize / LANES
        codes = self._index.rows.code_width + 8
        arrays = sum(array.nbytes for array in family.arrays().values())
        memory = items * (entry + codes) + directory + arrays
        disk = SLACK * (memory + items * (4 * family.dim + NAME_BYTES))
        return Choice(
            self._tried.family, self._tried.parameters, family.tables, way, self._occupancy,
            family.scan_below, round(disk), round(memory),
        )  # fmt: skip

    @property
    def ways(self) -> tuple[Measured, ...]:
        """Everything that was measured, in that order."""
        return tuple(self._known.values())

    @property
    def occupancy(self) -> Occupancy:
        """Of the buckets at the planned number of items."""
        return self._occupancy

    def _price_of_counting(self, probes: int, reach: float) -> float:
        """Microseconds at least of a way that counts tables, from the same way without."""
        way = self._measure(1, probes, reach, RERANKS[-1])
        return costs.by_tables(
            self._index.family, way.buckets, way.candidates, RERANKS[0], copies=True
        )

    def _wide(self) -> list[tuple[int, float]]:
        """The family's ways to probe, from narrow to wide."""
        return [way for way in self._index.family.ways() if way[0] <= MOST_PROBES]

    def _first(self, match: int, wide: list[tuple[int, float]], limit: float) -> int:
        """Place of the first way that reaches the recall, or costs more than the limit."""

        def suffices(way: tuple[int, float]) -> bool:
            found = self._measure(match, *way, RERANKS[-1])
            return self._reaches(found) or found.microseconds > limit

        return bisect_left(wide, True, key=suffices)

    def _cheapest_rerank(self, match: int, probes: int, reach: float) -> Measured | None:
        """The fewest re-ranks that reach the recall in a way of probing, if any do."""

        def suffices(rerank: int) -> bool:
            return self._reaches(self._measure(match, probes, reach, rerank))

        if not suffices(RERANKS[-1]):
            return None
        fewest = RERANKS[bisect_left(RERANKS, True, key=suffices)]
        return self._measure(match, probes, reach, fewest)

    def _reaches(self, way: Measured) -> bool:
        return way.predicted >= min(self._sample.recall + MARGIN, 0.9999)

    def _measure(self, match: int, probes: int, reach: float, rerank: int) -> Measured:
        known = self._known.get((match, probes, reach, rerank))
        if known is not None:
            return known
        family, queries = self._index.family, self._sample.queries
        plan = SearchPlan(
            "tables" if probes else "scan", probes, reach, match, rerank, EXACT,
            K if match == 1 else 0, None, "trial",
        )  # fmt: skip
        view = self._view
        search = new_search(family, plan, K, view.state.live)
        answers = answer_in_groups(
            family, view, search, view.slots.live, NONE_EXCLUDED, queries, 1,
            lambda answer: (answer.scores, answer.notes),
        )  # fmt: skip
        scores, notes = (np.concatenate(parts) for parts in zip(*answers, strict=True))
        held = np.arange(K) < notes[:, :1]
        found = (held & (scores[:, :K] >= self._sample.cuts[:, None])).mean(axis=1)
        half = len(queries) // 2
        entries = float(notes[:, 1].mean()) * self._growth
        buckets = float(notes[:, 3].mean())
        microseconds = (
            costs.by_tables(family, buckets, entries, rerank, copies=match > 1)
            if probes
            else costs.by_scan(entries, rerank)
        )
        way = Measured(
            match, probes, reach, rerank, float(found[:half].mean()), float(found[half:].mean()),
            buckets, entries, microseconds,
        )  # fmt: skip
        self._known[match, probes, reach, rerank] = way
        return way


def entries_needed(ways: Sequence[Measured], recall: float) -> float | None:
    """How many entries a query must score: between a way that reaches the recall and the last not.

    Ways with the most re-ranks count, in any table; ``None`` if none of them reaches it.
    """
    widest = sorted(
        (way for way in ways if way.probes and way.match == 1 and way.rerank == RERANKS[-1]),
        key=lambda way: way.candidates,
    )
    for before, way in zip([None, *widest], widest, strict=False):
        if way.predicted >= recall:
            if before is None or before.candidates <= 0:
                return way.candidates
            share = (recall - before.predicted) / (way.predicted - before.predicted)
            between = math.log(before.candidates) * (1.0 - share) + math.log(way.candidates) * share
            return math.exp(between)
    return None


def repriced(way: Measured, shrink: float) -> Measured:
    """A way by tables that will look into fewer buckets than it did in the sample.

    Args:
        way: priced as if the entries that it scores grew as the items do.
        shrink: what its buckets and entries are to be multiplied by.
    """
    if way.probes == 0:
        return way
    per_entry = costs.ENTRY + (costs.COPY if way.match > 1 else 0.0)
    saved = (1.0 - shrink) * (per_entry * way.candidates + costs.BUCKET * way.buckets)
    return replace(way, candidates=shrink * way.candidates, microseconds=way.microseconds - saved)


def _matches(tables: int) -> list[int]:
    """In how many tables an item may have to appear: any, at least half, all."""
    return sorted({1, (tables + 1) // 2 if tables > 2 else 1, tables})
