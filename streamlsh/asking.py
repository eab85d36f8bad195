"""From a question to hits: what a snapshot and a reader do with every query."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import lmdb
import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamlsh.config import MAX_K, IndexConfig
from streamlsh.errors import ItemIdError
from streamlsh.filtering import Tags, filter_live, parse_filter
from streamlsh.hits import Hits, Plan
from streamlsh.kernels.encode import plain_queries
from streamlsh.metrics import as_queries, natural_scores
from streamlsh.planning import Asked, Request, SearchPlan, check_count, new_search, plan_search
from streamlsh.search import MAX_THREADS, NONE_EXCLUDED, Answer, answer_in_groups, answer_one
from streamlsh.storage.failures import sound_records
from streamlsh.storage.items import unpack_item
from streamlsh.storage.opening import Index
from streamlsh.storage.schema import NO_SLOT
from streamlsh.updates import check_id, check_vectors
from streamlsh.view import View

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
U32 = NDArray[np.uint32]

SINGLE = np.dtype(np.float32)
MOST_SEARCHES = 256
"""Ways to search that are remembered for a commit."""


def ask(
    index: Index,
    transaction: lmdb.Transaction,
    view: View,
    vectors: ArrayLike,
    asked: Asked,
    tags: Tags,
    exclude: Iterable[str],
    threads: int,
) -> Hits:
    """Answer one query or many.

    Args:
        index: the open index.
        transaction: a read transaction that sees the commit.
        view: of that commit.
        vectors: (dim,) or (n, dim) numbers.
        asked: a request, or a plain tuple of its parts, which takes less time to make.
        tags: the filter.
        exclude: ids that may not be returned.
        threads: how many threads may work on a batch.

    Raises:
        InvalidInputError: an argument cannot be used.
    """
    live, allowed = view.slots.live, view.state.live
    wanted = parse_filter(tags) if tags != () else None
    if wanted:
        with sound_records(index.environment.path):
            filtered = filter_live(index, transaction, view, wanted)
        live, allowed = filtered.pages, filtered.count
    k = asked[0]
    if type(k) is not int or not 1 <= k <= MAX_K:
        check_count("k", k, 1, MAX_K)
    try:
        search = view.searches.get((asked, allowed))
    except TypeError:  # what cannot be hashed is no number: the planner says so
        search = None
    if search is None:
        plan = plan_search(
            index.family, view.state.live, allowed, Request(*asked), view.calibration
        )
        search = new_search(index.family, plan, k, allowed)
        if len(view.searches) < MOST_SEARCHES:
            view.searches[asked, allowed] = search
    if threads != 1:
        check_count("threads", threads, 1, MAX_THREADS)
    excluded = NONE_EXCLUDED
    if type(exclude) is not tuple or exclude:
        excluded = excluded_slots(index, transaction, exclude)
    if (
        isinstance(vectors, np.ndarray)
        and vectors.dtype == SINGLE
        and vectors.shape == (index.config.dim,)
        and search.plan.route != "exact"
    ):
        # A copy has the one layout that kernels are compiled for.
        query = np.array(vectors, ndmin=2, order="C")
        found = answer_one(index.family, view, search, live, excluded, query)
        if found is not None:
            ids, scores, candidates, dropped, probes = found
            scores = natural_scores(index.config.metric, scores)
            return _hits(view, search.plan, ids, scores, candidates, dropped, probes)
    queries, single = read_queries(index.config, vectors)
    metric = index.config.metric
    groups = answer_in_groups(
        index.family, view, search, live, excluded, queries, threads,
        lambda answer: _split(metric, answer),
    )  # fmt: skip
    all_ids = [row for group in groups for row in group[0]]
    all_scores = [row for group in groups for row in group[1]]
    notes = np.concatenate([group[2] for group in groups])
    means = (notes[:, 1:].sum(axis=0) / max(len(notes), 1)).tolist()
    if single:
        return _hits(view, search.plan, all_ids[0], all_scores[0], *means)
    return _hits(view, search.plan, all_ids, all_scores, *means)


def no_hits(view: View, reason: str) -> Hits:
    """An empty answer to a single query."""
    return Hits(
        [], np.zeros(0, np.float32), view.state.commit, view.positions.copy(),
        Plan("none", 0.0, 0.0, 0.0, 0.0, None, reason),
    )  # fmt: skip


def mean_vector(config: IndexConfig, vectors: list[F32]) -> F32 | None:
    """The mean of vectors, under cosine of their directions; ``None`` if it has none itself."""
    if not vectors:
        return None
    mean: F32 = as_queries(config.metric, np.stack(vectors)).mean(axis=0)
    return mean if config.metric != "cosine" or mean.any() else None


def read_queries(config: IndexConfig, vectors: ArrayLike) -> tuple[F32, bool]:
    """Queries as the metric wants them, (n, dim), and whether it was a single vector.

    Raises:
        InvalidInputError: they cannot be used.
    """
    if isinstance(vectors, np.ndarray) and vectors.dtype == np.float32:
        rows = vectors[None] if vectors.ndim == 1 else vectors
        if rows.ndim == 2 and rows.shape[1] == config.dim:
            queries = np.empty(rows.shape, np.float32)
            if plain_queries(rows, config.metric == "cosine", queries):
                return queries, vectors.ndim == 1
    try:
        single = np.ndim(vectors) == 1
    except ValueError:  # rows of different lengths: check_vectors says so
        single = False
    checked = check_vectors(config, np.asarray(vectors)[None] if single else vectors)
    return as_queries(config.metric, checked), single


def slot_of(index: Index, transaction: lmdb.Transaction, key: bytes) -> int | None:
    """The slot of an item's current vector, or ``None``."""
    value = transaction.get(key, db=index.environment.database("items"))
    if value is None:
        return None
    slot, _ = unpack_item(key, value)
    return None if slot == NO_SLOT else slot


def excluded_slots(index: Index, transaction: lmdb.Transaction, exclude: Iterable[str]) -> U32:
    """Sorted slots of those ids that are there.

    Raises:
        ItemIdError: something in it is no id, or it is a string: a list of its letters.
    """
    if isinstance(exclude, str):
        raise ItemIdError(
            "exclude is no list of ids", expected="a list of strings", received="a string"
        )
    slots = {slot_of(index, transaction, check_id(item_id)) for item_id in exclude} - {None}
    return np.array(sorted(slots), np.uint32)  # type: ignore[type-var]


def _split(metric: str, answer: Answer) -> tuple[list[list[str]], list[F32], I64]:
    """An answer query by query: ids, scores as users know the metric, and notes."""
    held = answer.notes[:, 0]
    ends = np.cumsum(held).tolist()
    ids = [answer.ids[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    scores = answer.scores
    if metric == "euclidean":  # what does not count may be no number
        scores = np.where(np.arange(scores.shape[1]) < held[:, None], scores, np.float32(0.0))
    rows = natural_scores(metric, scores)
    values = [row[:count] for row, count in zip(rows, held.tolist(), strict=True)]
    return ids, values, answer.notes


def _hits(
    view: View,
    plan: SearchPlan,
    ids: Any,
    scores: Any,
    candidates: float,
    dropped: float,
    probes: float,
) -> Hits:
    state = view.state
    share = min(1.0, candidates / state.live) if state.live else 0.0
    parts = (plan.route, probes, candidates, share, dropped, plan.recall, plan.reason)
    # A dictionary of its own: unlike the view's, it can be pickled. And a tuple that is told what
    # it is takes half the time of one that is asked to be it.
    return Hits(ids, scores, state.commit, view.positions.copy(), tuple.__new__(Plan, parts))
