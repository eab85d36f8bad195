"""A full map, a full disk, a file cut short: the last commit stands, and work goes on after."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import streamlsh
from streamlsh import Position
from streamlsh.errors import CorruptIndexError, MapFullError, StorageError
from tests.integration.processes import ROOT, command, finish, run, start

DIM = 64
BATCH = 200


def rows_of(number: int) -> NDArray[np.float32]:
    return np.random.default_rng(number).standard_normal((BATCH, DIM), dtype=np.float32)


def fill(writer: streamlsh.Writer) -> int:
    """Insert batches until the map is full; how many are in."""
    number = writer.commit_number
    while True:
        writer.upsert([f"{number}-{row}" for row in range(BATCH)], rows_of(number))
        try:
            writer.commit([Position("t", 0, number + 1)])
        except MapFullError:
            return number
        number += 1


@pytest.fixture
def path(tmp_path: Path) -> Path:
    streamlsh.create(tmp_path / "index", dim=DIM, family="hyperplane", tables=2, map_size=2 << 20)
    return tmp_path / "index"


def test_when_the_map_is_full_the_last_commit_stands_and_a_larger_map_goes_on(path: Path) -> None:
    with streamlsh.open(path) as reader:
        writer = streamlsh.writer(path, map_limit=1.0)
        full = fill(writer)
        assert full >= 1
        for _ in range(2):
            with pytest.raises(MapFullError, match="larger map_size"):
                writer.commit([Position("t", 0, full + 1)])
        assert writer.staged == BATCH
        assert writer.positions["t", 0].offset == full
        assert (reader.commit, len(reader)) == (full, full * BATCH)
        reader.verify()
        writer.close()
        with streamlsh.writer(path, map_size=8 << 20, map_limit=1.0) as larger:
            assert larger.positions["t", 0].offset == full
            larger.upsert([f"{full}-{row}" for row in range(BATCH)], rows_of(full))
            assert larger.commit([Position("t", 0, full + 1)]).inserted == BATCH
            assert len(reader) == (full + 1) * BATCH
            assert fill(larger) > 2 * full
            larger.discard()
        reader.verify()
        assert reader.info()["bytes"]["map"] == 8 << 20
    with streamlsh.open(path) as reader:
        assert reader.info()["bytes"]["map"] == 8 << 20


def test_readers_of_another_process_follow_a_map_that_grew(path: Path) -> None:
    with streamlsh.writer(path, map_limit=1.0) as writer:
        full = fill(writer)
        writer.discard()
    reader = start("following_reader", path)
    assert reader.stdin is not None
    assert reader.stdout is not None
    try:
        assert reader.stdout.readline() == "ready\n"
        answers = []
        for size in (4 << 20, 8 << 20):
            with streamlsh.writer(path, map_size=size, map_limit=1.0) as writer:
                full = fill(writer)
                writer.discard()
            reader.stdin.write(f"{full - 1}-7\n")
            reader.stdin.flush()
            answers.append((reader.stdout.readline(), f"{full * BATCH} {full - 1}-7\n"))
        assert all(answer == expected for answer, expected in answers), answers
        assert finish(reader) == ""
    finally:
        reader.kill()
        reader.communicate()


def test_a_thread_that_keeps_a_snapshot_is_told_that_the_map_cannot_grow(path: Path) -> None:
    """Waiting for itself, it would never end."""
    with (
        streamlsh.open(path) as reader,
        reader.snapshot(),
        pytest.raises(StorageError, match="close the snapshot first"),
    ):
        streamlsh.writer(path, map_size=8 << 20)
    with streamlsh.writer(path, map_size=8 << 20) as writer:
        writer.upsert(["a"], rows_of(0)[:1])


def test_the_map_grows_although_threads_of_the_same_process_read_without_a_pause(
    path: Path,
) -> None:
    stop = threading.Event()

    def read(reader: streamlsh.Reader) -> int:
        reads = 0
        while not stop.is_set():
            assert len(reader.exact(rows_of(0)[:4]).ids) == 4
            reads += 1
        return reads

    with streamlsh.writer(path, map_limit=1.0) as writer:
        writer.upsert([f"{row}" for row in range(BATCH)], rows_of(0))
    with streamlsh.open(path) as reader, ThreadPoolExecutor(5) as pool:
        reading = [pool.submit(read, reader) for _ in range(5)]
        try:
            for size in (3 << 20, 4 << 20, 8 << 20):
                with streamlsh.writer(path, map_size=size, map_limit=1.0) as writer:
                    fill(writer)
                    writer.discard()
        finally:
            stop.set()
        assert all(future.result(timeout=60) for future in reading)
        reader.verify()


def test_a_snapshot_that_another_thread_keeps_open_is_not_waited_for_without_end(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamlsh.storage.environment._PATIENCE", 0.05)
    pinned, done = threading.Event(), threading.Event()

    def pin(reader: streamlsh.Reader) -> None:
        with reader.snapshot():
            pinned.set()
            assert done.wait(timeout=60)

    with streamlsh.open(path) as reader, ThreadPoolExecutor(1) as pool:
        pinning = pool.submit(pin, reader)
        try:
            assert pinned.wait(timeout=60)
            with pytest.raises(StorageError, match="another thread of this process"):
                streamlsh.writer(path, map_size=8 << 20)
            assert len(reader) == 0
        finally:
            done.set()
        pinning.result(timeout=60)
        with streamlsh.writer(path, map_size=8 << 20) as writer:
            assert writer.epoch == 1


def test_when_the_disk_is_full_the_last_commit_stands_and_the_writer_goes_on(
    tmp_path: Path,
) -> None:
    assert run("full_disk", tmp_path / "index") == "held\n"


OPEN_WHERE_NOTHING_CAN_BE_WRITTEN = """
import resource, sys
import streamlsh
from streamlsh.errors import DiskFullError
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
with streamlsh.open(sys.argv[1]) as reader:
    print(len(reader), len(list(reader.items())))
try:
    streamlsh.writer(sys.argv[1])
except DiskFullError:
    print("refused")
"""


def test_on_a_full_disk_an_index_opens_for_reading_and_a_writer_is_refused(path: Path) -> None:
    with streamlsh.writer(path) as writer:
        writer.upsert([f"{row}" for row in range(BATCH)], rows_of(0))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", OPEN_WHERE_NOTHING_CAN_BE_WRITTEN, path],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout == f"{BATCH} {BATCH}\nrefused\n", done.stderr


@pytest.mark.parametrize("share", [0.0, 0.001, 0.003, 0.1, 0.5, 0.9])
def test_a_file_that_was_cut_short_is_refused_and_does_not_end_the_process(
    path: Path, tmp_path: Path, share: float
) -> None:
    with streamlsh.writer(path, map_limit=1.0) as writer:
        fill(writer)
        writer.discard()
    cut = tmp_path / "cut"
    cut.mkdir()
    shutil.copy(path / "data.mdb", cut)
    size = (cut / "data.mdb").stat().st_size
    with (cut / "data.mdb").open("r+b") as file:
        file.truncate(int(size * share))
    # In a process of its own, for reading past a file's end would end that process.
    done = subprocess.run(
        command("opening", cut), capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, f"{CorruptIndexError.__name__}\n"), done.stderr
