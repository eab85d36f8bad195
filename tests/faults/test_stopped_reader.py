"""A reader that is stopped with a snapshot open holds up nobody, and is named.

``STREAMLSH_READER_STOPPED`` is for how many seconds it is stopped while a consumer goes on; `make
soak` makes it two minutes, after which the consumer has warned of it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest

import streamlsh
from streamlsh import Upsert
from streamlsh.storage.schema import DATA
from streamlsh.writing import READER_CHECK_COMMITS
from streamlsh_kafka import Connection, new_producer
from streamlsh_kafka.observers import LOOK_SECONDS, OLD_SECONDS
from streamlsh_kafka.testing import Broker, ConsumerProcess
from streamlsh_kafka.testing.fixtures import TopicFactory
from tests.integration.kafka.topics import produce, wait_until
from tests.integration.processes import start

DIM = 8
IDS = [f"{row}" for row in range(200)]
ROWS = np.random.default_rng(5).standard_normal((200, DIM)).astype(np.float32)
COMMITS = 2 * READER_CHECK_COMMITS
STOPPED_SECONDS = float(os.environ.get("STREAMLSH_READER_STOPPED", "3"))
MAP = 1 << 30
PAUSE_SECONDS = 0.05
"""Between two commits: without it two minutes of them would fill the map, and end the consumer."""


def file_bytes(path: Path) -> int:
    return (path / DATA).stat().st_size


@contextmanager
def stopped_reader(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds a snapshot and is stopped; it is killed at the end."""
    stopped = start("pinning", path)
    try:
        assert stopped.stdout is not None
        assert stopped.stdout.readline() == "pinned\n"
        stopped.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, stopped.pid, os.WSTOPPED | os.WNOWAIT)
        yield stopped
    finally:
        stopped.kill()
        stopped.communicate(timeout=60)


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
        with stopped_reader(path) as stopped:
            before, small = writer.commit_number, file_bytes(path)
            churn()
            assert writer.commit_number == before + COMMITS
            assert file_bytes(path) > small
            oldest = reader.info()["oldest_snapshot"]
            assert oldest["pid"] == stopped.pid
            assert "tests.integration.pinning" in oldest["command"]
            assert oldest["outdated_seconds"] > 0.0
        churn()
        assert reader.info()["oldest_snapshot"] is None
        settled = file_bytes(path)
        churn()
        assert file_bytes(path) == settled  # what it kept is used again
        assert stopped.pid not in [row.pid for row in writer.readers()]
        reader.verify()


@pytest.mark.broker
@pytest.mark.timeout(300)
def test_a_consumer_goes_on_beside_a_stopped_reader_names_it_and_uses_its_pages_again(
    broker: Broker, connection: Connection, make_topic: TopicFactory, tmp_path: Path
) -> None:
    topic, path = make_topic(), tmp_path / "index"
    streamlsh.create(path, dim=DIM, family="hyperplane", bits=4, tables=2, map_size=MAP)
    turn = 0
    with (
        closing(new_producer(connection)) as producer,
        ConsumerProcess(
            str(path), "--topic", topic, "--bootstrap-servers", broker.bootstrap_servers
        ) as consumer,
        streamlsh.open(path) as reader,
    ):

        def churn(seconds: float) -> None:
            """Replace all items again and again, each time in a commit of its own."""
            nonlocal turn
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                turn += 1
                rows = ROWS + turn
                produce(producer, topic, map(Upsert, IDS, rows))
                time.sleep(PAUSE_SECONDS)
                wait_until(lambda row=rows[-1]: np.array_equal(newest(reader), row))  # type: ignore[misc]

        churn(1.0)
        with stopped_reader(path) as stopped:
            before = reader.commit
            churn(STOPPED_SECONDS)
            assert reader.commit > before
            assert file_bytes(path) < 0.9 * MAP  # else the limit had ended the consumer
            oldest = reader.info()["oldest_snapshot"]
            assert oldest["pid"] == stopped.pid
            said = consumer.events("old_snapshot")
            if STOPPED_SECONDS > OLD_SECONDS + 2 * LOOK_SECONDS:
                assert {event["pid"] for event in said} == {stopped.pid}
                assert "tests.integration.pinning" in said[0]["command"]
        churn(2.0)
        assert reader.info()["oldest_snapshot"] is None
        settled = file_bytes(path)
        churn(2.0)
        assert file_bytes(path) == settled  # what it kept is used again
        assert consumer.terminate() == 0, consumer.lines
        reader.verify()


def newest(reader: streamlsh.Reader) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    found = reader.get(IDS[-1])
    return np.zeros(DIM, np.float32) if found is None else found.vector
