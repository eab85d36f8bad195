"""The way of a query: plan, probe, scan, re-rank."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from streamlsh.families.base import Family, Probed
from streamlsh.kernels.answer import NOTES, answer_queries
from streamlsh.kernels.asking import SHORT, UNUSUAL, find_hits
from streamlsh.kernels.naming import name_hits
from streamlsh.kernels.rerank import scan_rows
from streamlsh.planning import NAME_BYTES, Search
from streamlsh.view import View

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
U32 = NDArray[np.uint32]
T = TypeVar("T")

WIDEN = 4
"""How much wider a search looks that has found fewer than k items."""
MAX_THREADS = 256
TOGETHER = 64
"""Queries that go through the kernels in one call: what lies between stays in the cache."""
NOTE = struct.Struct(f"={NOTES}q")
"""A query's notes; see ``Answer``."""
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


Neighbours: TypeAlias = tuple[list[str], F32, int, int, int]
"""Of one query: ids, scores, and the last three of its notes; as in ``Answer``."""


def answer_in_groups(
    family: Family,
    view: View,
    search: Search,
    live: I64,
    excluded: U32,
    queries: F32,
    threads: int,
    read: Callable[[Answer], T],
) -> list[T]:
    """Answer queries a few at a time.

    Args:
        family: the index's family.
        view: of the commit to search.
        search: how.
        live: addresses of the bitmap's pages of slots that may be returned.
        excluded: sorted slots that may not, though the bitmap says so.
        queries: (n, dim) as the metric wants them, contiguous.
        threads: how many threads may work on them.
        read: what to make of each group's answer, at once: while one thread reads, the kernels
            of the others go on.

    Returns:
        What was made of the answers to the first, the next ... queries.
    """

    def answer(part: F32) -> T:
        return read(_answer(family, view, search, live, excluded, part))

    if len(queries) <= TOGETHER:
        return [answer(queries)]
    parts = [queries[start : start + TOGETHER] for start in range(0, len(queries), TOGETHER)]
    helpers = min(threads, len(parts)) - 1
    if not helpers:
        return [answer(part) for part in parts]
    done: dict[int, T] = {}
    todo = iter(enumerate(parts))

    def work() -> None:
        for number, part in todo:
            done[number] = answer(part)

    # The kernels let go of the interpreter. This thread works, too: one that woke up for every
    # group that is done would take a core from those that work.
    with ThreadPoolExecutor(helpers) as pool:
        helping = [pool.submit(work) for _ in range(helpers)]
        work()
    for helper in helping:
        helper.result()
    return [done[number] for number in range(len(parts))]


def answer_one(
    family: Family, view: View, search: Search, live: I64, excluded: U32, query: F32
) -> Neighbours | None:
    """Answer a query that nobody has checked; a recommender asks most of its questions like this.

    Args:
        family: see ``answer_in_groups``.
        view: see there.
        search: see there; of tables, or of all sketches.
        live: see there.
        excluded: see there.
        query: (1, dim) float32, contiguous, made as the metric wants it.

    Returns:
        ``None`` if the vector needs a closer look.
    """
    scores = np.empty((1, search.plan.exact), np.float32)
    sheet = np.empty(search.sheet_bytes, np.uint8)
    size = find_hits(
        family.frozen, view.where, live, excluded, query, False, *search.numbers, scores, sheet
    )
    end = search.names_at + size
    if search.names_at <= end <= search.sheet_bytes:
        content = sheet.tobytes()
        held, candidates, dropped, probes = NOTE.unpack_from(content)
        ids = content[search.names_at : end].decode().split("\0")
        if len(ids) == held + 1:
            ids.pop()  # nothing follows the last zero
            return ids, scores[0, :held], candidates, dropped, probes
    if size == UNUSUAL:
        return None
    answer = _read_sheet(family, view, search, live, excluded, query, size, scores, sheet)
    ((held, candidates, dropped, probes),) = answer.notes.tolist()
    return answer.ids, answer.scores[0, :held], candidates, dropped, probes


def _answer(
    family: Family, view: View, search: Search, live: I64, excluded: U32, queries: F32
) -> Answer:
    if search.plan.route == "exact":
        return _named(view, search.k, *_exact_search(view, search, live, excluded, queries))
    scores = np.empty((len(queries), search.plan.exact), np.float32)
    sheet = np.empty(len(queries) * search.sheet_bytes, np.uint8)
    size = find_hits(
        family.frozen, view.where, live, excluded, queries, True, *search.numbers, scores, sheet
    )
    return _read_sheet(family, view, search, live, excluded, queries, size, scores, sheet)


def _read_sheet(
    family: Family,
    view: View,
    search: Search,
    live: I64,
    excluded: U32,
    queries: F32,
    size: int,
    scores: F32,
    sheet: NDArray[np.uint8],
) -> Answer:
    """What ``find_hits`` found, and what it left to be done."""
    count, k = len(queries), search.k
    slots_at, names_at = count * NOTE.size, count * search.names_at
    notes = sheet[:slots_at].view(np.int64).reshape(count, NOTES)
    slots = sheet[slots_at:names_at].view(np.uint32).reshape(scores.shape)
    if size == SHORT:
        _widen(family, view, search, live, excluded, queries, slots, scores, notes)
        return _named(view, k, slots, scores, notes)
    if size <= len(sheet) - names_at:
        ids = sheet[names_at : names_at + size].tobytes().decode().split("\0")
        ids.pop()  # nothing follows the last zero
        if len(ids) == notes[:, 0].sum():
            return Answer(ids, slots, scores, notes)
    # Ids are longer than expected, or have zeros of their own.
    return _named(view, k, slots, scores, notes, size)


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
    notes = np.empty((len(queries), NOTES), np.int64)
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
    notes = np.zeros((len(queries), NOTES), np.int64)
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
