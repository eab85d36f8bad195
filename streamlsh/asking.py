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
from streamlsh.kernels.naming import name_hits
from streamlsh.metrics import as_queries, natural_scores
from streamlsh.planning import Request, SearchPlan, check_count, plan_search
from streamlsh.search import MAX_THREADS, Answer, search
from streamlsh.storage.opening import Index
from streamlsh.storage.schema import ITEM, NO_SLOT
from streamlsh.updates import PLAIN_SQUARES, check_id, check_vectors
from streamlsh.view import View

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
U32 = NDArray[np.uint32]

NAME_BYTES = 32
"""Bytes an id is expected to have; longer ones cost a second try."""
MOST_PLANS = 256
"""Plans that are remembered for a commit."""
NONE_EXCLUDED = np.zeros(0, np.uint32)


def ask(
    index: Index,
    transaction: lmdb.Transaction,
    view: View,
    vectors: ArrayLike,
    request: Request,
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
        request: what is wanted of the search.
        tags: the filter.
        exclude: ids that may not be returned.
        threads: how many threads may work on a batch.

    Raises:
        InvalidInputError: an argument cannot be used.
    """
    live, allowed = view.live, view.state.live
    wanted = parse_filter(tags) if tags != () else None
    if wanted:
        filtered = filter_live(index, transaction, view, wanted)
        live, allowed = filtered.pages, filtered.count
    if type(request.k) is not int or not 1 <= request.k <= MAX_K:
        check_count("k", request.k, 1, MAX_K)
    try:
        plan = view.plans.get((request, allowed))
    except TypeError:  # what cannot be hashed is no number: the planner says so
        plan = None
    if plan is None:
        plan = plan_search(index.family, view.state.live, allowed, request, view.calibration)
        if len(view.plans) < MOST_PLANS:
            view.plans[request, allowed] = plan
    if threads != 1:
        check_count("threads", threads, 1, MAX_THREADS)
    queries, single = read_queries(index.config, vectors)
    excluded = excluded_slots(index, transaction, exclude)
    answer = search(index, view, queries, plan, live, allowed, excluded, threads)
    return _hits(index, view, answer, request.k, plan, single=single)


def no_hits(view: View, reason: str) -> Hits:
    """An empty answer to a single query."""
    return Hits(
        [], np.zeros(0, np.float32), view.state.commit, dict(view.positions),
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
            if plain_queries(rows, config.metric == "cosine", *PLAIN_SQUARES, queries):
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
    slot: int = ITEM.unpack_from(value)[0]
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
    if not exclude and isinstance(exclude, tuple | list | set | frozenset):
        return NONE_EXCLUDED
    slots = {slot_of(index, transaction, check_id(item_id)) for item_id in exclude} - {None}
    return np.array(sorted(slots), np.uint32)  # type: ignore[type-var]


def _hits(
    index: Index, view: View, answer: Answer, k: int, plan: SearchPlan, *, single: bool
) -> Hits:
    slots, scores, notes, _ = answer
    rows = max(len(slots), 1)
    names = _names(view, slots, scores, notes, k)
    metric = index.config.metric
    live = view.state.live
    if single:
        ((held, candidates, dropped, probes),) = notes.tolist()
        ids: Any = names
        values: Any = natural_scores(metric, scores[0, :held])
    else:
        ids, values, first = [], [], 0
        for row, held in enumerate(notes[:, 0].tolist()):
            ids.append(names[first : first + held])
            values.append(natural_scores(metric, scores[row, :held]))
            first += held
        candidates, dropped, probes = (notes[:, 1:].sum(axis=0) / rows).tolist()
    share = min(1.0, candidates / live) if live else 0.0
    # A dictionary of its own: unlike the view's, it can be pickled.
    return Hits(
        ids, values, view.state.commit, dict(view.positions),
        Plan(
            plan.route, probes, candidates, share, dropped, plan.recall, plan.reason
        ),
    )  # fmt: skip


def _names(view: View, slots: U32, scores: F32, notes: I64, k: int) -> list[str]:
    """The ids of all hits, query after query; ``notes`` says how many of each."""
    most = len(slots) * min(k, slots.shape[1])
    ends = np.empty(most, np.int64)
    text = np.empty(most * NAME_BYTES, np.uint8)
    size = name_hits(view.where, slots, scores, notes, k, text, ends)
    if size > len(text):
        text = np.empty(size, np.uint8)
        name_hits(view.where, slots, scores, notes, k, text, ends)
    stops = ends.tolist()
    if len(slots) > 1:
        del stops[int(notes[:, 0].sum()) :]
    elif len(slots):
        del stops[int(notes[0, 0]) :]
    content = text.tobytes()[:size]
    joined = content.decode()
    if len(joined) == size:  # one byte a character
        return [joined[a:b] for a, b in zip([0, *stops], stops, strict=False)]
    return [content[a:b].decode() for a, b in zip([0, *stops], stops, strict=False)]
