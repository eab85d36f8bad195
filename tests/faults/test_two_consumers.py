"""Two consumers of one index: the second is refused, and one that was replaced writes nothing."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import streamlsh
from streamlsh_kafka import Connection
from streamlsh_kafka.testing import Broker, ConsumerProcess
from streamlsh_kafka.testing.fixtures import TopicFactory
from tests.integration.kafka.topics import ids, items, last_line, new_index, send, wait_until

pytestmark = pytest.mark.broker

BUSY_RECORDS = 6_000


def content(index: Path) -> tuple[int, str, int]:
    with streamlsh.open(index) as reader:
        [position] = reader.positions.values()
        return reader.commit, reader.digest(), position.offset


def test_a_second_consumer_is_refused_again_and_again_and_disturbs_nothing(
    broker: Broker, connection: Connection, make_topic: TopicFactory, index: Path
) -> None:
    topic = make_topic()
    where = ["--topic", topic, "--bootstrap-servers", broker.bootstrap_servers]
    with ConsumerProcess(str(index), *where) as first:
        first.wait_for("started")
        for name in ("a", "b"):
            with ConsumerProcess(str(index), *where) as second:
                line = last_line(second)
            assert f"another writer holds {index} (pid {first.process.pid} on " in line
            assert "Stop the other one first" in line
            send(connection, topic, *items(name))
            wait_until(lambda name=name: name in ids(index))  # type: ignore[misc]
        assert first.terminate() == 0


def remove_the_lock(index: Path) -> None:
    """As somebody does who takes a consumer that hangs for dead, and its lock for stale."""
    (index / "writer.lock").unlink()


def replace_the_lock(index: Path) -> None:
    """As a restore of the directory's files from a copy does."""
    shutil.copy(index / "writer.lock", index / "writer.lock.copy")
    (index / "writer.lock.copy").replace(index / "writer.lock")


def pause(consumer: ConsumerProcess, index: Path, *, committing: bool) -> None:
    """Stop a busy consumer between two commits, or in the middle of one."""
    ask = "import lmdb, sys; lmdb.open(sys.argv[1], create=False).begin(write=True).abort()"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        consumer.pause()
        try:
            subprocess.run([sys.executable, "-c", ask, index], check=True, timeout=2)
            waits = False
        except subprocess.TimeoutExpired:
            waits = True
        if waits == committing:
            return
        consumer.resume()
        consumer.wait_for("commit", count=len(consumer.events("commit")) + 1)
    pytest.fail("the consumer was never stopped where it should be")


@pytest.mark.parametrize("take_over", [remove_the_lock, replace_the_lock])
def test_an_idle_consumer_that_wakes_after_another_took_over_is_fenced(
    broker: Broker,
    connection: Connection,
    make_topic: TopicFactory,
    index: Path,
    take_over: Callable[[Path], None],
) -> None:
    topic = make_topic()
    where = ["--topic", topic, "--bootstrap-servers", broker.bootstrap_servers]
    with ConsumerProcess(str(index), *where) as zombie:
        send(connection, topic, *items("before"))
        zombie.wait_for("commit")
        zombie.pause()
        take_over(index)
        with ConsumerProcess(str(index), *where) as successor:
            send(connection, topic, *items("after"))
            successor.wait_for("commit")
            zombie.resume()
            # What comes next is read by both, and written by one.
            send(connection, topic, *items("last"))
            assert "another writer took" in last_line(zombie)
            wait_until(lambda: "last" in ids(index))
            assert successor.terminate() == 0
        assert len(zombie.events("commit")) == 1
    assert content(index)[2] == 3
    assert sorted(ids(index)) == ["after", "before", "last"]


def test_a_consumer_that_wakes_with_a_batch_in_hand_writes_nothing_of_it(
    broker: Broker, connection: Connection, make_topic: TopicFactory, index: Path
) -> None:
    topic = make_topic()
    where = ["--topic", topic, "--bootstrap-servers", broker.bootstrap_servers]
    where += ["--batch-records", "20"]
    send(connection, topic, *items(*[f"i{n}" for n in range(BUSY_RECORDS)]))
    with ConsumerProcess(str(index), *where) as zombie:
        zombie.wait_for("commit")
        pause(zombie, index, committing=False)
        at = content(index)
        assert at[2] < BUSY_RECORDS
        remove_the_lock(index)
        with ConsumerProcess(str(index), *where, "--until-end") as successor:
            assert successor.wait() == 0
        taken = content(index)
        zombie.resume()
        assert "another writer took" in last_line(zombie)
        assert len(zombie.events("commit")) <= at[0]
    assert content(index) == taken
    assert taken[2] == BUSY_RECORDS
    with streamlsh.open(index) as reader:
        assert reader.info()["writer_epoch"] == 2
        reader.verify()


def test_a_consumer_that_is_stopped_in_a_commit_holds_the_index_until_it_is_killed(
    broker: Broker, connection: Connection, make_topic: TopicFactory, index: Path
) -> None:
    topic = make_topic()
    where = ["--topic", topic, "--bootstrap-servers", broker.bootstrap_servers]
    send(connection, topic, *items(*[f"i{n}" for n in range(BUSY_RECORDS)]))
    with (
        ConsumerProcess(str(index), *where, "--batch-records", "20") as zombie,
        streamlsh.open(index) as reader,
    ):
        zombie.wait_for("commit")
        pause(zombie, index, committing=True)
        stands = reader.digest()
        remove_the_lock(index)
        with ConsumerProcess(str(index), *where, "--until-end") as successor:
            with pytest.raises(TimeoutError):
                successor.wait_for("started", seconds=3)
            # Nobody can write, and readers that are open go on with the last commit.
            assert reader.digest() == stands
            assert zombie.kill() == -9
            assert successor.wait() == 0, successor.lines
        assert len(reader) == BUSY_RECORDS
        reader.verify()


def test_a_consumer_whose_index_was_put_aside_writes_nothing_to_the_one_in_its_place(
    broker: Broker, connection: Connection, make_topic: TopicFactory, index: Path, tmp_path: Path
) -> None:
    topic = make_topic()
    where = ["--topic", topic, "--bootstrap-servers", broker.bootstrap_servers]
    with ConsumerProcess(str(index), *where) as zombie:
        send(connection, topic, *items("a"))
        zombie.wait_for("commit")
        zombie.pause()
        index.rename(tmp_path / "aside")
        new_index(index)
        with ConsumerProcess(str(index), *where, "--until-end") as successor:
            assert successor.wait() == 0
        taken = content(index)
        zombie.resume()
        send(connection, topic, *items("b"))
        zombie.wait_for("commit", count=2)
        assert zombie.terminate() == 0
    assert content(index) == taken
    assert ids(index) == ["a"]
    assert ids(tmp_path / "aside") == ["a", "b"]
