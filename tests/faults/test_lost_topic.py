"""The topic is not any more what the index was built from: the consumer stops and says so."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import NewTopic

import streamlsh
from streamlsh_kafka import Connection, KafkaSource, consume
from streamlsh_kafka.connection import quiet_client
from streamlsh_kafka.errors import OffsetBeyondEndError
from streamlsh_kafka.testing import Broker, ConsumerProcess, JarBroker
from streamlsh_kafka.testing.fixtures import TopicFactory
from tests.integration.kafka.topics import (
    catch_up,
    ids,
    items,
    last_line,
    new_index,
    send,
    wait_until,
)

pytestmark = pytest.mark.broker


def started(broker: Broker, topic: str, index: Path) -> ConsumerProcess:
    return ConsumerProcess(
        str(index), "--topic", topic, "--bootstrap-servers", broker.bootstrap_servers
    )


def offset(index: Path) -> int:
    with streamlsh.open(index) as reader:
        [position] = reader.positions.values()
        return position.offset


def fall_below_the_start(admin: KafkaAdminClient, connection: Connection, topic: str) -> None:
    send(connection, topic, *items("b"))
    send(connection, topic, *items("lost", "c"))
    admin.delete_records({TopicPartition(topic, 0): 3})


def delete(admin: KafkaAdminClient, _: Connection, topic: str) -> None:
    admin.delete_topics([topic])
    wait_until(lambda: bool(admin.describe_topics([topic])[0]["error_code"]))


def create_anew(admin: KafkaAdminClient, connection: Connection, topic: str) -> None:
    delete(admin, connection, topic)

    def created() -> bool:
        admin.create_topics([NewTopic(topic, 1, 1)], raise_errors=False)
        return not admin.describe_topics([topic])[0]["error_code"]

    wait_until(created)
    admin.wait_for_topics([topic])
    send(connection, topic, *items("other", "last"))


Loss = Callable[[KafkaAdminClient, Connection, str], None]
LOSSES = pytest.mark.parametrize(
    ("lose", "said"),
    [
        (fall_below_the_start, ["offsets were removed", "Build a new index", "--accept-gap"]),
        (delete, ["cannot be read (UnknownTopicOrPartitionError)", "create it"]),
        (create_anew, ["was deleted and created again", "Build a new index"]),
    ],
)


@LOSSES
def test_a_start_on_a_topic_that_lost_what_the_index_needs_ends_with_the_choices(
    broker: Broker,
    connection: Connection,
    make_topic: TopicFactory,
    index: Path,
    admin: KafkaAdminClient,
    lose: Loss,
    said: list[str],
) -> None:
    topic = make_topic()
    send(connection, topic, *items("a"))
    catch_up(connection, topic, index)
    lose(admin, connection, topic)
    for _ in range(2):  # trying again changes nothing
        with started(broker, topic, index) as consumer:
            line = last_line(consumer)
        assert all(part in line for part in [topic, *said]), line
        assert (ids(index), offset(index)) == (["a"], 1)


@LOSSES
def test_a_consumer_whose_topic_is_lost_while_it_runs_ends_with_the_choices(
    broker: Broker,
    connection: Connection,
    make_topic: TopicFactory,
    index: Path,
    admin: KafkaAdminClient,
    lose: Loss,
    said: list[str],
) -> None:
    topic = make_topic()
    send(connection, topic, *items("a"))
    with started(broker, topic, index) as consumer:
        consumer.wait_for("commit")
        # Running, it would read faster than records can be removed.
        consumer.pause()
        lose(admin, connection, topic)
        consumer.resume()
        line = last_line(consumer)
    assert all(part in line for part in [topic, *said]), line
    # The answer to a fetch that was under way may still have come from before the loss.
    assert ids(index) in (["a"], ["a", "b"])


def cut_the_log(broker: JarBroker, topic: str, records: int) -> None:
    """Take the last records of a topic's only partition from the disk of a broker that is down."""
    folder = broker.directory / "log" / f"{topic}-0"
    [log] = folder.glob("*.log")
    data = log.read_bytes()
    starts = []
    at = 0
    while at < len(data):  # a batch: base offset (8), length of what follows (4), and that
        starts.append(at)
        at += 12 + int.from_bytes(data[at + 8 : at + 12], "big")
    log.write_bytes(data[: starts[-records]])
    for other in folder.iterdir():
        if other.suffix in {".index", ".timeindex", ".snapshot"}:
            other.unlink()


@pytest.mark.slow
def test_a_topic_that_lost_its_end_stops_the_consumer_with_the_choices(
    own_broker: JarBroker, tmp_path: Path
) -> None:
    """One consumer runs meanwhile, one starts later, one sleeps until others fill the gap.

    And one starts only then: nothing but the leader's epoch tells that it would go on in the middle
    of what is new.
    """
    connection = Connection(own_broker.bootstrap_servers)
    names = ["running", "restarted", "refilled", "late"]
    with closing(KafkaAdminClient(bootstrap_servers=own_broker.bootstrap_servers)) as admin:
        admin.create_topics([NewTopic(topic, 1, 1) for topic in names])
        admin.wait_for_topics(names)
    for topic in names:
        for name in ("a", "b", "c"):
            send(connection, topic, *items(name))
    indexes = {topic: new_index(tmp_path / topic) for topic in names}
    with ExitStack() as stack:
        consumers = {
            topic: stack.enter_context(started(own_broker, topic, indexes[topic]))
            for topic in names
        }
        for topic in names:
            wait_until(lambda topic=topic: ids(indexes[topic]) == ["a", "b", "c"])  # type: ignore[misc]
        for topic in ("restarted", "late"):
            assert consumers[topic].terminate() == 0
        consumers["refilled"].pause()
        own_broker.kill()
        for topic in names:
            cut_the_log(own_broker, topic, 2)
        own_broker.start()
        for topic in ("refilled", "late"):
            send(connection, topic, *items("v", "w", "x", "y", "z"))
        consumers["refilled"].resume()
        for topic in ("restarted", "late"):
            consumers[topic] = stack.enter_context(started(own_broker, topic, indexes[topic]))
        for topic in names:
            line = last_line(consumers[topic])
            for part in (f"{topic}[0] ends at offset 1", "read up to 3", "Build a new index"):
                assert part in line
            assert (ids(indexes[topic]), offset(indexes[topic])) == (["a", "b", "c"], 3)


def follow(
    connection: Connection, topic: str, index: Path, *, after: float = 0.0
) -> list[streamlsh.Position]:
    """What is stored once a topic was followed for a second, ``after`` seconds from now."""
    deadline = time.monotonic() + 1.0
    with (
        streamlsh.writer(index) as writer,
        closing(KafkaSource(connection, topic)) as source,
    ):
        consume(
            writer, source, stop_requested=lambda: time.monotonic() > deadline,
            clock=lambda: time.time() + after,
        )  # fmt: skip
        return list(writer.positions.values())


@pytest.mark.slow
def test_a_refilled_topic_is_noticed_after_a_run_without_news_and_before_a_replay(
    own_broker: JarBroker, tmp_path: Path
) -> None:
    """An answer without records tells no epoch, and a replay begins where nothing is missing."""
    connection = Connection(own_broker.bootstrap_servers)
    retention = {"cleanup.policy": "compact", "delete.retention.ms": "100000"}
    names = ["idle", "replayed"]
    with closing(KafkaAdminClient(bootstrap_servers=own_broker.bootstrap_servers)) as admin:
        admin.create_topics([
            NewTopic("idle", 1, 1), NewTopic("replayed", 1, 1, topic_configs=retention)
        ])  # fmt: skip
        admin.wait_for_topics(names)
    indexes = {topic: new_index(tmp_path / topic) for topic in names}
    for topic in names:
        for name in ("a", "b", "c"):
            send(connection, topic, *items(name))
        wait_until(lambda topic=topic: follow(connection, topic, indexes[topic])[0].offset == 3)  # type: ignore[misc]
    before = follow(connection, "idle", indexes["idle"])
    assert follow(connection, "idle", indexes["idle"]) == before
    assert before[0].epoch is not None
    with closing(KafkaSource(connection, "idle")) as running:
        running.start({(before[0].stream, 0): before[0]})
        assert list(running.poll(1.0, 10)) == []
        own_broker.kill()
        for topic in names:
            cut_the_log(own_broker, topic, 2)
        own_broker.start()
        for topic in names:
            send(connection, topic, *items("v", "w", "x", "y", "z"))

        def poll_for_a_while() -> None:
            for _ in range(20):
                assert list(running.poll(0.5, 10)) == [], "from the middle of what is new"

        with pytest.raises(OffsetBeyondEndError, match="ends at offset 1, the index has read up"):
            poll_for_a_while()
    for topic, after in (("idle", 0.0), ("replayed", 90.0)):
        with pytest.raises(OffsetBeyondEndError, match="ends at offset 1, the index has read up"):
            follow(connection, topic, indexes[topic], after=after)
        assert (ids(indexes[topic]), offset(indexes[topic])) == (["a", "b", "c"], 3)


def meet_a_cut_log(broker: JarBroker, topic: str) -> tuple[int, int]:
    """A source holds a record that it cannot confirm when the broker dies; its error's offsets."""
    connection = Connection(broker.bootstrap_servers)
    for name in ("a", "b"):
        send(connection, topic, *items(name))
    with closing(KafkaSource(connection, topic)) as source:
        source.start({})
        wait_until(lambda: source.poll(0.1, 10) is not None and source.positions()[0].offset == 2)
        send(connection, topic, *items("c"))
        take = source._wait

        def take_and_die(timeout: float) -> Any:
            records = take(timeout)
            broker.kill()
            return records

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(source, "_wait", take_and_die)
            assert list(source.poll(5, 10)) == []
        assert source.positions()[0].offset == 2
        cut_the_log(broker, topic, 2)
        broker.start()
        send(connection, topic, *items("v", "w", "x", "y", "z"))
        deadline = time.monotonic() + 30
        try:
            while time.monotonic() < deadline:
                assert list(source.poll(0.5, 10)) == [], "from the middle of what is new"
        except OffsetBeyondEndError as error:
            return error.stored, error.limit
    pytest.fail("nothing was noticed")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_a_log_that_is_cut_and_filled_while_the_client_goes_back_is_noticed(
    own_broker: JarBroker,
) -> None:
    topic = "cut"
    with closing(KafkaAdminClient(bootstrap_servers=own_broker.bootstrap_servers)) as admin:
        admin.create_topics([NewTopic(topic, 1, 1)])
        admin.wait_for_topics([topic])
    with quiet_client():  # what is logged keeps the client's sockets
        assert meet_a_cut_log(own_broker, topic) == (2, 1)
    gc.collect()
