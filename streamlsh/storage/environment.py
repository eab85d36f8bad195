"""One LMDB environment a file and process, opened safely and shared.

LMDB must not be opened twice in one process (closing either handle would drop the locks of
both) and does not survive ``fork``. So environments live in a registry by real path; a child
process never touches its parent's handles but opens its own.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb

from streamlsh.errors import (
    CorruptIndexError,
    DiskFullError,
    IndexExistsError,
    IndexNotFoundError,
    LockConflictError,
    MapFullError,
    NetworkFilesystemError,
    StorageError,
)
from streamlsh.storage.schema import DATABASES

MAX_READERS = 1024
"""Reader slots in the lock file: one for each thread with an open transaction."""

_NETWORK = frozenset(
    ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "glusterfs", "lustre", "afs", "gpfs",
     "beegfs", "fuse.sshfs", "fuse.glusterfs", "fuse.s3fs", "fuse.rclone", "fuse.ceph")
)  # fmt: skip
_MOUNTS = Path("/proc/self/mountinfo")

_registry: dict[str, Environment] = {}
_registry_lock = threading.Lock()
_inherited: list[Environment] = []
"""Handles of a parent process, kept so that they are never closed from the child."""


class Environment:
    """A shared handle of one index's LMDB environment.

    Attributes:
        path: the index's directory.
        pid: the process that opened it.
        map_generation: counts remappings of the file; addresses from before are void.
    """

    def __init__(self, path: Path, handle: lmdb.Environment) -> None:
        self.path = path
        self.pid = os.getpid()
        self.map_generation = 0
        self._handle = handle
        self._users = 1
        self._active = 0
        self._idle = threading.Condition()
        self._databases = {name: handle.open_db(name.encode(), create=False) for name in DATABASES}

    @contextmanager
    def read(self) -> Iterator[lmdb.Transaction]:
        """A read transaction: one commit, for as long as the block lasts."""
        with self._idle:
            self._active += 1
        try:
            transaction = self._begin_read()
            try:
                yield transaction
            finally:
                transaction.abort()
        finally:
            with self._idle:
                self._active -= 1
                self._idle.notify_all()

    def _begin_read(self) -> lmdb.Transaction:
        try:
            return self._handle.begin(buffers=True)
        except lmdb.MapResizedError:
            # Another process enlarged the map. Adopting its size moves the map, so it must
            # wait until no transaction of this process looks at the old one.
            with self._idle, storage_errors(self.path):
                self._active -= 1
                self._idle.wait_for(lambda: self._active == 0)
                self._handle.set_mapsize(0)
                self.map_generation += 1
                self._active += 1
                return self._handle.begin(buffers=True)
        except lmdb.Error:
            with storage_errors(self.path):
                raise

    @contextmanager
    def write(self) -> Iterator[lmdb.Transaction]:
        """A write transaction, committed when the block ends well and aborted otherwise."""
        with storage_errors(self.path), self._handle.begin(write=True) as transaction:
            yield transaction

    def database(self, name: str) -> lmdb._Database:
        """Handle of a named database of the schema."""
        return self._databases[name]

    def resize(self, map_size: int) -> None:
        """Reserve a larger map, once no transaction of this process is open."""
        with self._idle:
            self._idle.wait_for(lambda: self._active == 0)
            self._handle.set_mapsize(map_size)
            self.map_generation += 1

    def map_used(self) -> tuple[int, int]:
        """Bytes of the map that hold or once held data, and bytes reserved."""
        info = self._handle.info()
        return (info["last_pgno"] + 1) * self._handle.stat()["psize"], info["map_size"]

    def clear_dead_readers(self) -> int:
        """Free the reader slots of processes that are gone; how many there were."""
        return int(self._handle.reader_check())

    def readers(self) -> list[dict[str, int]]:
        """Processes that have looked at the index and not gone: pid and LMDB transaction.

        A transaction of -1 means that the reader holds no snapshot now.
        """
        rows = str(self._handle.readers()).splitlines()[1:]
        fields = [row.split() for row in rows]
        return [
            {"pid": int(f[0]), "transaction": -1 if f[2] == "-" else int(f[2])}
            for f in fields
            if len(f) == 3
        ]

    def close(self) -> None:
        """Give the handle back; the last user's call closes it."""
        with _registry_lock:
            self._users -= 1
            if self._users == 0 and self.pid == os.getpid():
                _registry.pop(str(self.path), None)
                self._handle.close()

    def share(self) -> Environment:
        """Count one more user (the registry's lock is held)."""
        self._users += 1
        return self


def open_environment(path: str | os.PathLike[str]) -> Environment:
    """Open, or share, the environment of an existing index.

    Raises:
        IndexNotFoundError: no index there.
        NetworkFilesystemError: the path is on a network file system.
        CorruptIndexError: the file is no LMDB environment of streamlsh.
        LockConflictError: LMDB's lock file cannot be used from here.
    """
    directory = Path(path).resolve()
    data = directory / "data.mdb"
    if not data.is_file():
        raise IndexNotFoundError(
            f"no index at {directory}: create one first (streamlsh create)", path=str(directory)
        )
    refuse_network_filesystem(directory)
    with _registry_lock:
        known = _registry.get(str(directory))
        if known is not None:
            if known.pid == os.getpid():
                return known.share()
            _inherited.append(_registry.pop(str(directory)))
        writable = os.access(data, os.W_OK)
        with storage_errors(directory):
            handle = lmdb.open(
                str(directory), max_dbs=len(DATABASES), max_readers=MAX_READERS,
                readonly=not writable, create=False, readahead=False, max_spare_txns=16,
                map_size=0,  # the size stored in the file
            )  # fmt: skip
            try:
                environment = Environment(directory, handle)
            except lmdb.NotFoundError as error:
                handle.close()
                raise CorruptIndexError(
                    f"{directory} is an LMDB environment but no streamlsh index",
                    expected="the databases " + ", ".join(DATABASES), received=str(error),
                ) from error  # fmt: skip
        _registry[str(directory)] = environment
        return environment


def create_environment(path: str | os.PathLike[str], map_size: int) -> Environment:
    """Make a new, empty environment with all databases of the schema.

    Raises:
        IndexExistsError: there is something at the path already.
        NetworkFilesystemError: the path is on a network file system.
    """
    directory = Path(path).resolve()
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise IndexExistsError(
            f"{directory} exists already and is not an empty directory", path=str(directory)
        )
    refuse_network_filesystem(directory)
    with _registry_lock, storage_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
        handle = lmdb.open(
            str(directory), max_dbs=len(DATABASES), max_readers=MAX_READERS, readahead=False,
            map_size=map_size, max_spare_txns=16,
        )  # fmt: skip
        try:
            with handle.begin(write=True) as transaction:
                for name in DATABASES:
                    handle.open_db(name.encode(), txn=transaction)
            environment = Environment(directory, handle)
        except BaseException:
            handle.close()
            raise
        _registry[str(directory)] = environment
        return environment


def refuse_network_filesystem(path: Path, mounts: Path = _MOUNTS) -> None:
    """Raise ``NetworkFilesystemError`` if the path's mount is a network file system.

    Where the mount table cannot be read (not Linux), nothing is refused.
    """
    try:
        table = mounts.read_text()
    except OSError:
        return
    kind, point = "", ""
    for line in table.splitlines():
        fields = line.split(" ")
        where = fields[4].replace("\\040", " ")
        if len(where) >= len(point) and path.is_relative_to(where):
            kind, point = fields[fields.index("-") + 1], where
    if kind in _NETWORK:
        raise NetworkFilesystemError(
            f"{path} lies on {kind} (mounted at {point}); an index needs a local file system, "
            "because memory maps and locks are not reliable over a network",
            path=str(path),
        )


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn LMDB's and the system's errors into ours, with the next step in the message."""
    try:
        yield
    except lmdb.MapFullError as error:
        raise MapFullError(
            f"the memory map of {path} is full; the last commit stands. "
            "Reopen the writer with a larger map_size"
        ) from error
    except (lmdb.LockError, lmdb.ReadersFullError, lmdb.BadRslotError) as error:
        raise LockConflictError(
            f"the lock file of {path} cannot be used ({error}). Processes in different PID "
            "namespaces (containers) need distinct PIDs or a shared PID namespace, and at most "
            f"{MAX_READERS} threads may read at once"
        ) from error
    except (lmdb.CorruptedError, lmdb.InvalidError, lmdb.VersionMismatchError,
            lmdb.PageNotFoundError) as error:  # fmt: skip
        raise CorruptIndexError(
            f"{path} is damaged or no LMDB file", expected="a sound data.mdb", received=str(error)
        ) from error
    except lmdb.Error as error:
        text = str(error)
        if any(os.strerror(code) in text for code in (errno.ENOSPC, errno.EIO, errno.EDQUOT,
                                                      errno.EFBIG)):  # fmt: skip
            raise DiskFullError(
                f"writing {path} failed ({text}); the last commit stands. Free disk space and go on"
            ) from error
        raise StorageError(f"LMDB refused at {path}: {text}") from error
