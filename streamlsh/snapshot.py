"""A snapshot: one commit of an index, and the queries that can be put to it."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import lmdb
from numpy.typing import ArrayLike

from streamlsh.asking import ask, excluded_slots, mean_vector, no_hits, slot_of
from streamlsh.config import IndexConfig
from streamlsh.content import content_digest
from streamlsh.errors import ClosedError, ItemIdError
from streamlsh.filtering import Tags
from streamlsh.hits import Hits, Item
from streamlsh.planning import Request, plan_search
from streamlsh.storage.failures import READ_FAULTS, read_error, sound_records
from streamlsh.storage.items import unpack_item
from streamlsh.storage.opening import Index
from streamlsh.storage.placing import RowReader
from streamlsh.storage.schema import NO_SLOT, NO_VERSION, number_key
from streamlsh.updates import Position, check_id, unpack_extras
from streamlsh.verifying import VerifyReport, verify_index
from streamlsh.view import View


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
            return slot_of(self._index, self._transaction, key) is not None

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
        recall: float | None = None,
        tags: Tags = (),
        exclude: Iterable[str] = (),
        match: int | str = "any",
        probes: int | None = None,
        rerank: int | None = None,
        threads: int = 1,
    ) -> Hits:
        """The items most similar to a vector, or to each of many.

        Args:
            vectors: (dim,) or (n, dim) numbers.
            k: how many neighbours, 1 to 10,000. Fewer come back if there are fewer.
            recall: share of the true neighbours wanted, above 0 and up to 1 (an exact scan); the
                planner takes the cheapest way that calibration found to reach it, 0.95 unless
                told otherwise.
            tags: what an item must carry to be returned: every element, an element being a tag
                or a collection of alternatives: ``["in-stock", ("red", "blue")]``.
            exclude: ids that may not be returned.
            match: in how many tables an item must share a probed bucket with the query:
                ``"any"``, ``"all"`` or a number.
            probes: for experts: buckets to look into, instead of ``recall``.
            rerank: for experts: candidates to score by their 4-bit codes.
            threads: how many threads may work on a batch.

        Raises:
            InvalidInputError: an argument cannot be used.
        """
        request = Request(k, recall, match, probes, rerank)
        with self._turn():
            return ask(
                self._index, self._transaction, self._view, vectors, request, tags, exclude,
                threads,
            )  # fmt: skip

    def search_ids(
        self,
        ids: str | Sequence[str],
        k: int = 10,
        *,
        recall: float | None = None,
        tags: Tags = (),
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
            recall: as in ``search``.
            tags: as in ``search``.
            exclude: as in ``search``.
            match: as in ``search``.
            probes: as in ``search``.
            rerank: as in ``search``.

        Raises:
            InvalidInputError: an argument cannot be used.
        """
        names = [ids] if isinstance(ids, str) else list(ids)
        items = [item for item in map(self.get, names) if item is not None]
        mean = mean_vector(self.config, [item.vector for item in items])
        request = Request(k, recall, match, probes, rerank)
        with self._turn():
            excluded_slots(self._index, self._transaction, exclude)
            plan_search(self._index.family, 0, 0, request, None)
            if mean is None:
                return no_hits(self._view, "no such item" if not items else "no direction")
            return ask(
                self._index, self._transaction, self._view, mean, request, tags,
                [*exclude, *names], 1,
            )  # fmt: skip

    def exact(
        self,
        vectors: ArrayLike,
        k: int = 10,
        *,
        tags: Tags = (),
        exclude: Iterable[str] = (),
    ) -> Hits:
        """The k most similar items by a scan of every vector: what recall is measured against.

        Args:
            vectors: (dim,) or (n, dim) numbers.
            k: how many neighbours, 1 to 10,000.
            tags: as in ``search``.
            exclude: ids that may not be returned.

        Raises:
            InvalidInputError: an argument cannot be used.
        """
        with self._turn():
            return ask(
                self._index, self._transaction, self._view, vectors, Request(k, recall=1.0), tags,
                exclude, 1,
            )  # fmt: skip

    def digest(self) -> str:
        """Hash of the content: live items with versions, and the family; hexadecimal.

        Equal for equal content, whatever the history that led to it. It is kept by each commit,
        so it costs nothing to ask; ``verify`` computes it anew. See ``streamlsh.content``.
        """
        with self._turn():
            state = self._view.state
            return content_digest(self._index.family_digest, state.live, state.content)

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
        if self._index.environment.inherited:
            raise ClosedError("a snapshot does not survive fork(); take one in the child")
        with self._lock:
            if not self._open:
                raise ClosedError("this snapshot was closed; take another from its reader")
            try:
                yield
            except READ_FAULTS as error:
                raise read_error(self._index.environment.path, error) from error

    def _item(self, key: bytes, value: memoryview) -> Item | None:
        with sound_records(self._index.environment.path):
            return self._read_item(key, value)

    def _read_item(self, key: bytes, value: memoryview) -> Item | None:
        slot, version = unpack_item(key, value)
        if slot == NO_SLOT:
            return None
        environment = self._index.environment
        open_block = self._view.state.open_block
        rows = RowReader(self._transaction, environment, self._index.rows, open_block)
        extras = self._transaction.get(number_key(slot), b"", db=environment.database("extras"))
        tags, attributes = unpack_extras(bytes(extras))
        return Item(
            key.decode(), rows.vector(slot).copy(), None if version == NO_VERSION else version,
            tags, attributes,
        )  # fmt: skip
