"""What LMDB and the system refuse, as errors of ours that say what to do."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb

from streamlsh.errors import (
    CorruptIndexError,
    DiskFullError,
    LockConflictError,
    MapFullError,
    StorageError,
    StreamLSHError,
)

MAX_READERS = 1024
"""Reader slots in the lock file: one for each thread with an open transaction."""


_DAMAGE = (
    lmdb.CorruptedError, lmdb.InvalidError, lmdb.VersionMismatchError, lmdb.PageNotFoundError,
    lmdb.CursorFullError, lmdb.PageFullError, lmdb.IncompatibleError,
)  # fmt: skip
_NO_ROOM = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EFBIG)

READ_FAULTS = (lmdb.Error, UnicodeDecodeError, struct.error)
"""What reading a damaged index raises, and nothing that a caller passes in."""
_RECORD_FAULTS = (*READ_FAULTS, ValueError, TypeError, KeyError, IndexError, OverflowError)


def read_error(path: Path, error: Exception) -> StreamLSHError:
    """One of ``READ_FAULTS`` as an error of ours, with the next step in the message."""
    if isinstance(error, lmdb.Error):
        return _storage_error(path, error)
    return CorruptIndexError(
        f"a record of {path} cannot be read; restore the index from a copy, or rebuild it from its "
        "topic or export",
        expected="a sound record", received=f"{type(error).__name__}: {error}",
    )  # fmt: skip


@contextmanager
def sound_records(path: Path) -> Iterator[None]:
    """Turn what reading damaged records raises into ``CorruptIndexError``.

    For blocks that read nothing but the index: a caller's mistakes would be taken for damage.
    """
    try:
        yield
    except StreamLSHError:
        raise
    except _RECORD_FAULTS as error:
        raise read_error(path, error) from error


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn LMDB's and the system's errors into ours, with the next step in the message."""
    try:
        yield
    except lmdb.Error as error:
        raise _storage_error(path, error) from error
    except OSError as error:
        if isinstance(error, StreamLSHError):
            raise
        raise StorageError(f"the system refused at {path}: {error}") from error


def _storage_error(path: Path, error: lmdb.Error) -> StreamLSHError:
    text = str(error)
    if isinstance(error, lmdb.MapFullError):
        return MapFullError(
            f"the memory map of {path} is full; the last commit stands. "
            "Reopen the writer with a larger map_size"
        )
    if isinstance(error, lmdb.LockError | lmdb.ReadersFullError | lmdb.BadRslotError):
        return LockConflictError(
            f"the lock file of {path} cannot be used ({text}). Processes in different PID "
            "namespaces (containers) need distinct PIDs or a shared PID namespace, and at most "
            f"{MAX_READERS} threads may read at once"
        )
    if isinstance(error, _DAMAGE):
        return CorruptIndexError(
            f"{path} is damaged or no LMDB file; restore it from a copy, or rebuild the index from "
            "its topic or export",
            expected="a sound data.mdb", received=text,
        )  # fmt: skip
    if any(os.strerror(code) in text for code in _NO_ROOM):
        return DiskFullError(
            f"writing {path} failed ({text}); the last commit stands. Free disk space and go on"
        )
    return StorageError(f"LMDB refused at {path}: {text}")
