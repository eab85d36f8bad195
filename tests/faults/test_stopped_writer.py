"""A writer that is stopped in the middle of a commit: readers go on, and opening waits for it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

import streamlsh
from streamlsh_kafka import UpdateLogAppender
from streamlsh_kafka.testing import ConsumerProcess
from tests.integration.processes import finish, start

DIM = 8
IDS = [f"{row}" for row in range(50)]
ROWS = np.random.default_rng(6).standard_normal((50, DIM)).astype(np.float32)


@pytest.mark.parametrize("ending", [signal.SIGCONT, signal.SIGKILL])
def test_readers_that_are_open_go_on_and_one_that_opens_waits_until_the_writer_goes_on_or_ends(
    tmp_path: Path, ending: signal.Signals
) -> None:
    path = tmp_path / "index"
    streamlsh.create(path, dim=DIM, family="hyperplane", bits=4, tables=2)
    with streamlsh.writer(path) as writer:
        writer.upsert(IDS, ROWS)
    with streamlsh.open(path) as reader:
        stopped = start("stopping_inside", path)
        try:
            assert stopped.stdout is not None
            assert stopped.stdin is not None
            assert stopped.stdout.readline() == "inside\n"
            stopped.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, stopped.pid, os.WSTOPPED | os.WNOWAIT)
            reader.verify()
            assert reader.search(ROWS[3], 1).ids[0] == "3"
            opening = start("opening_aside", path)
            assert opening.stdout is not None
            assert opening.stdout.readline() == "waiting\n"
            stopped.stdin.write("go on\n")
            stopped.stdin.flush()
            stopped.send_signal(ending)
            assert finish(opening) == "50\n"
        finally:
            stopped.kill()
            stopped.communicate(timeout=60)


def test_a_consumer_that_waits_for_a_stopped_writer_ends_when_it_is_told_to(tmp_path: Path) -> None:
    path, log = tmp_path / "index", tmp_path / "updates.log"
    streamlsh.create(path, dim=DIM, family="hyperplane", bits=4, tables=2)
    UpdateLogAppender(log).close()
    stopped = start("stopping_inside", path)
    try:
        assert stopped.stdout is not None
        assert stopped.stdout.readline() == "inside\n"
        with ConsumerProcess(str(path), "--update-log", str(log)) as waiting:
            maps = Path(f"/proc/{waiting.process.pid}/maps")
            deadline = time.monotonic() + 60
            while str(path) not in maps.read_text():
                assert time.monotonic() < deadline
                time.sleep(0.05)
            assert waiting.terminate() == -signal.SIGTERM
    finally:
        stopped.kill()
        stopped.communicate(timeout=60)
