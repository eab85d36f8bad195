"""What LMDB and the system refuse, as errors of ours that say what to do."""

from __future__ import annotations

import errno
import os
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
)

MAX_READERS = 1024
"""Reader slots in the lock file: one for each thread with an open transaction."""


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
