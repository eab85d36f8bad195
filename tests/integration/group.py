"""A group of items that every commit rewrites as a whole, and a reader that checks it.

``python -m tests.integration.group write|read PATH``: both run until their input is closed; a
reader also ends by itself once it has checked ``CHECKED`` commits.
"""

from __future__ import annotations

import select
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import streamlsh
from streamlsh import Position
from tests.integration.processes import shrink_parts

DIM = 16
ITEMS = 40
CHECKED = 40
STREAM = ("topic", 0)


def names_at(commit: int) -> list[str]:
    """The ids that stand after a commit: one in three items more than the group, at times."""
    return [f"item-{number:02}" for number in range(ITEMS + commit % 3)]


def vectors_at(commit: int) -> NDArray[np.float32]:
    """Their vectors, all of them new in every commit."""
    rng = np.random.default_rng(commit)
    return rng.standard_normal((len(names_at(commit)), DIM), dtype=np.float32)


def write_commit(writer: streamlsh.Writer) -> None:
    """The next commit: everything anew, what is too much deleted, and the position moved."""
    commit = writer.commit_number + 1
    names = names_at(commit)
    gone = sorted(set(names_at(commit - 1)) - set(names))
    writer.upsert(
        names, vectors_at(commit), versions=[commit] * len(names),
        attributes=[{"commit": commit}] * len(names),
    )  # fmt: skip
    writer.delete(gone, versions=[commit] * len(gone))
    result = writer.commit([Position(*STREAM, commit, "uuid")])
    assert result.commit == commit


def check_commit(snapshot: streamlsh.Snapshot) -> int:
    """Everything that one snapshot shows belongs to one commit; its number."""
    commit = snapshot.commit
    if commit == 0:
        assert len(snapshot) == 0
        return 0
    names, vectors = names_at(commit), vectors_at(commit)
    assert snapshot.positions[STREAM].offset == commit
    assert len(snapshot) == len(names)
    assert [item.id for item in snapshot.items()] == names
    for name, vector in zip(names, vectors, strict=True):
        item = snapshot.get(name)
        assert item is not None, f"{name} is missing in commit {commit}"
        assert (item.version, item.attributes) == (commit, {"commit": commit})
        assert item.vector.tobytes() == vector.tobytes()
    assert f"item-{len(names):02}" not in snapshot
    cosines = vectors @ vectors[7] / np.linalg.norm(vectors, axis=1) / np.linalg.norm(vectors[7])
    expected = [names[place] for place in np.argsort(-cosines, kind="stable")]
    for hits in (
        snapshot.exact(vectors[7], len(names)),
        snapshot.search(vectors[7], len(names)),
        snapshot.search(vectors[7], len(names), probes=1),
    ):
        assert hits.commit == commit
        assert hits.positions[STREAM].offset == commit
        assert hits.ids == expected
    others = snapshot.search_ids(names[7], len(names)).ids
    assert sorted(others) == sorted(set(names) - {names[7]})
    return commit


def write(path: Path) -> None:
    """Commit until the input is closed."""
    with streamlsh.writer(path) as writer:
        while not select.select([sys.stdin], [], [], 0)[0]:
            write_commit(writer)


def read(path: Path) -> None:
    """Check commits until enough different ones were seen, or the input is closed."""
    seen: list[int] = []
    with streamlsh.open(path) as reader:
        print("ready", flush=True)
        while len(set(seen)) < CHECKED and not select.select([sys.stdin], [], [], 0)[0]:
            with reader.snapshot() as snapshot:
                seen.append(check_commit(snapshot))
            assert reader.commit >= seen[-1], "a later look sees an older commit"
            # A call of its own takes its own snapshot, and is as consistent.
            hits = reader.search(np.ones(DIM), 60)
            if hits.commit:
                assert sorted(hits.ids) == names_at(hits.commit)
                assert hits.positions[STREAM].offset == hits.commit
            seen.append(hits.commit)
        reader.verify()
    assert seen == sorted(seen), "commits went backwards"
    print(len(set(seen)), flush=True)


if __name__ == "__main__":
    shrink_parts()
    {"write": write, "read": read}[sys.argv[1]](Path(sys.argv[2]))
