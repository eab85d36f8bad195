"""The planner: from what a caller asks for to how the search is done."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from streamlsh.calibration import MARGIN, Calibration
from streamlsh.config import MAX_K
from streamlsh.errors import InvalidInputError
from streamlsh.families.base import Family
from streamlsh.kernels.answer import NOTES

DEFAULT_RECALL = 0.95
MAX_RERANK = 1_000_000
EXACT_DIM = 16
"""Up to so many dimensions a row is no longer than its sketch, and says more."""
EXACT_BELOW = 500_000
SCAN_UNCALIBRATED = 20_000
"""Up to so many items a scan costs little more than a guess at what tables need."""
APPLIES_FROM = 0.5
"""A calibration says nothing of an index with less than this share of the items it measured: where
there are fewer, the nearest are farther."""
NAME_BYTES = 48
"""Bytes an id is expected to have; longer ones cost a second try."""


class Request(NamedTuple):
    """What decides about the way of a search, as the caller gave it.

    Attributes:
        k: neighbours wanted.
        recall: share of the true neighbours wanted, or ``None``.
        match: in how many tables an item must share a probed bucket with the query.
        probes: buckets to look into, or ``None``.
        rerank: candidates to score by their codes, or ``None``.
    """

    k: int
    recall: float | None = None
    match: int | str = "any"
    probes: int | None = None
    rerank: int | None = None


Asked: TypeAlias = tuple[int, float | None, int | str, int | None, int | None]
"""The parts of a request, which is one of these."""


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """What the planner decided.

    Attributes:
        route: ``"tables"``, ``"scan"`` or ``"exact"``.
        probes: buckets to look into at most, before any widening.
        reach: buckets are left out that are less promising than the best by more than this.
        copies: tables in which an item must appear.
        rerank: candidates scored by their codes.
        exact: candidates scored by their vectors.
        wanted: how many hits to widen the search for, 0 for never.
        recall: what the calibration promises, ``None`` where nothing does.
        reason: why this route.
    """

    route: str
    probes: int
    reach: float
    copies: int
    rerank: int
    exact: int
    wanted: int
    recall: float | None
    reason: str


class Search(NamedTuple):
    """How to search, down to the numbers that kernels take; made once for many queries.

    Attributes:
        plan: what the planner decided.
        k: hits wanted.
        entries: how many entries of a query to keep by their sketches.
        wanted: how many items a query must find, or look at everything.
        numbers: those of ``find_hits``, from ``probes`` to ``k``.
        names_at: bytes of a query's notes and slots on the sheet of ``find_hits``.
        sheet_bytes: the same with room for its ids.
    """

    plan: SearchPlan
    k: int
    entries: int
    wanted: int
    numbers: tuple[int, float, int, int, int, int, int, int]
    names_at: int
    sheet_bytes: int


def new_search(family: Family, plan: SearchPlan, k: int, allowed: int) -> Search:
    """The search that a plan comes to.

    Args:
        family: the index's family.
        plan: what the planner decided.
        k: hits wanted.
        allowed: how many slots may be returned.
    """
    # An item has the same sketch in every table, so it may come up that often among the best; in
    # several buckets of one table it has different ones, and only enough items must be left.
    tables = 1 if plan.route == "scan" else family.tables
    entries = max(plan.rerank * tables, plan.exact * family.assignments)
    # Excluded items need not pass the filter, so their number says nothing of what is left; who
    # wants more than there is has looked at everything.
    wanted = min(plan.wanted, allowed)
    columns, reach, last = family.columns(plan.probes), plan.reach, -1
    if plan.route == "scan":
        if family.last_of_first is None:
            columns = family.columns(family.most_probes)
        else:
            columns, reach, last = 1, 0.0, family.last_of_first
    numbers = (columns, reach, last, plan.copies, plan.rerank, entries, wanted, k)
    names_at = 8 * NOTES + 4 * plan.exact
    return Search(plan, k, entries, wanted, numbers, names_at, names_at + k * NAME_BYTES)


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


def exact_plan(k: int, reason: str = "asked for") -> SearchPlan:
    """A scan of every vector."""
    check_count("k", k, 1, MAX_K)
    return SearchPlan("exact", 0, 0.0, 1, 0, exact_count(k, 0), 0, 1.0, reason)


def plan_search(
    family: Family, live: int, allowed: int, request: Request, calibration: Calibration | None
) -> SearchPlan:
    """Choose how to search; the choice depends on the content only, never on its history.

    Args:
        family: the index's family.
        live: number of items.
        allowed: how many of them a filter lets pass. The k nearest of these are about the
            ``k * live / allowed`` nearest of all, so the search looks as far as for so many.
        request: what the caller asked for.
        calibration: what was measured on this index, if it was.

    Raises:
        InvalidInputError: an argument is out of range.
    """
    copies = _check(family, request)
    if request.recall == 1.0:
        return exact_plan(request.k, "recall 1 was asked for")
    asked = request.probes is not None or copies > 1
    if not asked and family.dim <= EXACT_DIM and live <= EXACT_BELOW:
        return exact_plan(
            request.k, f"{family.dim} dimensions are too few for sketches to tell neighbours apart"
        )
    applies = calibration is not None and APPLIES_FROM * calibration.items <= live
    few = family.scan_below if applies else max(family.scan_below, SCAN_UNCALIBRATED)
    if not asked and live <= few:
        return _scan(family, request, None, f"{live} items are no more than {few}")
    if not asked and calibration is not None:
        return _calibrated(family, live, _among_all(request.k, live, allowed), request, calibration)
    if not asked and request.recall is not None:
        return _scan(
            family, request, None,
            "the index is not calibrated, so no recall is known to any number of probes: run "
            "streamlsh calibrate",
        )  # fmt: skip
    rerank = request.rerank if request.rerank is not None else default_rerank(request.k)
    probes = _among_all(request.probes or family.default_probes, live, allowed)
    return SearchPlan(
        "tables", min(probes, family.most_probes), math.inf, copies,
        max(rerank, request.k), exact_count(request.k, rerank), request.k if copies == 1 else 0,
        None,
        "asked for" if asked else "the index is not calibrated: the family's default",
    )  # fmt: skip


def _is_share(value: Any) -> bool:
    number = isinstance(value, int | float | np.floating | np.integer)
    return number and not isinstance(value, bool) and 0.0 < float(value) <= 1.0


def default_rerank(k: int) -> int:
    """Candidates that are scored by their codes where nothing better is known."""
    return max(120, 6 * k + 60)


def _check(family: Family, request: Request) -> int:
    """Check a request; the number of tables in which an item must appear."""
    check_count("k", request.k, 1, MAX_K)
    match = request.match
    copies = {"any": 1, "all": family.tables}.get(match, 0) if isinstance(match, str) else match
    if not is_count(copies, 1, family.tables):
        raise InvalidInputError(
            "match is out of range",
            expected=f"'any', 'all' or an integer from 1 to {family.tables} (the tables)",
            received=repr(match),
        )
    if request.probes is not None:
        check_count("probes", request.probes, 1, family.most_probes)
    if request.rerank is not None:
        check_count("rerank", request.rerank, 1, MAX_RERANK)
    recall = request.recall
    if recall is not None:
        if not _is_share(recall):
            raise InvalidInputError(
                "recall is out of range", expected="a number above 0, up to 1",
                received=repr(recall),
            )  # fmt: skip
        if request.probes is not None:
            raise InvalidInputError(
                "recall and probes exclude each other", expected="one of them",
                received=f"recall={recall!r}, probes={request.probes!r}",
            )  # fmt: skip
    return int(copies)


def _among_all(count: int, live: int, allowed: int) -> int:
    """What ``count`` of the allowed items come to among all."""
    return count if allowed >= live else math.ceil(count * live / max(allowed, 1))


def _calibrated(
    family: Family, live: int, k: int, request: Request, calibration: Calibration
) -> SearchPlan:
    """The cheapest way that the calibration promises the recall for, of ``k`` among all items."""
    wanted = DEFAULT_RECALL if request.recall is None else float(request.recall)
    if k > request.k and k > calibration.largest_k:
        return _scan(family, request, None, "the filter lets too few items pass for tables")
    setting = calibration.cheapest(k, live, wanted)
    share = calibration.scale(request.k)
    if setting is None:
        best = calibration.best_recall(request.k)
        return exact_plan(
            request.k, f"recall {wanted:g} is above what sketches reach, {best - MARGIN:.3f}"
        )
    rerank = request.rerank if request.rerank is not None else math.ceil(setting.rerank * share)
    if setting.probes == 0:
        return _scan(
            family, request, rerank, f"cheaper than tables at recall {wanted:g}", setting.recall
        )
    return SearchPlan(
        "tables", setting.probes, setting.reach, 1, max(rerank, request.k),
        exact_count(request.k, rerank), request.k, setting.recall,
        f"calibrated for recall {wanted:g} on {calibration.items} items",
    )  # fmt: skip


def _scan(
    family: Family, request: Request, rerank: int | None, reason: str, recall: float | None = None
) -> SearchPlan:
    chosen = request.rerank or rerank or default_rerank(request.k)
    return SearchPlan(
        "scan", family.buckets // family.tables, math.inf, 1, max(chosen, request.k),
        exact_count(request.k, chosen), 0, recall, reason,
    )  # fmt: skip


def exact_count(k: int, rerank: int) -> int:
    """How many of the ``rerank`` candidates are scored by their vectors for ``k`` hits.

    Codes of 4 bits confuse candidates that are about as near; the more there are, the more.
    """
    return max(k + max(6, k // 2), rerank // 6)
