"""One LMDB environment a file and process, opened safely and shared.

LMDB must not open a file twice in one process (closing either handle would drop the locks of
both) and does not survive ``fork``. So environments live in a registry by file; a child process
lets go of what it inherited and opens its own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import lmdb

from streamlsh.errors import (
    ClosedError,
    CorruptIndexError,
    IndexExistsError,
    IndexNotFoundError,
    LockConflictError,
    StorageError,
)
from streamlsh.storage.failures import MAX_READERS, storage_errors
from streamlsh.storage.handle import listed_readers, open_databases, open_handle
from streamlsh.storage.mounts import refuse_network_filesystem
from streamlsh.storage.pages import PAGE_BYTES
from streamlsh.storage.presence import FOLDER, Presence, present
from streamlsh.storage.read_transaction import ReadTransaction
from streamlsh.storage.schema import DATA, DATABASES
from streamlsh.storage.soundness import (
    BY_ITEM,
    check_database,
    check_format,
    check_metas,
    check_opening,
    check_pages,
    stamp,
)
from streamlsh.storage.times import note_time

_PATIENCE = 10.0
"""Seconds to wait for the transactions of this process to end before the map is resized."""

_registry: dict[tuple[int, int], Environment] = {}
"""Open environments by device and inode of their data files, which tell files apart even where
an index was moved, or another one put in its place."""
# Reentrant: the collector may close a forgotten snapshot while this thread holds it.
_registry_lock = threading.RLock()


def _begin_as_child() -> None:
    """Note that what is open is the parent's: to ask for the pid is a system call a query."""
    for environment in _registry.values():
        environment.inherited = True
        if environment.presence is not None:
            environment.presence.forget()
    _registry_lock.release()


# No child is born while another thread, which it would not have, holds the lock.
os.register_at_fork(
    before=_registry_lock.acquire,
    after_in_parent=_registry_lock.release,
    after_in_child=_begin_as_child,
)


class Environment:
    """A shared handle of one index's LMDB environment.

    Attributes:
        path: the index's directory.
        inherited: whether a parent of this process opened it, so that it is not to be used here.
        file: device and inode of its data file.
        handle: LMDB's own.
        map_generation: counts remappings of the file; addresses from before are void.
        presence: what tells other processes that this one has it open.
    """

    def __init__(self, path: Path, handle: lmdb.Environment, presence: Presence | None) -> None:
        page = handle.stat()["psize"]
        if page != PAGE_BYTES:
            raise StorageError(
                f"{path} has pages of {page} bytes; on machines whose pages are not {PAGE_BYTES} "
                "bytes, values that readers use in place would move"
            )
        self.path = path
        self.inherited = False
        self.map_generation = 0
        self.handle = handle
        self.presence = presence
        self.file = _file_identity(path)
        self._users = 1
        self._closed = False
        self._resizing = False
        self._writable = False  # whether all pages were found sound
        self._unchecked = set(BY_ITEM)
        self._threads: dict[int, int] = {}  # open transactions by thread
        self._lock = threading.RLock()
        self._idle = threading.Condition(self._lock)
        self._remapping = 0  # threads that wait for all transactions to end
        self._databases = open_databases(handle)

    def read(self) -> ReadTransaction:
        """A read transaction: one commit, for as long as the ``with`` block lasts.

        Raises:
            ClosedError: the last user has closed the environment; on entering the block.
        """
        return ReadTransaction(self)

    @contextmanager
    def write(self) -> Iterator[lmdb.Transaction]:
        """A write transaction, committed when the block ends well and aborted otherwise.

        Raises:
            CorruptIndexError: the file is damaged where writing would make it worse.
            StorageError: the storage refused; the last commit stands.
        """
        thread = self.enter()
        try:
            with storage_errors(self.path):
                if not self._writable:
                    check_pages(self.path, self.handle)
                    self._writable = True
                with self.handle.begin(write=True) as transaction:
                    yield transaction
                    note_time(transaction, self._databases["meta"])
                    stamp(transaction, self._databases["meta"])
        finally:
            if not self.inherited:
                self.leave(thread)

    def enter(self) -> int:
        """Count a transaction that begins; the thread it counts for."""
        thread = threading.get_ident()
        with self._lock:
            threads = self._threads
            if self._resizing and thread not in threads:
                self._idle.wait_for(lambda: not self._resizing)
            if self._closed:
                raise ClosedError(f"{self.path} was closed before this call; open it again")
            threads[thread] = threads.get(thread, 0) + 1
        return thread

    def leave(self, thread: int) -> None:
        """Count a transaction that has ended; the last one closes what nobody uses."""
        with self._lock:
            self._uncount(thread)
            if self._users or self._threads:
                return
        self._close_if_unused()

    def _uncount(self, thread: int) -> None:
        """Count one transaction of a thread less (the lock is held)."""
        threads = self._threads
        if threads[thread] > 1:
            threads[thread] -= 1
        else:
            del threads[thread]
            if self._remapping:
                self._idle.notify_all()

    def begin_again(self, thread: int, error: lmdb.Error) -> lmdb.Transaction:
        """A read transaction after one that failed, counted already."""
        while isinstance(error, lmdb.MapResizedError):  # another process enlarged the map
            with self._idle:
                self._uncount(thread)
                try:
                    self._remap(0, self.map_generation, _PATIENCE)
                finally:
                    self._threads[thread] = self._threads.get(thread, 0) + 1
            try:
                return self.handle.begin(buffers=True)
            except lmdb.Error as another:
                error = another
        with storage_errors(self.path):
            raise error

    def _remap(self, map_size: int, generation: int, patience: float | None) -> None:
        """Move the map, once no transaction of this process looks at the old one.

        Args:
            map_size: its new size, 0 for what another process made it.
            generation: if it is another by then, another thread has done so.
            patience: seconds to wait, ``None`` for as long as it takes.
        """
        with self._idle, storage_errors(self.path):
            if threading.get_ident() in self._threads:
                raise StorageError(
                    f"the memory map of {self.path} must grow, and cannot while this thread "
                    "itself keeps a snapshot open; close the snapshot first"
                )
            self._remapping += 1
            try:
                idle = self._idle.wait_for(
                    lambda: not self._threads or self.map_generation != generation, patience
                )
            finally:
                self._remapping -= 1
            if not idle:
                raise StorageError(
                    f"the memory map of {self.path} cannot grow, because another thread of this "
                    f"process has kept a snapshot open for {patience:g} s; close it first"
                )
            if self.map_generation == generation:
                self.handle.set_mapsize(map_size)
                self.map_generation += 1
                self._idle.notify_all()

    def database(self, name: str) -> lmdb._Database:
        """Handle of a named database of the schema.

        Raises:
            CorruptIndexError: it is used for the first time, and its pages are damaged.
        """
        if name in self._unchecked and not self._writable:
            with storage_errors(self.path):
                check_database(self.path, self.handle, name)
            self._unchecked.discard(name)
        return self._databases[name]

    def resize(self, map_size: int) -> None:
        """Enlarge the map to so many bytes, once no transaction of this process is open.

        New ones wait meanwhile: among many threads there may never be a moment without any.

        Raises:
            StorageError: a transaction of this process stays open, or the size is refused.
        """
        with self._idle:
            self._resizing = True
            try:
                map_size = max(map_size, self.map_used()[1])
                self._remap(map_size, self.map_generation, _PATIENCE)
            finally:
                self._resizing = False
                self._idle.notify_all()

    def map_used(self) -> tuple[int, int]:
        """Bytes of the map that hold or once held data, and bytes reserved."""
        info = self.handle.info()
        return (info["last_pgno"] + 1) * self.handle.stat()["psize"], info["map_size"]

    def clear_dead_readers(self) -> int:
        """Free the reader slots of processes that are gone; how many there were."""
        return int(self.handle.reader_check())

    def readers(self) -> list[dict[str, int]]:
        """Processes that have looked at the index and not gone: pid and LMDB transaction.

        A transaction of -1 means that the reader holds no snapshot now.
        """
        return listed_readers(self.handle)

    def close(self) -> None:
        """Give the handle back; once it has no user and no open transaction, it is closed."""
        if self.inherited:
            return
        with self._idle:
            self._users -= 1
        self._close_if_unused()

    def _close_if_unused(self) -> None:
        with _registry_lock, self._idle:
            if self._users == 0 and not self._threads and not self._closed:
                self._closed = True
                _registry.pop(self.file, None)
                self.handle.close()
                if self.presence is not None:
                    self.presence.withdraw()

    def disown(self) -> None:
        """Let a child process go of its parent's handle (the registry's lock is held).

        Raises:
            LockConflictError: the parent had a transaction open at the fork. LMDB would end it
                for the parent, too, if its handle were closed here.
        """
        if self._threads:
            raise LockConflictError(
                f"this process was forked while its parent was reading {self.path}, so it cannot "
                "open that index. Fork between queries, or open the index in the children only"
            )
        _registry.pop(self.file, None)
        self.handle.close()

    def share(self) -> Environment:
        """Count one more user (the registry's lock is held)."""
        with self._idle:
            self._users += 1
        return self


def open_environment(path: str | os.PathLike[str]) -> Environment:
    """Open, or share, the environment of an existing index.

    Raises:
        IndexNotFoundError: no index there.
        NetworkFilesystemError: the path is on a network file system.
        CorruptIndexError: the file is no LMDB environment of streamlsh.
        NewerFormatError: it has a newer format; OlderFormatError: an older one.
        LockConflictError: LMDB's lock file cannot be used from here: above all, a process of
            another PID namespace has this one's PID.
    """
    directory = Path(path).resolve()
    data = directory / DATA
    with storage_errors(directory):
        found = data.is_file()
    if not found:
        raise IndexNotFoundError(
            f"no index at {directory}: create one first (streamlsh create)", path=str(directory)
        )
    refuse_network_filesystem(directory)
    with _registry_lock:
        known = _registry.get(_file_identity(directory))
        if known is not None:
            if not known.inherited:
                known.path = directory
                return known.share()
            known.disown()
        check_metas(directory)
        with storage_errors(directory), present(directory) as presence:
            handle = open_handle(directory, readonly=not os.access(data, os.W_OK))
            try:
                check_opening(directory, handle)
                check_format(directory, handle)
                environment = Environment(directory, handle, presence)
            except BaseException as error:
                handle.close()
                if not isinstance(error, lmdb.NotFoundError):
                    raise
                raise CorruptIndexError(
                    f"{directory} is an LMDB environment but no streamlsh index",
                    expected="the databases " + ", ".join(DATABASES), received=str(error),
                ) from error  # fmt: skip
        _registry[environment.file] = environment
        return environment


def create_environment(path: str | os.PathLike[str], map_size: int) -> Environment:
    """Make a new, empty environment with all databases of the schema.

    Raises:
        IndexExistsError: there is something at the path already.
        NetworkFilesystemError: the path is on a network file system.
    """
    directory = Path(path).resolve()
    with storage_errors(directory):
        taken = directory.exists() and (not directory.is_dir() or any(directory.iterdir()))
    if taken:
        raise IndexExistsError(
            f"{directory} exists already and is not an empty directory", path=str(directory)
        )
    refuse_network_filesystem(directory)
    with _registry_lock, storage_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
        try:
            with present(directory) as presence:
                handle = lmdb.open(
                    str(directory), max_dbs=len(DATABASES), max_readers=MAX_READERS,
                    readahead=False, map_size=map_size,
                )  # fmt: skip
                try:
                    with handle.begin(write=True) as transaction:
                        for name in DATABASES:
                            handle.open_db(name.encode(), txn=transaction)
                        stamp(transaction, handle.open_db(b"meta", txn=transaction))
                    environment = Environment(directory, handle, presence)
                except BaseException:
                    handle.close()
                    raise
        except BaseException:
            remove_unfinished(directory)
            raise
        _registry[environment.file] = environment
        return environment


def remove_unfinished(directory: Path) -> None:
    """Remove the files of an index that could not be created, so that a second try may."""
    for name in (DATA, "lock.mdb"):
        (directory / name).unlink(missing_ok=True)
    with suppress(OSError):  # others look in there, too
        (directory / FOLDER).rmdir()


def _file_identity(directory: Path) -> tuple[int, int]:
    """Device and inode of an index's data file."""
    status = (directory / DATA).stat()
    return status.st_dev, status.st_ino
