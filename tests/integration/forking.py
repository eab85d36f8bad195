"""Processes that fork while they have an index open: ``python -m tests.integration.forking NAME``.

Every scenario runs in a process of its own.
"""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np

import streamlsh
from streamlsh.errors import ClosedError, LockConflictError, WriterLockedError

DIM = 8
ROWS = np.random.default_rng(0).standard_normal((300, DIM)).astype(np.float32)


def put(path: Path, commit: int) -> None:
    """Replace all items; ``commit`` is their version."""
    with streamlsh.writer(path) as writer:
        writer.upsert(
            [f"i{row}" for row in range(100)], ROWS[commit : commit + 100], versions=[commit] * 100
        )


def check(reader: streamlsh.Reader | streamlsh.Snapshot, commit: int) -> None:
    assert reader.commit == commit
    assert len(reader) == 100
    item = reader.get("i7")
    assert item is not None
    assert item.version == commit
    assert reader.search(ROWS[commit + 7], 3).ids[0] == "i7"
    assert reader.exact(ROWS[commit + 9], 3).ids[0] == "i9"


def in_child(action: Callable[[], None]) -> int:
    """Fork; the child's pid."""
    pid = os.fork()
    if pid == 0:
        try:
            action()
            os._exit(0)
        finally:
            traceback.print_exc()
            os._exit(1)
    return pid


def ended_well(*pids: int) -> None:
    for pid in pids:
        assert os.waitpid(pid, 0)[1] == 0, "the child failed"


def an_idle_reader_is_used_by_children_and_parent(path: Path) -> None:
    put(path, 1)
    with streamlsh.open(path) as reader, streamlsh.open(path) as second:
        check(reader, 1)

        def child() -> None:
            check(reader, 1)
            put(path, 2)
            check(reader, 2)
            check(second, 2)
            with streamlsh.open(path) as third:
                check(third, 2)
            reader.close()
            second.verify()

        ended_well(in_child(child))
        check(reader, 2)
        put(path, 3)
        check(reader, 3)
        second.verify()
        assert all(row["pid"] == os.getpid() for row in reader.info()["readers"])


def many_workers_answer_while_the_parent_writes(path: Path) -> None:
    put(path, 1)
    with streamlsh.open(path) as reader:
        check(reader, 1)

        def worker() -> None:
            seen = [reader.commit]
            while seen[-1] < 40:
                with reader.snapshot() as snapshot:
                    check(snapshot, snapshot.commit)
                    seen.append(snapshot.commit)
            assert seen == sorted(seen)

        workers = [in_child(worker) for _ in range(3)]
        for commit in range(2, 41):
            put(path, commit)
            check(reader, commit)
        ended_well(*workers)
        reader.verify()


def a_child_may_fork_again(path: Path) -> None:
    put(path, 1)
    with streamlsh.open(path) as reader:

        def grandchild() -> None:
            check(reader, 1)

        def child() -> None:
            check(reader, 1)
            ended_well(in_child(grandchild))
            check(reader, 1)

        ended_well(in_child(child))
        check(reader, 1)


def a_snapshot_stays_the_parents_alone(path: Path) -> None:
    """The child gets a clear error, and whatever it does, the parent's pages stay pinned."""
    put(path, 1)
    with streamlsh.open(path) as reader:
        context = reader.snapshot()
        snapshot = context.__enter__()

        def child() -> None:
            refused(ClosedError, lambda: check(snapshot, 1))
            refused(LockConflictError, lambda: check(reader, 1))
            refused(LockConflictError, lambda: streamlsh.open(path))
            context.__exit__(None, None, None)
            reader.close()

        ended_well(in_child(child))
        for commit in range(2, 60):
            put(path, commit)
        check(snapshot, 1)
        snapshot.verify()
        context.__exit__(None, None, None)
        check(reader, 59)

        ended_well(in_child(lambda: check(reader, 59)))


def a_writer_stays_the_parents_alone(path: Path) -> None:
    with streamlsh.writer(path) as writer:
        writer.upsert([f"{row}" for row in range(300)], ROWS)  # so many that a thread hashes them

        def child() -> None:
            refused(ClosedError, lambda: writer.upsert(["b"], ROWS[:1]))
            refused(ClosedError, writer.commit)
            refused(WriterLockedError, lambda: streamlsh.writer(path))
            with streamlsh.open(path) as reader:
                assert len(reader) == 0
            writer.close()

        ended_well(in_child(child))
        assert writer.commit().inserted == 300
    with streamlsh.writer(path) as writer:
        assert writer.epoch == 2


def refused(error: type[Exception], call: Callable[[], object]) -> None:
    try:
        call()
    except error:
        return
    raise AssertionError(f"no {error.__name__}")


SCENARIOS = {
    scenario.__name__: scenario
    for scenario in (
        an_idle_reader_is_used_by_children_and_parent,
        many_workers_answer_while_the_parent_writes,
        a_child_may_fork_again,
        a_snapshot_stays_the_parents_alone,
        a_writer_stays_the_parents_alone,
    )
}

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder, "index")
        streamlsh.create(index, dim=DIM)
        SCENARIOS[sys.argv[1]](index)
    print("held")
