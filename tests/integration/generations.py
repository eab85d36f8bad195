"""Groups of items that a commit replaces as a whole, and readers that never see half of one.

``python -m tests.integration.generations write|read|intrude PATH``: each runs until its input is
closed, and prints what it counted as JSON.
"""

from __future__ import annotations

import json
import random
import select
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import streamlsh
from streamlsh.errors import WriterLockedError
from tests.integration.processes import shrink_parts

DIM = 16
GROUPS = 40
MEMBERS = 25
HELD_COMMITS = 20
HELD_SECONDS = 10.0
SCORE_ERROR = 1e-5


def names_of(group: int) -> list[str]:
    return [f"group-{group:02}-item-{member:02}" for member in range(MEMBERS)]


def vectors_of(group: int, generation: int) -> NDArray[np.float32]:
    """(MEMBERS, DIM): a group's vectors, all of them others in every generation."""
    rng = np.random.default_rng((group, generation))
    return rng.standard_normal((MEMBERS, DIM), dtype=np.float32)


def generation_of(snapshot: streamlsh.Snapshot, group: int) -> int:
    """The one generation that all items of a group have; 0 if all of them are missing."""
    items = [snapshot.get(name) for name in names_of(group)]
    if items[0] is None:
        assert items == [None] * MEMBERS, f"a part of group {group} is missing"
        return 0
    assert items[0].attributes is not None
    generation = int(items[0].attributes["generation"])
    for item, vector in zip(items, vectors_of(group, generation), strict=True):
        assert item is not None, f"a part of group {group} is missing"
        assert (item.version, item.attributes) == (generation, {"generation": generation})
        assert item.vector.tobytes() == vector.tobytes()
    return generation


def check(snapshot: streamlsh.Snapshot) -> list[int]:
    """Everything that a snapshot shows fits together; the groups' generations."""
    generations = [generation_of(snapshot, group) for group in range(GROUPS)]
    there = [group for group in range(GROUPS) if generations[group]]
    assert len(snapshot) == len(there) * MEMBERS
    assert max(generations) <= snapshot.commit
    if not there:
        return generations
    asked = there[snapshot.commit % len(there)]
    vectors = {
        name: vector
        for group in there
        for name, vector in zip(names_of(group), vectors_of(group, generations[group]), strict=True)
    }
    query = vectors_of(asked, generations[asked])[0]
    for hits in (snapshot.search(query, MEMBERS), snapshot.exact(query, MEMBERS)):
        assert hits.commit == snapshot.commit
        assert hits.ids[0] == names_of(asked)[0]
        for name, score in zip(hits.ids, hits.scores, strict=True):
            vector = vectors[name]
            cosine = vector @ query / np.linalg.norm(vector) / np.linalg.norm(query)
            assert abs(score - cosine) < SCORE_ERROR, f"{name} has another generation's vector"
    return generations


def check_latest(reader: streamlsh.Reader) -> list[int]:
    with reader.snapshot() as snapshot:
        return check(snapshot)


def asked_to_end() -> bool:
    return bool(select.select([sys.stdin], [], [], 0)[0])


def write(path: Path) -> None:
    """Replace some groups in every commit, and now and then remove one."""
    rng = random.Random(5)
    counts: Counter[str] = Counter()
    with streamlsh.writer(path) as writer:
        print("ready", flush=True)
        while not asked_to_end():
            generation = writer.commit_number + 1
            for group in rng.sample(range(GROUPS), rng.randint(1, 8)):
                names = names_of(group)
                if rng.random() < 0.1:
                    writer.delete(names, versions=[generation] * MEMBERS)
                    counts["removed"] += 1
                    continue
                writer.upsert(
                    names,
                    vectors_of(group, generation),
                    versions=[generation] * MEMBERS,
                    attributes=[{"generation": generation}] * MEMBERS,
                )
                counts["replaced"] += 1
            writer.commit()
            counts["commits"] += 1
    print(json.dumps(counts), flush=True)


def read(path: Path) -> None:
    """Check one snapshot after the other, and some of them again many commits later."""
    counts: Counter[str] = Counter()
    last = 0
    with streamlsh.open(path) as reader:
        while not any(check_latest(reader)):  # with that the kernels are compiled, too
            time.sleep(0.01)
        print("ready", flush=True)
        while not asked_to_end():
            with reader.snapshot() as snapshot:
                assert snapshot.commit >= last, "a later look sees an older commit"
                counts["different commits"] += snapshot.commit > last
                last = snapshot.commit
                generations = check(snapshot)
                counts["snapshots"] += 1
                if counts["snapshots"] % 10 == 0:
                    until = time.monotonic() + HELD_SECONDS
                    while reader.commit < last + HELD_COMMITS and time.monotonic() < until:
                        time.sleep(0.01)
                    counts["held"] += reader.commit >= last + HELD_COMMITS
                    assert snapshot.commit == last
                    assert check(snapshot) == generations
        reader.verify()
    print(json.dumps(counts), flush=True)


def intrude(path: Path) -> None:
    """Try to become a second writer, again and again."""
    counts: Counter[str] = Counter()
    print("ready", flush=True)
    while not asked_to_end():
        try:
            streamlsh.writer(path).close()
        except WriterLockedError:
            counts["refused"] += 1
        else:
            raise AssertionError("there were two writers at once")
    print(json.dumps(counts), flush=True)


if __name__ == "__main__":
    shrink_parts()
    roles = {"write": write, "read": read, "intrude": intrude}
    roles[sys.argv[1]](Path(sys.argv[2]))
