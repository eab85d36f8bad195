"""Calibration: measuring on an index which probes and re-ranks reach which recall at which cost.

1. Take queries: what the caller gives; or rows of the sample that the family was not trained on;
   or items. One that is an item is searched without that.
2. Find their true neighbours by a scan of every vector.
3. Run them through the family's ways to probe, from narrow to wide, each with several re-ranks,
   and through the scan of all sketches; note recall, entries scored and time.
4. Fit what an entry and a re-rank cost, so that noise of the clock does not choose.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator

import lmdb
import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamlsh.calibration import Calibration, Setting
from streamlsh.errors import SampleError
from streamlsh.metrics import as_queries
from streamlsh.planning import SearchPlan, exact_count, new_search
from streamlsh.search import NONE_EXCLUDED, answer_in_groups
from streamlsh.storage.bitmap import Bitmap
from streamlsh.storage.opening import Index, open_index, read_held_out
from streamlsh.storage.placing import RowReader
from streamlsh.storage.schema import CALIBRATION_KEY
from streamlsh.storage.sealing import seal
from streamlsh.storage.state import read_state
from streamlsh.updates import check_vectors
from streamlsh.view import View, make_view

F32 = NDArray[np.float32]

NEIGHBOURS = (10, 100)
"""The numbers of neighbours that are measured."""
QUERIES = 1000
FEWEST_QUERIES = 50
FEWEST_ITEMS = 1000
"""Fewer are scanned anyway."""
PRODUCTS = 4e11
"""Multiplications that finding the true neighbours may take: some ten seconds. Above, fewer
queries are measured, but no fewer than ``LEAST_QUERIES``."""
LEAST_QUERIES = 200
SCANNED = 200
"""Queries that go through the scan of all sketches, which is slow and hardly varies."""
RERANKS = (3, 6, 9, 13, 20, 32, 50)
"""Re-ranks that are measured, in multiples of k; at least ``LEAST_RERANK``."""
LEAST_RERANK = 30
BATCH_BLOCKS = 8
"""Slot blocks whose rows are multiplied with the queries at once."""
ENOUGH = 0.9985
"""Wider probing than what reaches this recall is not measured."""
TIES = 1e-5
"""Scores that differ by no more are the same."""
GAIN = 0.0005
LEAST_RERANKS = 20
"""More than so many re-ranks of each neighbour are not measured once they gain less recall."""

Progress = Callable[[float, str], None]
"""Called with the share that is done and what is being done."""


def calibrate(
    path: str | os.PathLike[str],
    *,
    queries: ArrayLike | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Calibration:
    """Measure an index, and store the result in it for the planner.

    Reads the index as any reader does, beside a writer if there is one, and writes nothing but
    the result. Worth repeating when the index has grown severalfold or its content has changed
    its nature.

    Args:
        path: the index's directory.
        queries: (n, dim) vectors like those that will be asked for, some thousand, if they are
            not like the items; by default rows of the sample that the family was not trained on,
            or items if there was none. One that is an item is searched without that.
        seed: of the choice of items.
        progress: told how far it is.

    Raises:
        SampleError: the index holds too few items, or there are too few queries.
        InvalidInputError: a query cannot be used.
        IndexNotFoundError: no index there; and all other errors of opening one.
    """
    index = open_index(path)
    try:
        with index.environment.read() as transaction:
            calibration = measure(index, transaction, queries, seed, progress)
        _keep(index, calibration)
        return calibration
    finally:
        index.environment.close()


def keep_calibration(path: str | os.PathLike[str], calibration: Calibration) -> None:
    """Store a calibration that was measured on another index of the same family."""
    index = open_index(path)
    try:
        _keep(index, calibration)
    finally:
        index.environment.close()


def _keep(index: Index, calibration: Calibration) -> None:
    meta = index.environment.database("meta")
    with index.environment.write() as transaction:
        transaction.put(CALIBRATION_KEY, seal(CALIBRATION_KEY, calibration.pack()), db=meta)


def measure(
    index: Index,
    transaction: lmdb.Transaction,
    queries: ArrayLike | None,
    seed: int,
    progress: Progress | None,
) -> Calibration:
    """Measure the commit that a transaction sees; the arguments are as in ``calibrate``."""
    view = make_view(index, transaction, None)
    tell = progress or _silent
    live = view.state.live
    if live < FEWEST_ITEMS:
        raise SampleError(
            "too few items to calibrate on; so few are scanned anyway",
            expected=f"at least {FEWEST_ITEMS}", received=live,
        )  # fmt: skip
    asked, own = _queries(index, transaction, view, queries, seed)
    tell(0.0, "true neighbours")
    truth = _true_neighbours(
        index,
        transaction,
        asked,
        own,
        max(NEIGHBOURS),
        lambda share: tell(0.3 * share, "true neighbours"),
    )
    run = _Runs(index, view, asked, own, truth)
    tell(0.3, "recall of the scan")
    scanning = run.scan()
    ways = index.family.ways()
    for done, (probes, reach) in enumerate(ways, 1):
        tell(0.4 + 0.6 * done / len(ways), "recall by probes")
        reached, seconds = run.tables(probes, reach)
        if reached > ENOUGH or seconds > scanning:
            break
    tell(1.0, "done")
    source = "items" if queries is None else "queries"
    return Calibration(live, len(asked), source, run.costs(), run.settings)


def _silent(share: float, what: str) -> None:
    """Progress that nobody looks at."""


def _queries(
    index: Index,
    transaction: lmdb.Transaction,
    view: View,
    queries: ArrayLike | None,
    seed: int,
) -> tuple[F32, NDArray[np.int64]]:
    """Queries as the metric wants them, and the slot of each that is an item, or -1.

    If none are given, those of the sample that the family was not trained on; if there are none
    either, items.
    """
    count = int(PRODUCTS / (view.state.live * index.config.dim))
    count = max(min(count, QUERIES), LEAST_QUERIES)
    rng = np.random.default_rng(seed)
    if queries is None:
        queries = read_held_out(index, transaction)
    if queries is not None:
        vectors = check_vectors(index.config, np.atleast_2d(np.asarray(queries)))
        if len(vectors) < FEWEST_QUERIES:
            raise SampleError(
                "too few queries to calibrate with", expected=f"at least {FEWEST_QUERIES}",
                received=len(vectors),
            )  # fmt: skip
        if len(vectors) > count:
            vectors = vectors[np.sort(rng.choice(len(vectors), count, replace=False))]
        own = _slots_of(index, transaction, vectors)
        return as_queries(index.config.metric, vectors), own
    count = min(count, view.state.live)
    places = np.sort(rng.choice(view.state.live, count, replace=False))
    chosen: list[F32] = []
    slots_of: list[NDArray[np.int64]] = []
    passed = 0
    for slots, vectors in _live_rows(index, transaction):
        inside = places[(places >= passed) & (places < passed + len(slots))] - passed
        chosen.append(vectors[inside])
        slots_of.append(slots[inside])
        passed += len(slots)
    return as_queries(index.config.metric, np.concatenate(chosen)), np.concatenate(slots_of)


def _slots_of(index: Index, transaction: lmdb.Transaction, vectors: F32) -> NDArray[np.int64]:
    """The slot of an item that has the very vector, or -1: finding it would be no achievement."""
    places = {row.tobytes(): at for at, row in enumerate(vectors)}
    own = np.full(len(vectors), -1)
    for slots, rows in _live_rows(index, transaction):
        for slot, row in zip(slots.tolist(), rows, strict=True):
            at = places.get(row.tobytes())
            if at is not None:
                own[at] = slot
    return own


def _live_rows(
    index: Index, transaction: lmdb.Transaction
) -> Iterator[tuple[NDArray[np.int64], F32]]:
    """Slots and vectors of all live items, block by block."""
    environment = index.environment
    state = read_state(transaction, environment.database("meta"))
    live = Bitmap(transaction, environment.database("live"))
    reader = RowReader(transaction, environment, index.rows, state.open_block)
    for first, rows in reader.runs(state.slot_end):
        slots = np.arange(first, first + len(rows))
        current = live.test(slots.astype(np.uint32))
        yield slots[current], rows.vectors[current]


def _true_neighbours(
    index: Index,
    transaction: lmdb.Transaction,
    queries: F32,
    own: NDArray[np.int64],
    count: int,
    tell: Callable[[float], None],
) -> F32:
    """(n, count) scores of the nearest items to each query but itself, best first.

    Scores as kernels have them, but for the Euclidean distance: <q, x> - |x|^2 / 2 there.
    """
    best = np.full((len(queries), count), -np.inf, np.float32)
    metric = index.config.metric
    environment = index.environment
    total = transaction.stat(environment.database("blocks"))["entries"] + 1
    for done, (numbers, vectors) in enumerate(_batched(_live_rows(index, transaction))):
        rows = as_queries(metric, vectors)
        scores = queries @ rows.T
        if metric == "euclidean":
            scores -= np.float32(0.5) * np.einsum("ij,ij->i", rows, rows)
        scores[own[:, None] == numbers[None]] = -np.inf
        everything = np.concatenate([best, scores], axis=1)
        best = -np.partition(-everything, count - 1, axis=1)[:, :count]
        tell(min(1.0, done * BATCH_BLOCKS / total))
    return -np.sort(-best, axis=1)


def _batched(
    parts: Iterator[tuple[NDArray[np.int64], F32]],
) -> Iterator[tuple[NDArray[np.int64], F32]]:
    """A few blocks at a time: one large product is faster than many small ones."""
    held: list[tuple[NDArray[np.int64], F32]] = []
    for part in parts:
        held.append(part)
        if len(held) == BATCH_BLOCKS:
            yield np.concatenate([n for n, _ in held]), np.concatenate([v for _, v in held])
            held = []
    if held:
        yield np.concatenate([n for n, _ in held]), np.concatenate([v for _, v in held])


class _Runs:
    """Searches with everything that is to be noted of them."""

    def __init__(
        self,
        index: Index,
        view: View,
        queries: F32,
        own: NDArray[np.int64],
        truth: F32,
    ) -> None:
        self._index, self._view = index, view
        self._queries, self._own, self._truth = queries, own, truth
        self._timed: list[tuple[bool, float, int, float]] = []
        self.settings: dict[int, tuple[Setting, ...]] = {
            k: () for k in NEIGHBOURS if k == min(NEIGHBOURS) or 4 * k <= view.state.live
        }

    def tables(self, probes: int, reach: float) -> tuple[float, float]:
        """Measure one way to probe: the best recall at the smallest k, and seconds a query."""
        for k in self.settings:
            self._sweep(k, probes, reach, len(self._queries) * min(self.settings) // k)
        return self.settings[min(self.settings)][-1].recall, self._timed[-1][3]

    def scan(self) -> float:
        """Measure the scan of all sketches with all re-ranks; the seconds that a query took."""
        for k in self.settings:
            self._sweep(k, 0, math.inf, min(SCANNED, len(self._queries)))
        return self._timed[-1][3]

    def _sweep(self, k: int, probes: int, reach: float, count: int) -> None:
        """Measure one way with more and more re-ranks, until they find no more."""
        count = max(count, min(FEWEST_QUERIES, len(self._queries)))
        self._measure(k, probes, reach, _reranks(k)[0], FEWEST_QUERIES // 5)  # loads and compiles
        last = -1.0
        for rerank in _reranks(k):
            setting, seconds = self._measure(k, probes, reach, rerank, count)
            self.settings[k] += (setting,)
            if k == min(self.settings):
                self._timed.append((probes == 0, setting.entries, rerank, seconds))
            if setting.recall < last + GAIN and rerank >= LEAST_RERANKS * k:
                break
            last = setting.recall

    def costs(self) -> tuple[float, float, float, float, float]:
        """``Calibration.costs``: by least squares over everything that was timed."""
        rows, times = [], []
        for scan, entries, rerank, seconds in self._timed:
            rows.append([not scan, entries * (not scan), scan, entries * scan, rerank])
            times.append(1e6 * seconds)
        matrix = np.array(rows, np.float64)
        fitted, *_ = np.linalg.lstsq(matrix / np.array(times)[:, None], np.ones(len(times)), None)
        tables, entry, scan, scan_entry, rerank_cost = np.maximum(fitted, 1e-4).tolist()
        return tables, entry, scan, scan_entry, rerank_cost

    def _measure(
        self, k: int, probes: int, reach: float, rerank: int, count: int
    ) -> tuple[Setting, float]:
        """One run of the first ``count`` queries; the seconds that one took."""
        plan = SearchPlan(
            "tables" if probes else "scan", probes, reach, 1, rerank, exact_count(k, rerank) + 1,
            k + 1, None, "calibration",
        )  # fmt: skip
        search = new_search(self._index.family, plan, k + 1, self._view.state.live)
        queries = self._queries[:count]
        begun = time.perf_counter()
        answers = answer_in_groups(
            self._index.family, self._view, search, self._view.slots.live, NONE_EXCLUDED,
            queries, 1, lambda answer: (answer.slots, answer.scores, answer.notes),
        )  # fmt: skip
        seconds = (time.perf_counter() - begun) / count
        slots, scores_of, notes = (np.concatenate(parts) for parts in zip(*answers, strict=True))
        found = 0
        for row in range(count):
            held = notes[row, 0]
            scores = scores_of[row, :held][slots[row, :held] != self._own[row]][:k]
            if self._index.config.metric == "euclidean":
                scores = np.float32(0.5) * (scores + queries[row] @ queries[row])
            least = self._truth[row, k - 1]
            # What ties with the last true neighbour is as good; sums differ in their last bits.
            found += int((scores >= least - TIES * max(1.0, abs(least))).sum())
        entries = float(notes[:, 1].mean())
        return Setting(probes, reach, rerank, float(found) / (k * count), entries), seconds


def _reranks(k: int) -> list[int]:
    return sorted({max(LEAST_RERANK, multiple * k) for multiple in RERANKS})
