"""The writer's lock: a file that the kernel keeps locked for as long as its process lives."""

from __future__ import annotations

import fcntl
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import IO

from streamlsh.errors import StorageError, WriterLockedError

_held: set[IO[str]] = set()
"""Lock files of this process's writers."""


def _drop_inherited() -> None:
    """In a forked child: a lock is held as long as any process has its file open."""
    for lock in _held:
        lock.close()
    _held.clear()


os.register_at_fork(after_in_child=_drop_inherited)


def take_lock(path: Path) -> IO[str]:
    """Take the lock of an index's writer, which the kernel frees when the process ends, however.

    Raises:
        WriterLockedError: another writer holds it.
        StorageError: it cannot be opened.
    """
    try:
        file = (path / "writer.lock").open("a+")
    except OSError as error:
        raise StorageError(
            f"{path / 'writer.lock'} cannot be opened ({error.strerror}): whoever writes an index "
            "needs the right to write to its directory and files"
        ) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        holder = file.read(200).strip() or "unknown"
        file.close()
        raise WriterLockedError(
            f"another writer holds {path} ({holder}); an index has one writer at a time. "
            "Stop the other one first",
            holder=holder,
        ) from error
    # Said for people; on a full disk it stays unsaid.
    with suppress(OSError):
        os.ftruncate(file.fileno(), 0)
        os.write(file.fileno(), f"pid {os.getpid()} on {socket.gethostname()}".encode())
    _held.add(file)
    return file


def release_lock(lock: IO[str]) -> None:
    """Let go of a lock that was taken."""
    _held.discard(lock)
    lock.close()
