"""The way of a query: plan, probe, scan, re-rank."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamlsh.buckets.layout import GROUP_ENTRIES
from streamlsh.errors import InvalidInputError
from streamlsh.families.base import Family, Probes, Query
from streamlsh.kernels.encode import query_bytes
from streamlsh.kernels.rerank import rescore, scan_rows
from streamlsh.kernels.scan import count_entries, scan_buckets, scan_table
from streamlsh.kernels.select import merge_copies
from streamlsh.storage.opening import Index
from streamlsh.storage.rows import STRIP_SHIFT
from streamlsh.view import View

F32 = NDArray[np.float32]
U32 = NDArray[np.uint32]

WIDEN = 4
"""How much wider a search looks that has found fewer than k items."""
MAX_RERANK = 1_000_000
EXACT_DIM = 16
"""Up to so many dimensions a row is no longer than its sketch, and says more."""
EXACT_BELOW = 500_000
MORE_ROOM = 8
"""How much more room a scan gets that found too many ties for what it had."""


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """What the planner decided.

    Attributes:
        route: ``"tables"``, ``"scan"`` or ``"exact"``.
        probes: buckets to look into at first.
        copies: tables in which an item must appear.
        rerank: candidates scored by their codes.
        exact: candidates scored by their vectors.
        wanted: how many hits to widen the search for, 0 for never.
        reason: why this route.
    """

    route: str
    probes: int
    copies: int
    rerank: int
    exact: int
    wanted: int
    reason: str


@dataclass(frozen=True, slots=True)
class Answer:
    """One query's neighbours, by slot.

    Attributes:
        slots: (hits,) uint32, best first.
        scores: (hits,) float32 exact scores.
        probes: buckets looked into.
        candidates: entries or rows scored on the way.
    """

    slots: U32
    scores: F32
    probes: int
    candidates: int


def is_count(value: object, low: int, high: int) -> bool:
    """Whether ``value`` is an integer in the range."""
    return (
        isinstance(value, int | np.integer)
        and not isinstance(value, bool)
        and low <= int(value) <= high
    )


def check_count(name: str, value: object, low: int, high: int) -> None:
    """Raise ``InvalidInputError`` unless ``value`` is an integer in the range."""
    if not is_count(value, low, high):
        raise InvalidInputError(
            f"{name} is out of range", expected=f"an integer from {low} to {high}",
            received=repr(value),
        )  # fmt: skip


def plan_search(
    family: Family, live: int, k: int, match: int | str, probes: int | None, rerank: int | None
) -> SearchPlan:
    """Choose how to search; the choice depends on the content only, never on its history.

    Args:
        family: the index's family.
        live: number of items.
        k: neighbours wanted.
        match: ``"any"``, ``"all"`` or a number of tables.
        probes: as asked for, or ``None``.
        rerank: as asked for, or ``None``.

    Raises:
        InvalidInputError: an argument is out of range.
    """
    copies = {"any": 1, "all": family.tables}.get(match, 0) if isinstance(match, str) else match
    if not is_count(copies, 1, family.tables):
        raise InvalidInputError(
            "match is out of range",
            expected=f"'any', 'all' or an integer from 1 to {family.tables} (the tables)",
            received=repr(match),
        )
    if probes is not None:
        check_count("probes", probes, 1, family.buckets)
    if rerank is not None:
        check_count("rerank", rerank, 1, MAX_RERANK)
    exact = k + max(6, k // 2)
    second = max(rerank if rerank is not None else max(120, 6 * k + 60), k)
    wanted = min(k, live) if copies == 1 else 0
    if probes is None and copies == 1 and family.dim <= EXACT_DIM and live <= EXACT_BELOW:
        return SearchPlan(
            "exact", 0, 1, second, exact, 0,
            f"{family.dim} dimensions are too few for sketches to tell neighbours apart",
        )  # fmt: skip
    if probes is None and copies == 1 and live <= family.scan_below:
        return SearchPlan(
            "scan", family.buckets // family.tables, 1, second, exact, 0,
            f"{live} items are no more than {family.scan_below}",
        )  # fmt: skip
    reason = (
        "asked for" if probes is not None or copies > 1 else f"more than {family.scan_below} items"
    )
    return SearchPlan(
        "tables", probes or family.default_probes, copies, second, exact, wanted, reason
    )


def search(index: Index, view: View, unit: F32, k: int, plan: SearchPlan, excluded: U32) -> Answer:
    """Search for the neighbours of one unit query, the way the planner chose.

    Args:
        index: the open index.
        view: of the commit to search.
        unit: (dim,) unit vector.
        k: neighbours wanted.
        plan: how.
        excluded: sorted slots that may not be returned.
    """
    if plan.route == "exact":
        return exact_search(index, view, unit, k, excluded)
    family = index.family
    query = family.query(unit)
    count = plan.probes
    if plan.route == "scan":
        probes = family.first_table(query)
        return _search_buckets(index, view, unit, query, probes, plan, excluded)
    while True:
        probes = family.probe(query, count)
        answer = _search_buckets(index, view, unit, query, probes, plan, excluded)
        enough = len(answer.slots) >= min(plan.wanted, view.state.live - len(excluded))
        if enough or count >= family.buckets:
            return answer
        count = min(count * WIDEN, family.buckets)


def _search_buckets(
    index: Index,
    view: View,
    unit: F32,
    query: Query,
    probes: Probes,
    plan: SearchPlan,
    excluded: U32,
) -> Answer:
    family, layout = index.family, index.rows
    if plan.copies > 1:
        # Copies can only be counted before anything is cut.
        limit = count_entries(probes.buckets, family.buckets, view.segments)
        limit += view.state.tail_entries + 1
    else:
        # An item may come up once in every table, or in the first alone when that is scanned.
        tables = 1 if plan.route == "scan" else family.tables
        limit = plan.rerank * (family.assignments // family.tables) * tables
    where = (
        family.buckets,
        view.segments,
        view.chunks,
        index.entries.blocks_per_chunk(layout.chunk_bytes),
        view.tail,
        view.state.tail_entries,
        GROUP_ENTRIES,
        query.planes,
        query.delta,
        view.live,
        excluded,
        limit,
    )
    room, whole = 2 * limit, False
    while not whole:
        slots, scores = np.empty(room, np.uint32), np.empty(room, np.float32)
        if plan.route == "scan":
            held, scanned, whole = scan_table(probes.bases, *where, slots, scores)
        else:
            held, scanned, whole = scan_buckets(probes.buckets, probes.bases, *where, slots, scores)
        room *= MORE_ROOM
    held = merge_copies(slots, scores, held, plan.copies)
    codes = np.empty(2 * layout.code_width, np.int8)
    step = query_bytes(unit, codes)
    held = rescore(
        slots,
        scores,
        held,
        plan.rerank,
        plan.exact,
        unit,
        codes,
        step,
        view.blocks,
        view.strips,
        view.first_strip,
        layout.block_shift,
        STRIP_SHIFT,
        layout.code_width,
    )
    return Answer(slots[:held], scores[:held], len(probes.buckets), scanned)


def exact_search(index: Index, view: View, unit: F32, k: int, excluded: U32) -> Answer:
    """The k nearest rows to one unit query, and all that tie with the last.

    By a scan of every vector.
    """
    layout = index.rows
    room, whole = 2 * k, False
    while not whole:
        slots, scores = np.empty(room, np.uint32), np.empty(room, np.float32)
        held, whole = scan_rows(
            unit,
            view.state.slot_end,
            k,
            view.live,
            excluded,
            view.blocks,
            view.strips,
            view.first_strip,
            layout.block_shift,
            STRIP_SHIFT,
            layout.code_width,
            slots,
            scores,
        )
        room *= MORE_ROOM
    return Answer(slots[:held], scores[:held], 0, view.state.live)
