"""Opening and closing one index from many places, and readers that never close it."""

from __future__ import annotations

import os
import pickle
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

import streamlsh
from streamlsh.errors import LockConflictError
from streamlsh.storage.failures import MAX_READERS
from tests.integration.processes import start

DIM = 16
ROWS = np.random.default_rng(0).standard_normal((500, DIM)).astype(np.float32)
IDS = [f"{row}" for row in range(500)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    streamlsh.create(tmp_path / "index", dim=DIM, family="hyperplane", tables=2)
    return tmp_path / "index"


def test_threads_open_and_close_readers_of_one_index_while_it_is_written(path: Path) -> None:
    def look(_: int) -> int:
        with streamlsh.open(path) as reader:
            hits = reader.search(ROWS[0])
            assert hits.commit <= reader.commit
            return hits.commit

    with ThreadPoolExecutor(4) as pool:
        looks = pool.map(look, range(200))
        for _ in range(15):
            with streamlsh.writer(path) as writer:
                writer.upsert(IDS, ROWS)
                writer.upsert(IDS[:1], -ROWS[:1])
        assert max(looks) > 0
    with streamlsh.open(path) as reader:
        assert reader.commit == 15
        assert len(reader.info()["readers"]) <= 5


def test_readers_share_one_handle_and_closing_one_leaves_the_others(path: Path) -> None:
    with streamlsh.writer(path) as writer:
        writer.upsert(IDS, ROWS)
        writer.commit()
        first, second = streamlsh.open(path), streamlsh.open(path / ".." / "index")
        link = path.with_name("link")
        link.symlink_to(path)
        third = streamlsh.open(link)
        first.close()
        assert len(second) == len(third) == 500
        second.close()
        writer.delete(IDS[:1])
        writer.commit()
        assert len(third) == 499
        third.close()


def test_more_snapshots_than_the_lock_file_has_room_for_are_refused(path: Path) -> None:
    with streamlsh.open(path) as reader:
        with ExitStack() as stack:
            for _ in range(MAX_READERS):
                stack.enter_context(reader.snapshot())
            with pytest.raises(LockConflictError, match=str(MAX_READERS)):
                stack.enter_context(reader.snapshot())
        assert len(reader) == 0


def test_a_reader_that_was_killed_with_a_snapshot_open_does_not_keep_its_pages(
    path: Path,
) -> None:
    with streamlsh.writer(path) as writer, streamlsh.open(path) as reader:
        writer.upsert(IDS, ROWS)
        writer.commit()
        pinning = start("pinning", path)
        assert pinning.stdout is not None
        assert pinning.stdout.readline() == "pinned\n"
        assert pinning.pid in [row["pid"] for row in reader.info()["readers"]]
        os.kill(pinning.pid, signal.SIGKILL)
        pinning.communicate(timeout=60)
        sizes = []
        for turn in range(60):
            writer.upsert(IDS, ROWS + turn)
            writer.commit()
            sizes.append((path / "data.mdb").stat().st_size)
        assert pinning.pid not in [row["pid"] for row in reader.info()["readers"]]
        assert sizes[-1] < 1.5 * sizes[20]


def test_a_snapshot_that_is_kept_open_is_listed_with_its_process(path: Path) -> None:
    with streamlsh.open(path) as reader, reader.snapshot():
        listed = reader.info()["readers"]
        assert any(row["pid"] == os.getpid() and row["transaction"] > 0 for row in listed)


def test_items_can_be_listed_while_the_index_changes(path: Path) -> None:
    with streamlsh.writer(path) as writer, streamlsh.open(path) as reader:
        writer.upsert(IDS, ROWS)
        writer.commit()
        listed = []
        for item in reader.items():
            listed.append(item.id)
            if len(listed) % 100 == 1:
                writer.delete(IDS[: len(listed)])
                writer.upsert([f"new-{len(listed)}"], ROWS[:1])
                writer.commit()
        assert listed == sorted(IDS)
        assert "new-1" in reader


def test_answers_can_be_sent_to_another_process(path: Path) -> None:
    with streamlsh.writer(path) as writer:
        writer.upsert(IDS, ROWS, versions=[3] * 500, attributes=[{"a": 1}] * 500)
        writer.commit([streamlsh.Position("t", 0, 5)])
        with streamlsh.open(path) as reader:
            hits = reader.search(ROWS[0], 3)
            again = pickle.loads(pickle.dumps(hits))
            assert again.ids == hits.ids
            assert dict(again.positions) == dict(hits.positions)
            item = pickle.loads(pickle.dumps(reader.get("7")))
            assert (item.id, item.version, item.attributes) == ("7", 3, {"a": 1})
