"""Who reads an index, and how old the oldest state is that each of them keeps from being reused."""

from __future__ import annotations

import time
from dataclasses import dataclass

from streamlsh.storage.environment import Environment
from streamlsh.storage.presence import Process, living
from streamlsh.storage.times import outdated_seconds


@dataclass(frozen=True, slots=True)
class ReaderInfo:
    """One slot of LMDB's table of readers; a process has one for each transaction it had at once.

    Attributes:
        pid: the process, in its own PID namespace.
        host: its host name, which is that of its container; empty if unknown.
        command: its command line, cut short; empty if unknown.
        transaction: the LMDB transaction whose state it pins, -1 if none now.
        outdated_seconds: for how long there has been a later commit than the pinned one, which may
            be found too short by a third; 0.0 if it is the newest, or none is pinned; ``None`` if
            it is not known.
    """

    pid: int
    host: str
    command: str
    transaction: int
    outdated_seconds: float | None


def list_readers(environment: Environment) -> list[ReaderInfo]:
    """The readers of all processes, as LMDB's table has them."""
    rows = environment.readers()
    processes = {process.pid: process for process in living(environment.path)}
    meta = environment.database("meta")
    found = []
    with environment.read() as transaction:
        now = time.time()
        for row in rows:
            pid, pinned = row["pid"], row["transaction"]
            process = processes.get(pid, Process(pid, 0))
            seconds = 0.0 if pinned < 0 else outdated_seconds(transaction, meta, pinned, now)
            found.append(ReaderInfo(pid, process.host, process.command, pinned, seconds))
    return found


def describe_pin(reader: ReaderInfo) -> str:
    """One line of who keeps a snapshot open, and how outdated it is."""
    seconds = reader.outdated_seconds
    age = "of unknown age" if seconds is None else f"outdated for {seconds:,.0f} s"
    host, command = reader.host or "unknown", reader.command or "unknown"
    line = f"{age}, kept open by PID {reader.pid} on host {host} ({command})"
    # A command line may hold anything, a line break too.
    return "".join(letter if letter.isprintable() else "?" for letter in line)


def oldest_snapshot(readers: list[ReaderInfo]) -> ReaderInfo | None:
    """The reader that pins the oldest state, if any pins one."""
    pinning = [reader for reader in readers if reader.transaction >= 0]
    return min(pinning, key=lambda reader: reader.transaction, default=None)
