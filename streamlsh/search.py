"""The way of a query: plan, probe, scan, re-rank."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamlsh.families.base import Family, Probed
from streamlsh.kernels.answer import answer_queries
from streamlsh.kernels.asking import SHORT, find_hits
from streamlsh.kernels.naming import name_hits
from streamlsh.kernels.rerank import scan_rows
from streamlsh.planning import Search
from streamlsh.view import View

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
U32 = NDArray[np.uint32]

WIDEN = 4
"""How much wider a search looks that has found fewer than k items."""
MAX_THREADS = 256
TOGETHER = 64
"""Queries that go through the kernels in one call: what lies between stays in the cache."""
NAME_BYTES = 48
"""Bytes an id is expected to have; longer ones cost a second try."""
NONE_EXCLUDED = np.zeros(0, np.uint32)
"""What ``excluded`` is where nothing is."""


class Answer(NamedTuple):
    """Neighbours of some queries.

    Attributes:
        ids: of all hits, query after query, each query's best first.
        slots: (n, exact) uint32 theirs.
        scores: (n, exact) float32 exact scores, higher being nearer; of each row only the first
            ``notes[:, 0]`` count.
        notes: (n, 4) int64: hits, entries or rows scored, candidates dropped in ties, and
            buckets looked into.
    """

    ids: list[str]
    slots: U32
    scores: F32
    notes: I64


def answer_all(
    family: Family,
    view: View,
    search: Search,
    live: I64,
    excluded: U32,
    queries: F32,
    threads: int,
) -> list[Answer]:
    """Answer queries a few at a time.

    Args:
        family: the index's family.
        view: of the commit to search.
        search: how.
        live: addresses of the bitmap's pages of slots that may be returned.
        excluded: sorted slots that may not, though the bitmap says so.
        queries: (n, dim) as the metric wants them, contiguous.
        threads: how many threads may work on them.

    Returns:
        Answers to the first, the next ... queries.
    """

    def answer(part: F32) -> Answer:
        return _answer(family, view, search, live, excluded, part)

    if len(queries) <= TOGETHER:
        return [answer(queries)]
    parts = [queries[start : start + TOGETHER] for start in range(0, len(queries), TOGETHER)]
    if threads == 1:
        return [answer(part) for part in parts]
    # The kernels let go of the interpreter.
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(answer, parts))


def answer_by_sketches(
    family: Family,
    view: View,
    search: Search,
    live: I64,
    excluded: U32,
    queries: F32,
    checked: bool,
) -> Answer | None:
    """Answer queries in one call of a kernel; the arguments are as in ``answer_all``.

    Args:
        family: see there.
        view: see there.
        search: see there; of tables, or of all sketches.
        live: see there.
        excluded: see there.
        queries: (n, dim) float32, contiguous.
        checked: whether they are as the metric wants them; or else it is done on the way.

    Returns:
        ``None`` if queries that were not checked need a closer look, or a wider one.
    """
    plan, k = search.plan, search.k
    count = len(queries)
    slots = np.empty((count, plan.exact), np.uint32)
    scores = np.empty((count, plan.exact), np.float32)
    notes = np.empty((count, 4), np.int64)
    text = np.empty(count * k * NAME_BYTES, np.uint8)
    size = find_hits(
        family.frozen, view.where, live, excluded, queries, checked, *search.numbers, slots,
        scores, notes, text,
    )  # fmt: skip
    if size < 0 and not checked:
        return None
    if size == SHORT:
        _widen(family, view, search, live, excluded, queries, slots, scores, notes)
        return _named(view, k, slots, scores, notes)
    if size <= len(text):
        ids = text[:size].tobytes().decode().split("\0")
        ids.pop()  # nothing follows the last zero
        if len(ids) == (notes[0, 0] if count == 1 else notes[:, 0].sum()):
            return Answer(ids, slots, scores, notes)
    # Ids are longer than expected, or have zeros of their own.
    return _named(view, k, slots, scores, notes, size)


def _answer(
    family: Family, view: View, search: Search, live: I64, excluded: U32, queries: F32
) -> Answer:
    if search.plan.route == "exact":
        return _named(view, search.k, *_exact_search(view, search, live, excluded, queries))
    answer = answer_by_sketches(family, view, search, live, excluded, queries, True)
    assert answer is not None, "queries that were checked need no closer look"
    return answer


def _widen(
    family: Family,
    view: View,
    search: Search,
    live: I64,
    excluded: U32,
    queries: F32,
    slots: U32,
    scores: F32,
    notes: I64,
) -> None:
    """Look into more and more buckets for the queries that found fewer items than they must."""
    count = search.plan.probes
    while count < family.most_probes:
        short = np.flatnonzero(notes[:, 0] < search.wanted)
        if not len(short):
            break
        count = min(count * WIDEN, family.most_probes)
        rows = np.ascontiguousarray(queries[short])
        if count < family.most_probes:
            probed = family.probe(rows, count, math.inf)
        else:
            probed = family.first_table(rows)
        wider = _search_buckets(view, search, live, excluded, rows, probed)
        slots[short], scores[short], notes[short] = wider


def _search_buckets(
    view: View, search: Search, live: I64, excluded: U32, queries: F32, probed: Probed
) -> tuple[U32, F32, I64]:
    plan = search.plan
    slots = np.empty((len(queries), plan.exact), np.uint32)
    scores = np.empty((len(queries), plan.exact), np.float32)
    notes = np.empty((len(queries), 4), np.int64)
    answer_queries(
        view.where, live, excluded, queries, *probed, plan.copies, plan.rerank, search.entries,
        slots, scores, notes,
    )  # fmt: skip
    return slots, scores, notes


def _exact_search(
    view: View, search: Search, live: I64, excluded: U32, queries: F32
) -> tuple[U32, F32, I64]:
    """The nearest rows to each query, by a scan of every vector."""
    count = search.plan.exact
    slots = np.empty((len(queries), 2 * count), np.uint32)
    scores = np.empty((len(queries), 2 * count), np.float32)
    notes = np.zeros((len(queries), 4), np.int64)
    notes[:, 1] = view.state.live
    for row, query in enumerate(queries):
        notes[row, 0] = scan_rows(view.where, query, count, live, excluded, slots[row], scores[row])
    return np.ascontiguousarray(slots[:, :count]), np.ascontiguousarray(scores[:, :count]), notes


def _named(
    view: View, k: int, slots: U32, scores: F32, notes: I64, size: int | None = None
) -> Answer:
    """With the ids of the hits; ``size`` is what ``name_hits`` gave, if it was asked before."""
    most = len(slots) * k
    ends = np.empty(most, np.int64)
    text = np.empty(most * NAME_BYTES if size is None else size, np.uint8)
    size = name_hits(view.where, slots, scores, notes, k, text, ends)
    if size > len(text):
        return _named(view, k, slots, scores, notes, size)
    stops = ends[: int(notes[:, 0].sum())].tolist()
    content = text[:size].tobytes()
    starts = [0, *(stop + 1 for stop in stops)]
    ids = [content[start:stop].decode() for start, stop in zip(starts, stops, strict=False)]
    return Answer(ids, slots, scores, notes)
