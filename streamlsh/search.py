"""The way of a query: plan, probe, scan, re-rank."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamlsh.families.base import Probed
from streamlsh.kernels.answer import answer_queries
from streamlsh.kernels.rerank import scan_rows
from streamlsh.planning import SearchPlan
from streamlsh.storage.opening import Index
from streamlsh.view import View

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
U32 = NDArray[np.uint32]

WIDEN = 4
"""How much wider a search looks that has found fewer than k items."""
MAX_THREADS = 256
TOGETHER = 64
"""Queries that go through the kernels in one call: what lies between stays in the cache."""


class Answer(NamedTuple):
    """Neighbours of many queries, by slot.

    Attributes:
        slots: (n, exact) uint32, best first; only the first ``notes[:, 0]`` count.
        scores: (n, exact) float32 exact scores, higher being nearer.
        notes: (n, 4) int64: hits, entries or rows scored, candidates dropped in ties, and
            buckets looked into.
        fewest: the smallest number of hits of a query.
    """

    slots: U32
    scores: F32
    notes: I64
    fewest: int


def search(
    index: Index,
    view: View,
    queries: F32,
    plan: SearchPlan,
    live: I64,
    allowed: int,
    excluded: U32,
    threads: int,
) -> Answer:
    """Search for the neighbours of queries, the way the planner chose.

    Args:
        index: the open index.
        view: of the commit to search.
        queries: (n, dim) as the metric wants them.
        plan: how.
        live: addresses of the bitmap's pages of slots that may be returned.
        allowed: how many slots may be returned.
        excluded: sorted slots that may not, though the bitmap says so.
        threads: how many threads may work on a batch.
    """
    # Excluded items need not pass the filter, so their number says nothing of what is left; who
    # wants more than there is has looked at everything.
    wanted = min(plan.wanted, allowed)
    if len(queries) <= TOGETHER:
        return _answer(index, view, queries, plan, live, wanted, excluded)

    def answer(part: F32) -> Answer:
        return _answer(index, view, part, plan, live, wanted, excluded)

    parts = [queries[start : start + TOGETHER] for start in range(0, len(queries), TOGETHER)]
    if threads == 1:
        return _joined([answer(part) for part in parts])
    # The kernels let go of the interpreter.
    with ThreadPoolExecutor(threads) as pool:
        return _joined(list(pool.map(answer, parts)))


def _answer(
    index: Index, view: View, queries: F32, plan: SearchPlan, live: I64, wanted: int, excluded: U32
) -> Answer:
    """The answer to a few queries; wider where fewer than ``wanted`` items were found."""
    family = index.family
    if plan.route == "exact":
        return _exact_search(view, queries, plan.exact, live, excluded)
    if plan.route == "scan":
        probed = family.first_table(queries)
        return _search_buckets(index, view, queries, probed, plan, live, excluded)
    probed = family.probe(queries, plan.probes, plan.reach)
    found = _search_buckets(index, view, queries, probed, plan, live, excluded)
    count = plan.probes
    while found.fewest < wanted and count < family.most_probes:
        short = np.flatnonzero(found.notes[:, 0] < wanted)
        count = min(count * WIDEN, family.most_probes)
        rows = np.ascontiguousarray(queries[short])
        if count < family.most_probes:
            probed = family.probe(rows, count, math.inf)
        else:
            probed = family.first_table(rows)
        more = _search_buckets(index, view, rows, probed, plan, live, excluded)
        found.slots[short], found.scores[short] = more.slots, more.scores
        found.notes[short] = more.notes
        found = found._replace(fewest=int(found.notes[:, 0].min()))
    return found


def _search_buckets(
    index: Index,
    view: View,
    queries: F32,
    probed: Probed,
    plan: SearchPlan,
    live: I64,
    excluded: U32,
) -> Answer:
    family = index.family
    # An item has the same sketch in every table, so it may come up that often among the best; in
    # several buckets of one table it has different ones, and only enough items must be left.
    tables = 1 if plan.route == "scan" else family.tables
    entries = max(plan.rerank * tables, plan.exact * family.assignments)
    count = len(queries)
    slots = np.empty((count, plan.exact), np.uint32)
    scores = np.empty((count, plan.exact), np.float32)
    notes = np.empty((count, 4), np.int64)
    fewest = answer_queries(
        view.where, live, excluded, queries, probed.planes, probed.deltas, probed.buckets,
        probed.bases, probed.counts, plan.copies, plan.rerank, entries, slots, scores, notes,
    )  # fmt: skip
    return Answer(slots, scores, notes, fewest)


def _exact_search(view: View, queries: F32, count: int, live: I64, excluded: U32) -> Answer:
    """The ``count`` nearest rows to each query, by a scan of every vector."""
    slots = np.empty((len(queries), 2 * count), np.uint32)
    scores = np.empty((len(queries), 2 * count), np.float32)
    notes = np.zeros((len(queries), 4), np.int64)
    notes[:, 1] = view.state.live
    for row, query in enumerate(queries):
        notes[row, 0] = scan_rows(view.where, query, count, live, excluded, slots[row], scores[row])
    return Answer(slots[:, :count], scores[:, :count], notes, 0)


def _joined(answers: list[Answer]) -> Answer:
    return Answer(
        np.concatenate([answer.slots for answer in answers]),
        np.concatenate([answer.scores for answer in answers]),
        np.concatenate([answer.notes for answer in answers]),
        min(answer.fewest for answer in answers),
    )
