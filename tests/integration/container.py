"""A container's process: ``python -m tests.integration.container PATH PID``.

In a new PID namespace it takes a PID (1 is its own; a higher one is forked up to), opens the index,
holds a snapshot, says so, and waits for its input to end. What refuses it is printed instead.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import streamlsh
from streamlsh.errors import StreamLSHError


def hold(path: str) -> None:
    try:
        with streamlsh.open(path) as reader, reader.snapshot() as snapshot:
            count = len(list(snapshot.items()))
            namespace = Path("/proc/self/ns/pid").stat().st_ino
            print(f"pinned {os.getpid()} {namespace} {count}", flush=True)
            sys.stdin.readline()
            assert len(list(snapshot.items())) == count
            snapshot.verify()
    except StreamLSHError as error:
        print(f"{type(error).__name__}: {error}", flush=True)


def take(pid: int, path: str) -> None:
    """Fork until a child has the PID, and let that one open the index."""
    while os.getpid() != pid:
        child = os.fork()
        if child == 0:
            if os.getpid() == pid:
                hold(path)
            os._exit(0)
        os.waitpid(child, 0)
        if child >= pid:
            return
    hold(path)


if __name__ == "__main__":
    take(int(sys.argv[2]), sys.argv[1])
