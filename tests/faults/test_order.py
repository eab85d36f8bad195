"""Updates that come late, twice or in two partitions: the newest version wins, and is counted."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from kafka import KafkaAdminClient
from kafka.admin import NewPartitions

import streamlsh
from streamlsh import Delete, Upsert
from streamlsh_kafka import Connection, encode_update, new_producer
from streamlsh_kafka.testing import Broker, ConsumerProcess
from streamlsh_kafka.testing.fixtures import TopicFactory
from tests.integration.kafka.topics import DIM, send

pytestmark = pytest.mark.broker


def upsert(name: str, value: float, version: int) -> Upsert:
    return Upsert(name, np.full(DIM, value, np.float32), version)


def send_to(connection: Connection, topic: str, partition: int, *updates: Upsert | Delete) -> None:
    with closing(new_producer(connection)) as producer:
        for update in updates:
            key, value, headers = encode_update(update)
            producer.send(topic, key=key, value=value, headers=headers, partition=partition)
        producer.flush(30)


def counted(consumer: ConsumerProcess, outcome: str) -> int:
    return sum(commit[outcome] for commit in consumer.events("commit"))


def test_what_is_not_newer_changes_nothing_and_is_counted(
    broker: Broker, connection: Connection, make_topic: TopicFactory, index: Path
) -> None:
    topic = make_topic()
    where = ["--topic", topic, "--bootstrap-servers", broker.bootstrap_servers]
    unversioned = Upsert("c", np.ones(DIM, np.float32))
    send(connection, topic, upsert("a", 1, 5), upsert("b", 1, 5), Delete("b", 9), unversioned)
    with ConsumerProcess(str(index), *where, "--until-end") as consumer:
        assert consumer.wait() == 0, consumer.lines
        assert counted(consumer, "stale") == counted(consumer, "unchanged") == 0
    with streamlsh.open(index) as reader:
        digest = reader.digest()
    late: list[Upsert | Delete] = [
        upsert("a", 2, 4),  # older than what is there
        upsert("b", 2, 8),  # older than its delete
        Delete("a", 3),  # a delete that is older
        upsert("a", 3, 5),  # an equal version with another vector
        upsert("a", 1, 5),  # the same again
        Delete("b", 9),
    ]
    send(connection, topic, *late, unversioned)
    with ConsumerProcess(str(index), *where, "--until-end") as consumer:
        assert consumer.wait() == 0, consumer.lines
        outcomes = {
            outcome: counted(consumer, outcome)
            for outcome in ("inserted", "replaced", "deleted", "unchanged", "absent", "stale")
        }
    assert outcomes == dict.fromkeys(outcomes, 0) | {"stale": len(late), "unchanged": 1}
    with streamlsh.open(index) as reader:
        assert reader.digest() == digest
        assert [position.offset for position in reader.positions.values()] == [5 + len(late)]


@pytest.mark.parametrize("newest", [0, 1])
def test_a_key_that_moved_to_a_partition_added_later_is_settled_by_its_version(
    broker: Broker,
    connection: Connection,
    make_topic: TopicFactory,
    index: Path,
    admin: KafkaAdminClient,
    newest: int,
) -> None:
    topic = make_topic()
    where = ["--topic", topic, "--bootstrap-servers", broker.bootstrap_servers]
    with ConsumerProcess(str(index), *where) as consumer:
        send(connection, topic, upsert("a", 1, 1), upsert("b", 1, 1))
        consumer.wait_for("commit")
        admin.create_partitions({topic: NewPartitions(2)})
        consumer.wait_for("partitions_added")
        # Both partitions hold updates of both keys, and nothing says in which order they come.
        send_to(connection, topic, newest, upsert("a", 3, 3), Delete("b", 3))
        send_to(connection, topic, 1 - newest, upsert("a", 2, 2), upsert("b", 2, 2))
        assert consumer.terminate() == 0
    with ConsumerProcess(str(index), *where, "--until-end") as again:
        assert again.wait() == 0, again.lines
    with streamlsh.open(index) as reader:
        found = reader.get("a")
        assert found is not None
        assert (found.version, found.vector[0]) == (3, 3.0)
        assert "b" not in reader
        assert {p.partition: p.offset for p in reader.positions.values()} == {0: 4, 1: 2}
