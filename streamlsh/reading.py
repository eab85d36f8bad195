"""The reader: answers queries from the latest commit, or from a pinned one."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import lmdb
from numpy.typing import ArrayLike

from streamlsh.asking import ask
from streamlsh.config import IndexConfig
from streamlsh.errors import ClosedError
from streamlsh.filtering import Tags
from streamlsh.hits import Hits, Item
from streamlsh.information import describe
from streamlsh.snapshot import Snapshot
from streamlsh.storage.failures import READ_FAULTS, read_error, sound_records
from streamlsh.storage.opening import Index, open_index
from streamlsh.updates import Position
from streamlsh.verifying import VerifyReport
from streamlsh.view import View, make_view


def open_reader(path: str | os.PathLike[str]) -> Reader:
    """Open an index for reading, known as ``streamlsh.open``.

    Args:
        path: the index's directory.

    Raises:
        IndexNotFoundError: no index there.
        IndexContentError: the index cannot be trusted.
        NetworkFilesystemError: the path is on a network file system.
        StorageError: the storage below refused.
    """
    return Reader(path)


class Reader:
    """Queries against the latest commit; see ``streamlsh.open``.

    Every call looks at the newest commit there is when it begins, and at that one only.
    Between calls a reader holds no transaction, so an idle one never keeps pages from being
    reused. It may be used from many threads at once, and after ``fork()``: a child opens the
    file anew on its first call.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._index = open_index(path)
        self._view: View | None = None
        self._closed = False
        self._lock = threading.Lock()

    @property
    def config(self) -> IndexConfig:
        """The index's configuration."""
        return self._index.config

    @property
    def commit(self) -> int:
        """Number of the latest commit."""
        with self.snapshot() as snapshot:
            return snapshot.commit

    @property
    def positions(self) -> Mapping[tuple[str, int], Position]:
        """The source positions that the latest commit reflects, by (stream, partition)."""
        with self.snapshot() as snapshot:
            return snapshot.positions

    @contextmanager
    def snapshot(self) -> Iterator[Snapshot]:
        """Pin the latest commit for many calls.

        Raises:
            ClosedError: this reader was closed.
        """
        index = self._current_index()
        with index.environment.read() as transaction:
            snapshot = Snapshot(index, transaction, self._current_view(index, transaction))
            try:
                yield snapshot
            finally:
                snapshot.close()

    def __len__(self) -> int:
        with self.snapshot() as snapshot:
            return len(snapshot)

    def __contains__(self, item_id: object) -> bool:
        with self.snapshot() as snapshot:
            return item_id in snapshot

    def get(self, item_id: str) -> Item | None:
        """The item of an id, or ``None``."""
        with self.snapshot() as snapshot:
            return snapshot.get(item_id)

    def items(self) -> Iterator[Item]:
        """All items of one commit, sorted by id; the commit is pinned meanwhile."""
        with self.snapshot() as snapshot:
            yield from snapshot.items()

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
        """The items most similar to a vector, or to each of many; see ``Snapshot.search``."""
        asked = (k, recall, match, probes, rerank)
        index = self._current_index()
        with index.environment.read() as transaction:
            view = self._current_view(index, transaction)
            try:
                return ask(index, transaction, view, vectors, asked, tags, exclude, threads)
            except READ_FAULTS as error:
                raise read_error(index.environment.path, error) from error

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
        """The items most similar to an item, or to several; see ``Snapshot.search_ids``."""
        with self.snapshot() as snapshot:
            return snapshot.search_ids(
                ids, k, recall=recall, tags=tags, exclude=exclude, match=match, probes=probes,
                rerank=rerank,
            )  # fmt: skip

    def exact(
        self,
        vectors: ArrayLike,
        k: int = 10,
        *,
        tags: Tags = (),
        exclude: Iterable[str] = (),
    ) -> Hits:
        """The most similar items by a scan of every vector; see ``Snapshot.exact``."""
        with self.snapshot() as snapshot:
            return snapshot.exact(vectors, k, tags=tags, exclude=exclude)

    def digest(self) -> str:
        """Hash of the content of the latest commit; see ``Snapshot.digest``."""
        with self.snapshot() as snapshot:
            return snapshot.digest()

    def verify(self) -> VerifyReport:
        """Walk every invariant of the file.

        Raises:
            CorruptIndexError: naming the first that is broken.
        """
        with self.snapshot() as snapshot:
            return snapshot.verify()

    def info(self) -> dict[str, Any]:
        """Configuration, counts and sizes, ready for JSON."""
        index = self._current_index()
        with index.environment.read() as transaction, sound_records(index.environment.path):
            return describe(index, transaction)

    def close(self) -> None:
        """Let go of the index; calls under way end first."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._view = None
                self._index.environment.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _current_index(self) -> Index:
        """The open index; opened anew if this process is a child of the one that opened it."""
        if self._closed:
            raise ClosedError("this reader was closed; open another with streamlsh.open(path)")
        index = self._index
        if index.environment.inherited:
            with self._lock:
                index = self._index
                if index.environment.inherited:
                    index = open_index(index.environment.path)
                    self._view = None  # its addresses are the parent's
                    self._index = index
        return index

    def _current_view(self, index: Index, transaction: lmdb.Transaction) -> View:
        """The view of the commit that a transaction sees, from the cache if it is there."""
        view = self._view
        if (
            view is None
            or view.transaction_id != transaction.id()
            or view.map_generation != index.environment.map_generation
        ):
            with sound_records(index.environment.path):
                view = make_view(index, transaction, view)
            self._view = view
        return view
