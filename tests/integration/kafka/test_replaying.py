"""A consumer that was away for so long that compaction may have removed tombstones it never saw."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path

import pytest

import streamlsh
from streamlsh import Delete
from streamlsh_kafka import Connection, KafkaSource, new_producer
from streamlsh_kafka.testing import Broker, ConsumerProcess
from streamlsh_kafka.testing.fixtures import TopicFactory
from tests.integration.kafka.topics import DIM, catch_up, ids, item, produce, send, wait_until

pytestmark = pytest.mark.broker

COMPACTED = {
    "cleanup.policy": "compact",
    "segment.ms": "100",
    "min.cleanable.dirty.ratio": "0.01",
    "delete.retention.ms": "100",
}


def keys(connection: Connection, topic: str) -> list[tuple[bytes, bool]]:
    """The ids that the topic still speaks of, and whether it is a delete."""
    with closing(KafkaSource(connection, topic)) as source:
        source.start({})
        end = source.end_offsets()[0]
        read: list[tuple[bytes, bool]] = []
        while source.positions()[0].offset < end:
            read += [(r.key or b"", r.value is None) for r in source.poll(1.0, 1000)]
        return read


def forget_a_delete(connection: Connection, topic: str) -> None:
    """Delete ``gone``, and have the tombstone compacted away."""
    with closing(new_producer(connection)) as producer:
        produce(producer, topic, [Delete("gone")])

        def forgotten() -> bool:
            # Segments roll, and so become compactable, only when something is written.
            produce(producer, topic, [item("clock")])
            return all(key != b"gone" for key, _ in keys(connection, topic))

        wait_until(forgotten)


@pytest.fixture
def forgetful(connection: Connection, make_topic: TopicFactory, index: Path) -> str:
    """A topic that has compacted a tombstone away before the index could read it."""
    topic = make_topic(configs=COMPACTED)
    send(connection, topic, *[item(f"i{number:03}") for number in range(200)], item("gone"))
    catch_up(connection, topic, index)
    assert "gone" in ids(index)
    forget_a_delete(connection, topic)
    return topic


def test_a_tombstone_that_was_compacted_away_is_made_up_for_while_readers_are_served(
    broker: Broker, connection: Connection, forgetful: str, index: Path, tmp_path: Path
) -> None:
    with streamlsh.open(index) as reader:
        before = set(ids(index))
        stop, missing = threading.Event(), []

        def read() -> None:
            while not stop.is_set():
                with reader.snapshot() as snapshot:
                    held = {found.id for found in snapshot.items()}
                missing.append(before - held - {"gone"})

        thread = threading.Thread(target=read)
        thread.start()
        where = ["--topic", forgetful, "--bootstrap-servers", broker.bootstrap_servers]
        with ConsumerProcess(str(index), *where, "--batch-records", "16") as consumer:
            consumer.wait_for("replayed")
            [replaying], [replayed] = consumer.events("replaying"), consumer.events("replayed")
            send(connection, forgetful, item("live"))
            wait_until(lambda: "live" in reader)
            assert consumer.terminate() == 0, consumer.lines
        stop.set()
        thread.join()
        assert "gone" not in reader
    assert "deletes may have been missed" in replaying["reason"]
    assert replaying["delete_retention_seconds"] == 0.1
    assert replayed["ghosts"] == 1
    assert len(missing) > 1
    assert not set().union(*missing)
    fresh = tmp_path / "fresh.lsh"
    streamlsh.create(fresh, dim=DIM, family="hyperplane", bits=4, tables=2)
    catch_up(connection, forgetful, fresh)
    with streamlsh.open(fresh) as expected, streamlsh.open(index) as found:
        assert found.digest() == expected.digest()


def test_a_consumer_that_slept_for_so_long_makes_up_for_it_when_it_wakes(
    broker: Broker, connection: Connection, make_topic: TopicFactory, index: Path, tmp_path: Path
) -> None:
    topic = make_topic(configs=COMPACTED | {"delete.retention.ms": "4000"})
    send(connection, topic, item("stays"), item("gone"))
    where = ["--topic", topic, "--bootstrap-servers", broker.bootstrap_servers]
    with (
        ConsumerProcess(
            str(index), *where, module="tests.integration.kafka.refreshing"
        ) as consumer,
        streamlsh.open(index) as reader,
    ):
        wait_until(lambda: "gone" in reader)
        consumer.pause()
        forget_a_delete(connection, topic)
        send(connection, topic, item("new"))
        consumer.resume()
        wait_until(lambda: "new" in reader)
        consumer.wait_for("replayed")
        assert consumer.terminate() == 0, consumer.lines
        assert "deletes may have been missed" in consumer.events("replaying")[0]["reason"]
    assert set(ids(index)) == {"stays", "new", "clock"}
    fresh = tmp_path / "fresh.lsh"
    streamlsh.create(fresh, dim=DIM, family="hyperplane", bits=4, tables=2)
    catch_up(connection, topic, fresh)
    with streamlsh.open(fresh) as expected, streamlsh.open(index) as found:
        assert found.digest() == expected.digest()


def test_the_retention_is_the_topics_own_and_only_of_one_that_is_compacted(
    connection: Connection, make_topic: TopicFactory
) -> None:
    for configs, expected in (
        (COMPACTED, 0.1),
        ({"cleanup.policy": "compact"}, 86_400.0),
        ({"cleanup.policy": "compact,delete", "delete.retention.ms": "5000"}, 5.0),
        ({"cleanup.policy": "delete"}, None),
    ):
        with closing(KafkaSource(connection, make_topic(configs=configs))) as source:
            assert source.delete_retention() == expected
