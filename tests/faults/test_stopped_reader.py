"""A reader that is stopped with a snapshot open holds up nobody, and is named."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np

import streamlsh
from streamlsh.storage.schema import DATA
from streamlsh.writing import READER_CHECK_COMMITS
from tests.integration.processes import start

DIM = 8
IDS = [f"{row}" for row in range(200)]
ROWS = np.random.default_rng(5).standard_normal((200, DIM)).astype(np.float32)
COMMITS = 2 * READER_CHECK_COMMITS


def file_bytes(path: Path) -> int:
    return (path / DATA).stat().st_size


def test_a_stopped_reader_is_named_while_the_writer_goes_on_and_freed_once_it_is_killed(
    tmp_path: Path,
) -> None:
    path = tmp_path / "index"
    streamlsh.create(path, dim=DIM, family="hyperplane", bits=4, tables=2)
    with streamlsh.writer(path) as writer, streamlsh.open(path) as reader:

        def churn() -> None:
            for turn in range(COMMITS):
                writer.upsert(IDS, ROWS + turn)
                writer.commit()

        churn()
        stopped = start("pinning", path)
        try:
            assert stopped.stdout is not None
            assert stopped.stdout.readline() == "pinned\n"
            stopped.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, stopped.pid, os.WSTOPPED | os.WNOWAIT)
            before, small = writer.commit_number, file_bytes(path)
            churn()
            assert writer.commit_number == before + COMMITS
            assert file_bytes(path) > small
            oldest = reader.info()["oldest_snapshot"]
            assert oldest["pid"] == stopped.pid
            assert "tests.integration.pinning" in oldest["command"]
            assert oldest["outdated_seconds"] > 0.0
        finally:
            stopped.kill()
            stopped.communicate(timeout=60)
        churn()
        assert reader.info()["oldest_snapshot"] is None
        settled = file_bytes(path)
        churn()
        assert file_bytes(path) == settled  # what it kept is used again
        assert stopped.pid not in [row.pid for row in writer.readers()]
        reader.verify()
