"""Every snapshot shows exactly one commit, whatever the writer does meanwhile."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import streamlsh
from streamlsh.errors import ClosedError
from tests.conftest import FAMILIES
from tests.integration.group import CHECKED, DIM, check_commit, write_commit
from tests.integration.processes import finish, start


@pytest.fixture(params=FAMILIES)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    sample = np.random.default_rng(1).standard_normal((200, DIM))
    streamlsh.create(tmp_path / "index", dim=DIM, family=request.param, sample=sample)
    return tmp_path / "index"


@pytest.mark.usefixtures("small_parts")
def test_two_reader_processes_see_whole_commits_only_while_a_writer_process_commits(
    path: Path,
) -> None:
    readers = [start("group", "read", path) for _ in range(2)]
    for reader in readers:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "ready\n"
    writer = start("group", "write", path)
    try:
        for reader in readers:
            reader.wait(timeout=100)
            assert reader.stdout is not None
            output = reader.stdout.read()
            assert reader.returncode == 0, output
            assert int(output) >= CHECKED
        finish(writer)
    finally:
        for process in (writer, *readers):
            process.kill()
            process.communicate()
    with streamlsh.open(path) as reader_after, reader_after.snapshot() as snapshot:
        assert check_commit(snapshot) >= CHECKED
        snapshot.verify()


@pytest.mark.usefixtures("small_parts")
def test_a_pinned_snapshot_keeps_its_answers_across_many_commits(path: Path) -> None:
    with streamlsh.writer(path) as writer, streamlsh.open(path) as reader:
        for _ in range(5):
            write_commit(writer)
        with reader.snapshot() as pinned:
            digest = pinned.digest()
            for _ in range(60):
                write_commit(writer)
                assert check_commit(pinned) == 5
            assert pinned.digest() == digest
            pinned.verify()
            with reader.snapshot() as latest:
                assert check_commit(latest) == 65


@pytest.mark.usefixtures("small_parts")
def test_a_later_query_sees_every_commit_that_ended_before_it(path: Path) -> None:
    with streamlsh.writer(path) as writer, streamlsh.open(path) as reader:
        for commit in range(1, 40):
            write_commit(writer)
            assert reader.commit == commit
            assert reader.search(np.ones(DIM)).commit == commit
            with streamlsh.open(path) as other:
                assert other.commit == commit


@pytest.mark.usefixtures("small_parts")
def test_threads_share_a_reader_and_a_snapshot_while_a_writer_commits(path: Path) -> None:
    done = threading.Event()

    def look(reader: streamlsh.Reader, pinned: streamlsh.Snapshot, first: int) -> int:
        looks = 0
        while not done.is_set() or looks < 5:
            with reader.snapshot() as snapshot:
                check_commit(snapshot)
            assert check_commit(pinned) == first
            looks += 1
        return looks

    with streamlsh.writer(path) as writer, streamlsh.open(path) as reader:
        write_commit(writer)
        with reader.snapshot() as pinned, ThreadPoolExecutor(4) as pool:
            looks = [pool.submit(look, reader, pinned, 1) for _ in range(4)]
            try:
                for _ in range(40):
                    write_commit(writer)
            finally:
                done.set()
            assert all(look.result(timeout=60) >= 5 for look in looks)
        assert reader.commit == 41


def test_a_reader_closed_by_one_thread_ends_the_others_with_an_error_and_no_crash(
    tmp_path: Path,
) -> None:
    path = tmp_path / "large"
    rng = np.random.default_rng(0)
    streamlsh.create(path, dim=64)
    with streamlsh.writer(path) as writer:
        writer.upsert([str(row) for row in range(5_000)], rng.standard_normal((5_000, 64)))

    def ask(reader: streamlsh.Reader, started: threading.Barrier) -> str:
        queries = np.random.default_rng(1).standard_normal((8, 64))
        reader.exact(queries)
        started.wait(timeout=60)
        try:
            while True:
                reader.exact(queries)
                reader.search(queries)
        except ClosedError as error:
            return str(error)

    for _ in range(5):
        reader = streamlsh.open(path)
        started = threading.Barrier(4)
        with ThreadPoolExecutor(3) as pool:
            asking = [pool.submit(ask, reader, started) for _ in range(3)]
            started.wait(timeout=60)
            reader.close()
            assert all("was closed" in future.result(timeout=60) for future in asking)
