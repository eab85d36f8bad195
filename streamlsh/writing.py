"""The writer: stages updates and commits them, one atomic transaction a batch."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from concurrent.futures import Future, ThreadPoolExecutor
from types import MappingProxyType, TracebackType
from typing import IO, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streamlsh.buckets.bounds import check_segment
from streamlsh.buckets.merging import read_pieces
from streamlsh.collecting import collect, collect_deletes, collect_upserts
from streamlsh.commit import commit_batch
from streamlsh.config import DEFAULT_MAP_LIMIT, IndexConfig, check_map_limit, check_map_size
from streamlsh.errors import ClosedError
from streamlsh.limiting import check_limit
from streamlsh.preparing import Batch, Prepared, PreparedUpdates, join_updates, prepare
from streamlsh.readers import ReaderInfo, list_readers
from streamlsh.staging import StagedUpdate
from streamlsh.storage.failures import sound_records
from streamlsh.storage.locking import release_lock, take_lock
from streamlsh.storage.opening import Index, open_index
from streamlsh.storage.positions import read_positions
from streamlsh.storage.schema import STATE_KEY
from streamlsh.storage.slot_tables import check_slots
from streamlsh.storage.state import read_state
from streamlsh.sweeping import begin_sweep, find_ghosts
from streamlsh.updates import (
    CommitResult,
    Delete,
    Position,
    Upsert,
    Upserts,
    check_id,
    check_position,
)

HASH_ASIDE = 256
"""Vectors from which on hashing is worth a thread of its own."""
READER_CHECK_COMMITS = 16
"""Every so many commits the slots of dead readers are freed."""


def writer(
    path: str | os.PathLike[str],
    *,
    map_size: int | None = None,
    map_limit: float = DEFAULT_MAP_LIMIT,
) -> Writer:
    """Open an index for writing; one process at a time may.

    Args:
        path: the index's directory.
        map_size: enlarge the reserved address space to so many bytes; it never shrinks.
        map_limit: share of the map, above 0 and up to 1, above which commits with upserts are
            refused, so that there is room for those that delete. With 1 the map itself is the
            limit. Pages that can be used again do not count.

    Raises:
        InvalidInputError: there can be no map of that size, or no such limit.
        IndexNotFoundError: no index there.
        WriterLockedError: another writer holds it.
        IndexContentError: the index cannot be trusted.
        StorageError: the storage below refused.
    """
    if map_size is not None:
        check_map_size(map_size)
    check_map_limit(map_limit)
    index = open_index(path)
    try:
        lock = take_lock(index.environment.path)
    except BaseException:
        index.environment.close()
        raise
    try:
        if map_size is not None:
            index.environment.resize(map_size)
        return Writer(index, lock, map_limit)
    except BaseException:
        release_lock(lock)
        index.environment.close()
        raise


class Writer:
    """Stages upserts and deletes and applies them in atomic commits; see ``writer()``.

    Many vectors are hashed in a thread of the writer's own, as soon as they are staged or
    prepared: who prepares the next batch while one is committed gets the hashing for free.

    A writer belongs to the thread and process that opened it; only ``prepare`` may be called
    from other threads too. As a context manager it commits
    what is staged when the block ends well and discards it otherwise.
    """

    def __init__(self, index: Index, lock: IO[str], map_limit: float) -> None:
        self._index = index
        self._lock = lock
        self._map_limit = map_limit
        self._closed = False
        self._commits = 0
        self._parts: list[PreparedUpdates] = []
        self._seen: set[bytes] = set()
        self._hasher = ThreadPoolExecutor(1, thread_name_prefix="streamlsh-hash")
        meta = index.environment.database("meta")
        with index.environment.write() as transaction, index.environment.read() as snapshot:
            state = read_state(snapshot, meta)
            check_slots(index, snapshot, state)
            segments = index.environment.database("segments")
            for segment in state.segments:
                check_segment(
                    snapshot, segments, segment, index.family.buckets, index.rows.chunk_bytes
                )
            for merge in state.merges:
                read_pieces(snapshot, segments, merge)
            state.epoch += 1
            transaction.put(STATE_KEY, state.pack(), db=meta)
            self._positions = read_positions(snapshot, index.environment)
        self._epoch = state.epoch
        self._commit_number = state.commit
        self._sweeping = state.sweeping
        self._caught_up = state.caught_up

    @property
    def config(self) -> IndexConfig:
        """The index's configuration."""
        return self._index.config

    @property
    def epoch(self) -> int:
        """Number of this writer; a later writer of the index has a larger one."""
        return self._epoch

    @property
    def positions(self) -> Mapping[tuple[str, int], Position]:
        """Source positions as of the last commit, by (stream, partition)."""
        return MappingProxyType(self._positions)

    @property
    def commit_number(self) -> int:
        """Number of the last commit."""
        return self._commit_number

    @property
    def caught_up(self) -> float:
        """When the index was last known to reflect all of its source, unix seconds; 0 for never."""
        return self._caught_up

    @property
    def sweeping(self) -> bool:
        """Whether a sweep has begun and not ended; stored with the index."""
        return self._sweeping

    @property
    def staged(self) -> int:
        """How many updates wait for the next commit."""
        return sum(map(len, self._parts))

    def upsert(
        self,
        ids: Sequence[str],
        vectors: ArrayLike,
        *,
        versions: Sequence[int | None] | None = None,
        tags: Sequence[Sequence[str] | None] | None = None,
        attributes: Sequence[Mapping[str, Any] | None] | None = None,
    ) -> None:
        """Stage items to be inserted or replaced.

        Args:
            ids: n item ids.
            vectors: (n, dim) numbers that float32 can hold.
            versions: n explicit versions, or none.
            tags: n lists of tags, or none.
            attributes: n maps, or none.

        Raises:
            InvalidInputError: the first thing wrong with the input, with its row; nothing of
                this call is staged.
        """
        self._check_open()
        columns = collect_upserts(self.config, ids, vectors, versions, tags, attributes)
        self.stage(self._prepared(*columns))

    def delete(self, ids: Sequence[str], *, versions: Sequence[int | None] | None = None) -> None:
        """Stage items to be removed.

        Args:
            ids: n item ids; unknown ones are counted, and are no error.
            versions: n explicit versions, or none.

        Raises:
            InvalidInputError: the first thing wrong with the input, with its row; nothing of
                this call is staged.
        """
        self._check_open()
        self.stage(self._prepared(*collect_deletes(self.config, ids, versions)))

    def stage(self, updates: Iterable[Upsert | Delete | Upserts] | PreparedUpdates) -> None:
        """Stage decoded updates in the order given.

        Args:
            updates: single updates, and many in one as ``Upserts``; or what ``prepare`` gave.

        Raises:
            InvalidInputError: the first thing wrong, with the update's place as its row (the
                items of ``Upserts`` count one by one); nothing of this call is staged.
        """
        self._check_open()
        if not isinstance(updates, PreparedUpdates):
            updates = self.prepare(updates)
        if updates.updates:
            self._parts.append(updates)

    def prepare(self, updates: Iterable[Upsert | Delete | Upserts]) -> PreparedUpdates:
        """Check updates and begin to hash their vectors, to be staged later by ``stage``.

        It may be called from any thread. What is never staged is simply forgotten.

        Args:
            updates: single updates, and many in one as ``Upserts``.

        Raises:
            InvalidInputError: the first thing wrong, with its place as for ``stage``.
        """
        self._check_open()
        return self._prepared(*collect(self.config, updates))

    def mark_seen(self, ids: Iterable[str]) -> None:
        """Stage ids that a sweep is to spare, without changing their items.

        Outside a sweep they mean nothing.

        Args:
            ids: item ids; unknown ones are passed over.

        Raises:
            ItemIdError: one that can be none; nothing of this call is staged.
        """
        self._check_open()
        self._seen |= {check_id(item_id, row) for row, item_id in enumerate(ids)}

    def begin_sweep(self) -> None:
        """Begin to note which items are named; durable at once.

        From now on upserts, whatever becomes of them, and ``mark_seen`` name items;
        ``end_sweep`` removes the others. A sweep that is under way begins anew. What is staged
        counts when it is committed.

        Raises:
            FencedError: another writer took the index over.
            StorageError: the storage refused.
        """
        self._check_open()
        begin_sweep(self._index, self._epoch)
        self._sweeping = True

    def end_sweep(self, *, forget: str = "") -> int:
        """Remove all items that were not named since the sweep began, in one commit, and end it.

        What is staged is committed before.

        Args:
            forget: a stream whose positions go in the same commit, such as the sweep's own.

        Returns:
            How many there were.

        Raises:
            StreamLSHError: as ``commit`` raises; the sweep goes on then.
        """
        self._check_open()
        if not self._sweeping:
            return 0
        self.commit()
        ghosts = find_ghosts(self._index)
        self.delete(ghosts)
        try:
            forgets = {key for key in self._positions if key[0] == forget}
            self._commit((), None, ends_sweep=True, forgets=forgets)
        except BaseException:
            self.discard()
            raise
        self._sweeping = False
        return len(ghosts)

    def commit(
        self, positions: Iterable[Position] = (), *, caught_up: float | None = None
    ) -> CommitResult:
        """Apply what is staged and move the positions, durably and all at once.

        Args:
            positions: what the sources' next offsets are after this batch.
            caught_up: when the sources had no more than that, unix seconds, if they had not.

        Raises:
            FencedError: another writer took the index over; nothing was written, and this
                writer can only be closed.
            PositionError: a position cannot be stored; the batch stays staged.
            CorruptIndexError: a record that the commit needs cannot be read; nothing was written.
            MapLimitError: the batch has upserts, and more than ``map_limit`` of the map is in
                use; the last commit stands, the batch stays staged.
            StorageError: the storage refused; the same.
        """
        self._check_open()
        return self._commit(positions, caught_up, ends_sweep=False)

    def _commit(
        self,
        positions: Iterable[Position],
        caught_up: float | None,
        *,
        ends_sweep: bool,
        forgets: AbstractSet[tuple[str, int]] = frozenset(),
    ) -> CommitResult:
        moves = {(p.stream, p.partition): p for p in positions}
        for position in moves.values():
            check_position(position)
        idle = not (self._parts or self._seen or ends_sweep) and caught_up is None
        if idle and all(self._positions.get(k) == p for k, p in moves.items()):
            return CommitResult(self._commit_number)
        if self._commits % READER_CHECK_COMMITS == 0:
            self._index.environment.clear_dead_readers()
        updates, prepared = join_updates(self._index, self._parts)
        batch = Batch(
            updates, prepared, self._positions, moves, self._seen, caught_up, ends_sweep, forgets
        )
        with sound_records(self._index.environment.path):
            if len(prepared):  # deletes give space back, so they must go on
                check_limit(self._index.environment, self._map_limit)
            result = commit_batch(self._index, self._epoch, batch)
        self._positions.update(moves)
        for key in forgets:
            del self._positions[key]
        self._commit_number = result.commit
        self._commits += 1
        if caught_up is not None:
            self._caught_up = caught_up
        self.discard()
        return result

    def readers(self) -> list[ReaderInfo]:
        """Who has looked at the index and not gone, in all processes, and what each of them pins.

        Raises:
            StorageError: the storage refused.
        """
        self._check_open()
        return list_readers(self._index.environment)

    def discard(self) -> None:
        """Drop what is staged."""
        self._parts = []
        self._seen = set()

    def close(self) -> None:
        """Let go of the index; what is still staged is dropped."""
        if not self._closed:
            self._closed = True
            self.discard()
            self._hasher.shutdown(cancel_futures=True)
            release_lock(self._lock)
            self._index.environment.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None and not self._closed:
                self.commit()
        finally:
            self.close()

    def _prepared(
        self, updates: list[StagedUpdate], vectors: NDArray[np.float32]
    ) -> PreparedUpdates:
        """Have checked vectors hashed: many beside the caller, few at once."""
        if len(vectors) >= HASH_ASIDE:
            return PreparedUpdates(updates, self._hasher.submit(prepare, self._index, vectors))
        prepared: Future[Prepared] = Future()
        prepared.set_result(prepare(self._index, vectors))
        return PreparedUpdates(updates, prepared)

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("this writer was closed; open another with streamlsh.writer(path)")
        if self._index.environment.inherited:
            raise ClosedError(
                "this writer was opened by another process; a writer does not survive fork()"
            )
