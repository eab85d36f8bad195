"""A snapshot: one commit of an index, and the queries that can be put to it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import lmdb
import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamlsh.config import MAX_K, IndexConfig
from streamlsh.content import content_digest
from streamlsh.errors import ClosedError, CorruptIndexError, ItemIdError
from streamlsh.hits import Hits, Item, Plan
from streamlsh.kernels.encode import normalize_rows
from streamlsh.search import Answer, check_count, exact_search, plan_search, search
from streamlsh.storage.opening import Index
from streamlsh.storage.placing import read_rows
from streamlsh.storage.schema import ID_LENGTH, ITEM, NO_SLOT, NO_VERSION, number_key
from streamlsh.storage.values import fetch
from streamlsh.updates import Position, check_id, check_vectors, unpack_extras
from streamlsh.verifying import VerifyReport, verify_index
from streamlsh.view import View

F32 = NDArray[np.float32]


class Snapshot:
    """Queries against exactly one commit. Threads may share one; their calls take turns.

    Obtained from ``Reader.snapshot()``; it pins the commit's pages while it is open, so a
    writer cannot reuse them: keep it open for as long as a group of calls needs, not longer.
    """

    def __init__(self, index: Index, transaction: lmdb.Transaction, view: View) -> None:
        self._index = index
        self._transaction = transaction
        self._view = view
        self._open = True
        self._lock = threading.Lock()

    @property
    def config(self) -> IndexConfig:
        """The index's configuration."""
        return self._index.config

    @property
    def commit(self) -> int:
        """Number of the commit."""
        return self._view.state.commit

    @property
    def positions(self) -> Mapping[tuple[str, int], Position]:
        """The source positions that the commit reflects, by (stream, partition)."""
        return self._view.positions

    def __len__(self) -> int:
        return self._view.state.live

    def __contains__(self, item_id: object) -> bool:
        try:
            key = check_id(item_id)
        except ItemIdError:
            return False  # what cannot be an id is none
        with self._turn():
            return self._slot(key) is not None

    def get(self, item_id: str) -> Item | None:
        """The item of an id, or ``None``."""
        key = check_id(item_id)
        with self._turn():
            value = self._transaction.get(key, db=self._index.environment.database("items"))
            return None if value is None else self._item(key, memoryview(value))

    def items(self) -> Iterator[Item]:
        """All items, sorted by the UTF-8 of their ids."""
        with self._turn():
            pairs = iter(self._transaction.cursor(self._index.environment.database("items")))
        while True:
            with self._turn():
                pair = next(pairs, None)
                item = None if pair is None else self._item(bytes(pair[0]), memoryview(pair[1]))
            if pair is None:
                return
            if item is not None:
                yield item

    def search(
        self,
        vectors: ArrayLike,
        k: int = 10,
        *,
        exclude: Iterable[str] = (),
        match: int | str = "any",
        probes: int | None = None,
        rerank: int | None = None,
    ) -> Hits:
        """The items most similar to a vector, or to each of many.

        Args:
            vectors: (dim,) or (n, dim) numbers.
            k: how many neighbours, 1 to 10,000. Fewer come back if there are fewer.
            exclude: ids that may not be returned.
            match: in how many tables an item must share a probed bucket with the query:
                ``"any"``, ``"all"`` or a number.
            probes: buckets to look into; by default the planner decides, and takes the scan of
                all sketches where the index is small.
            rerank: candidates to score by their 4-bit codes; by default grows with ``k``.

        Raises:
            InvalidInputError: an argument cannot be used.
        """
        rows, single = self._queries(vectors)
        check_count("k", k, 1, MAX_K)
        plan = plan_search(self._index.family, self._view.state.live, k, match, probes, rerank)
        with self._turn():
            excluded = self._slots(exclude)
            answers = [search(self._index, self._view, row, k, plan, excluded) for row in rows]
            return self._hits(answers, k, plan.route, plan.reason, single=single)

    def search_ids(
        self,
        ids: str | Sequence[str],
        k: int = 10,
        *,
        exclude: Iterable[str] = (),
        match: int | str = "any",
        probes: int | None = None,
        rerank: int | None = None,
    ) -> Hits:
        """The items most similar to an item, or to the mean of several.

        The items asked for are left out of the answer. Unknown ids are passed over; if none is
        known, the answer is empty.

        Args:
            ids: one id, or the ids of a user's history.
            k: as in ``search``.
            exclude: as in ``search``.
            match: as in ``search``.
            probes: as in ``search``.
            rerank: as in ``search``.

        Raises:
            InvalidInputError: an argument cannot be used.
        """
        _check_exclude(exclude)
        names = [ids] if isinstance(ids, str) else list(ids)
        items = [item for item in map(self.get, names) if item is not None]
        if items:
            vectors = np.stack([item.vector for item in items])
            unit = np.empty_like(vectors)
            normalize_rows(vectors, unit, np.empty(len(unit), np.float32))
            mean = unit.mean(axis=0)
            if mean.any():
                return self.search(
                    mean, k, exclude=[*exclude, *names], match=match, probes=probes, rerank=rerank
                )
        check_count("k", k, 1, MAX_K)
        with self._turn():
            return self._hits([], k, "tables", "no such item", single=True)

    def exact(self, vectors: ArrayLike, k: int = 10, *, exclude: Iterable[str] = ()) -> Hits:
        """The k most similar items by a scan of every vector: what recall is measured against.

        Args:
            vectors: (dim,) or (n, dim) numbers.
            k: how many neighbours, 1 to 10,000.
            exclude: ids that may not be returned.

        Raises:
            InvalidInputError: an argument cannot be used.
        """
        rows, single = self._queries(vectors)
        check_count("k", k, 1, MAX_K)
        with self._turn():
            excluded = self._slots(exclude)
            answers = [exact_search(self._index, self._view, row, k, excluded) for row in rows]
            return self._hits(answers, k, "exact", "asked for", single=single)

    def digest(self) -> str:
        """Hash of the content: live items with versions, and the family; hexadecimal.

        Equal for equal content, whatever the history that led to it.
        """
        return content_digest(self._index.family_digest, self.items())

    def verify(self) -> VerifyReport:
        """Walk every invariant of the file.

        Raises:
            CorruptIndexError: naming the first that is broken.
        """
        with self._turn():
            return verify_index(self._index, self._transaction)

    def close(self) -> None:
        """Let go of the commit."""
        with self._lock:
            self._open = False

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Have the snapshot to oneself, if it is open and this process's own."""
        if self._index.environment.pid != os.getpid():
            raise ClosedError("a snapshot does not survive fork(); take one in the child")
        with self._lock:
            self._check_open()
            yield

    def _check_open(self) -> None:
        if not self._open:
            raise ClosedError("this snapshot was closed; take another from its reader")
        if self._index.environment.pid != os.getpid():
            raise ClosedError(
                "this snapshot was taken by another process; a snapshot does not survive fork()"
            )

    def _queries(self, vectors: ArrayLike) -> tuple[F32, bool]:
        """Queries as unit rows, and whether it was a single one."""
        try:
            single = np.ndim(vectors) == 1
        except ValueError:  # rows of different lengths: check_vectors says so
            single = False
        rows = check_vectors(self.config, np.asarray(vectors)[None] if single else vectors)
        unit = np.empty_like(rows)
        normalize_rows(rows, unit, np.empty(len(rows), np.float32))
        return unit, single

    def _slot(self, key: bytes) -> int | None:
        value = self._transaction.get(key, db=self._index.environment.database("items"))
        if value is None:
            return None
        slot: int = ITEM.unpack_from(value)[0]
        return None if slot == NO_SLOT else slot

    def _slots(self, ids: Iterable[str]) -> NDArray[np.uint32]:
        """Sorted slots of those ids that are there."""
        _check_exclude(ids)
        slots = {self._slot(check_id(item_id)) for item_id in ids} - {None}
        return np.array(sorted(slots), np.uint32)  # type: ignore[type-var]

    def _item(self, key: bytes, value: memoryview) -> Item | None:
        slot, version = ITEM.unpack_from(value)
        if slot == NO_SLOT:
            return None
        environment = self._index.environment
        rows, at = read_rows(self._transaction, environment, self._index.rows, slot)
        record = bytes(fetch(self._transaction, environment.database("slots"), number_key(slot)))
        tags, attributes = unpack_extras(record[ID_LENGTH.size + len(key) :])
        return Item(
            key.decode(), rows.vectors[at].copy(), None if version == NO_VERSION else version,
            tags, attributes,
        )  # fmt: skip

    def _ids(self, slots: NDArray[np.uint32]) -> list[str]:
        """The ids of live slots."""
        names = []
        keys = [number_key(slot) for slot in slots.tolist()]
        with self._transaction.cursor(self._index.environment.database("slots")) as cursor:
            for _, value in cursor.getmulti(keys):
                record = bytes(value)
                (length,) = ID_LENGTH.unpack_from(record)
                names.append(record[ID_LENGTH.size : ID_LENGTH.size + length].decode())
        if len(names) < len(keys):
            raise CorruptIndexError(
                "records of live slots are missing; rebuild the index from its source or a copy",
                expected=len(keys), received=len(names),
            )  # fmt: skip
        return names

    def _best(self, answer: Answer, k: int) -> tuple[list[str], F32]:
        """The k best with ties in score ordered by id."""
        count = min(k, len(answer.slots))
        scores = answer.scores
        while 0 < count < len(scores) and scores[count] == scores[count - 1]:
            count += 1
        names = self._ids(answer.slots[:count])
        scores = scores[:count]
        if count > 1 and (scores[1:] == scores[:-1]).any():
            order = sorted(range(count), key=lambda i: (-scores[i], names[i]))
            names = [names[i] for i in order]
            scores = scores[order]
        return names[:k], scores[:k]

    def _hits(
        self, answers: list[Answer], k: int, route: str, reason: str, *, single: bool
    ) -> Hits:
        best = [self._best(answer, k) for answer in answers]
        live = self._view.state.live
        count = max(len(answers), 1)
        candidates = sum(answer.candidates for answer in answers) / count
        plan = Plan(
            route, sum(answer.probes for answer in answers) / count, candidates,
            min(1.0, candidates / live) if live else 0.0, reason,
        )  # fmt: skip
        ids: Any = [names for names, _ in best]
        scores: Any = [values for _, values in best]
        if single:
            ids, scores = best[0] if best else ([], np.zeros(0, np.float32))
        # A dictionary of its own: unlike the view's, it can be pickled.
        return Hits(ids, scores, self.commit, dict(self.positions), plan)


def _check_exclude(ids: Iterable[str]) -> None:
    """Raise ``ItemIdError`` for a string, which would be taken as a list of its letters."""
    if isinstance(ids, str):
        raise ItemIdError(
            "exclude is no list of ids", expected="a list of strings", received="a string"
        )
