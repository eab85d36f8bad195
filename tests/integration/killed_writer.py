"""A writer that is killed again and again.

``python -m tests.integration.killed_writer FAMILY KILLS``. The stream of commits is fixed, and
each moves the position by one. So after any kill the index must hold exactly what the commits up
to its stored position come to.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

import numpy as np

import streamlsh
from streamlsh import Delete, Position, Upsert
from tests.integration.processes import shrink_parts
from tests.properties.model import Model, by_utf8, same_item

DIM = 12
IDS = 150
STREAM = ("log", 0)


def commit_of(offset: int) -> list[Upsert | Delete]:
    """The updates of the commit that moves the position from ``offset`` to the next."""
    rng = np.random.default_rng(offset)
    updates: list[Upsert | Delete] = []
    for _ in range(int(rng.integers(1, 90))):
        name = f"i{rng.integers(IDS)}"
        version = None if rng.random() < 0.7 else int(rng.integers(offset + 1))
        if rng.random() < 0.25:
            updates.append(Delete(name, version))
        else:
            vector = rng.standard_normal(DIM, dtype=np.float32)
            tags = ("x",) if rng.random() < 0.2 else ()
            updates.append(Upsert(name, vector, version, tags, {"at": offset}))
    return updates


def write(path: Path, report: int) -> None:
    """Go on from the stored position, for ever; one byte to ``report`` after each commit."""
    with streamlsh.writer(path) as writer:
        held = writer.positions.get(STREAM)
        offset = held.offset if held else 0
        while True:
            writer.stage(commit_of(offset))
            offset += 1
            writer.commit([Position(*STREAM, offset)])
            os.write(report, b".")


def kill_once(path: Path, rng: random.Random) -> None:
    """Start the writer, and kill it some commits and some microseconds later."""
    receive, report = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            write(path, report)
        finally:
            traceback.print_exc()
            os._exit(1)
    os.close(report)
    for _ in range(rng.randrange(8)):
        assert os.read(receive, 1) == b".", "the writer ended by itself"
    moment = time.perf_counter() + rng.random() * 0.006
    while time.perf_counter() < moment:
        pass
    os.kill(pid, signal.SIGKILL)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL
    os.close(receive)


def main(family: str, kills: int) -> None:
    shrink_parts()
    rng = random.Random(7)
    model, offset = Model(), 0
    offsets = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "index")
        sample = np.random.default_rng(1).standard_normal((200, DIM))
        streamlsh.create(path, dim=DIM, family=family, sample=sample)
        for _ in range(kills):
            kill_once(path, rng)
            with streamlsh.open(path) as reader:
                held = reader.positions.get(STREAM)
                stored = held.offset if held else 0
                assert stored >= offset, "the position went back"
                for replayed in range(offset, stored):
                    model.apply(commit_of(replayed), [Position(*STREAM, replayed + 1)])
                offset = stored
                offsets.append(offset)
                assert reader.commit == model.commit
                reader.verify()
                items = list(reader.items())
                expected = by_utf8(model.items)
                assert len(items) == len(expected)
                assert all(map(same_item, items, expected))
                query = sample[offset % 200]
                model.check_exact(reader.exact(query, 9), query, 9)
                model.check_hits(reader.search(query, 9), query, 9)
        with streamlsh.writer(path) as writer:
            # A writer that was killed before its first transaction took no epoch.
            assert 1 < writer.epoch <= kills + 1
    print(len(set(offsets)))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
