"""Which processes have an index open: a file each in the folder ``open/`` of its directory.

LMDB's table of readers knows a process by its PID alone, and PIDs are told apart only within one
PID namespace. Two containers on one volume may both run as PID 1: LMDB then refuses the second
with "resource temporarily unavailable". A presence says who the other one is.

A presence is a file named ``PID-NAMESPACE``, locked (flock) for as long as the environment is open.
Whether a file's process lives is decided by that lock alone, never by its PID: the kernel drops
the lock when the process ends, however it ends. Nothing waits for another process here, so one
that is stopped holds nobody up.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from streamlsh.errors import LockConflictError

FOLDER = "open"
RECORD_BYTES = 4096
"""Most bytes of a presence that are read: more than its texts take, twelve bytes a character."""
COMMAND_CHARACTERS = 200
HOST_CHARACTERS = 100
TRIES = 10
PAUSE = 0.02
"""Seconds between tries. Another process that looks whether a dead one's file is locked may hold
it for a moment itself, which must not be taken for life."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process that has the index open.

    Attributes:
        pid: its PID, in its own PID namespace.
        namespace: that namespace (the inode of ``/proc/self/ns/pid``); 0 if unknown.
        host: its host name, which is that of its container.
        command: its command line, cut short.
        started: when it opened the index, in seconds since the epoch.
    """

    pid: int
    namespace: int
    host: str = ""
    command: str = ""
    started: float = 0.0


class Presence:
    """This process's own presence; see ``announce``."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        # A plain descriptor: no collector closes it, and with it drops the lock.
        self._descriptor = descriptor

    def withdraw(self) -> None:
        """Take the file away, and the lock with it."""
        with suppress(OSError):  # the folder may be gone, or another's by now
            if _same(self._path, self._descriptor):
                self._path.unlink()
        self.forget()

    def forget(self) -> None:
        """Let go of the descriptor only: in a forked child the presence is its parent's.

        The lock belongs to parent and child alike until both have closed it.
        """
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def announce(directory: Path) -> Presence | None:
    """Leave this process's presence, and remove those that dead processes left.

    Returns:
        The presence; ``None`` where this process may not write, as in a directory of another
        user: it reads the index all the same, but nobody learns its host and command, and of two
        equal PIDs only LMDB's own lock keeps the second out.

    Raises:
        LockConflictError: a living process in another PID namespace has this process's PID.
    """
    folder = directory / FOLDER
    mine = Process(
        os.getpid(), _namespace(), socket.gethostname()[:HOST_CHARACTERS],
        " ".join(sys.orig_argv)[:COMMAND_CHARACTERS], time.time(),
    )  # fmt: skip
    presence = _leave(folder, mine)
    try:
        _refuse_equal_pids(directory, mine)
        if presence is not None:
            _remove_dead(folder)
    except BaseException:
        if presence is not None:
            presence.withdraw()
        raise
    return presence


@contextmanager
def present(directory: Path) -> Iterator[Presence | None]:
    """This process's presence, as ``announce`` leaves it; withdrawn if the block fails."""
    presence = announce(directory)
    try:
        yield presence
    except BaseException:
        if presence is not None:
            presence.withdraw()
        raise


def living(directory: Path) -> list[Process]:
    """The processes that have the index open and have left a presence, by PID."""
    found = []
    for path, process in _files(directory / FOLDER):
        with _opened(path) as descriptor:
            if descriptor is not None and not _lock(descriptor, fcntl.LOCK_SH):
                found.append(_read(descriptor, process))
    return sorted(found, key=lambda process: (process.pid, process.namespace))


def _leave(folder: Path, mine: Process) -> Presence | None:
    path = folder / f"{mine.pid}-{mine.namespace}"
    for _ in range(TRIES):
        try:
            _make_folder(folder)
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(path, flags, 0o644)
        except OSError:
            return None
        if _lock(descriptor, fcntl.LOCK_EX) and _same(path, descriptor):
            # On a full disk it stays empty: its name and its lock are what counts.
            with suppress(OSError):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, json.dumps(asdict(mine)).encode(), 0)
            return Presence(path, descriptor)
        # The name is this process's alone. Who holds the file looks whether it is alive, or got
        # the lock by a fork from a process that had this PID before: a new file takes its place.
        with suppress(OSError):
            if _same(path, descriptor):
                path.unlink()
        os.close(descriptor)
    return None


def _make_folder(folder: Path) -> None:
    """Make the folder, writable for whoever may write in the index's directory."""
    if not folder.is_dir():
        with suppress(FileExistsError):
            folder.mkdir()
            folder.chmod(folder.parent.stat().st_mode & 0o777)


def _read(descriptor: int, named: Process) -> Process:
    """What a presence says; only what its name says if it is not (yet) written or was damaged."""
    try:
        record = json.loads(os.pread(descriptor, RECORD_BYTES, 0))
        host, command = str(record["host"]), str(record["command"])
        started = float(record["started"])
    except (OSError, ValueError, TypeError, KeyError):
        return named
    return Process(
        named.pid, named.namespace, host[:HOST_CHARACTERS], command[:COMMAND_CHARACTERS], started
    )


def _refuse_equal_pids(directory: Path, mine: Process) -> None:
    for _ in range(TRIES):
        others = [
            process
            for process in living(directory)
            if process.pid == mine.pid and process.namespace != mine.namespace
        ]
        if not others:
            return
        time.sleep(PAUSE)
    other = others[0]
    raise LockConflictError(
        f"{directory} is open in another process with the same PID: {mine.pid} in PID namespace "
        f"{other.namespace} on host {other.host or 'unknown'} ({other.command or 'unknown'}), and "
        f"this one is {mine.pid} in PID namespace {mine.namespace}. LMDB tells processes apart by "
        "their PIDs alone, so the containers that share an index must share one PID namespace: "
        "docker run --pid=container:NAME, or shareProcessNamespace: true in the pod "
        "(docs/containers.md)"
    )


def _remove_dead(folder: Path) -> None:
    """Remove the files that nobody holds."""
    for path, _ in _files(folder):
        with _opened(path) as descriptor, suppress(OSError):
            # Held while it is removed, so that no process takes the name over in between.
            if (
                descriptor is not None
                and _lock(descriptor, fcntl.LOCK_EX)
                and _same(path, descriptor)
            ):
                path.unlink()


def _files(folder: Path) -> list[tuple[Path, Process]]:
    """The presences in a folder, by their names; whatever else lies there is left alone."""
    try:
        names = [path.name for path in folder.iterdir()]
    except OSError:
        return []
    found = []
    for name in names:
        pid, _, namespace = name.partition("-")
        if pid.isdecimal() and namespace.isdecimal():
            found.append((folder / name, Process(int(pid), int(namespace))))
    return found


@contextmanager
def _opened(path: Path) -> Iterator[int | None]:
    try:
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(path, flags)
    except OSError:
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _same(path: Path, descriptor: int) -> bool:
    """Whether a path still names the open file."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except OSError:
        return False


def _namespace() -> int:
    try:
        return Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return 0
