"""Offsets without a record: compaction, aborted transactions, markers at the end of a topic."""

from __future__ import annotations

import uuid
from contextlib import closing
from pathlib import Path

import pytest

import streamlsh
from streamlsh_kafka import Connection, KafkaSource, new_producer
from streamlsh_kafka.testing import Broker, ConsumerProcess
from streamlsh_kafka.testing.fixtures import TopicFactory
from tests.integration.kafka.topics import (
    ids,
    item,
    items,
    new_index,
    produce,
    send,
    status,
    wait_until,
)

pytestmark = pytest.mark.broker

COMPACTED = {
    "cleanup.policy": "compact",
    "segment.ms": "100",
    "min.cleanable.dirty.ratio": "0.01",
    "delete.retention.ms": "100",
}
ROUNDS = 40


def holes(connection: Connection, topic: str) -> int:
    """How many offsets up to the topic's end hold no record that may be seen."""
    with closing(KafkaSource(connection, topic)) as source:
        source.start({})
        end = source.end_offsets()[0]
        seen = 0
        while source.positions()[0].offset < end:
            seen += len(source.poll(1.0, 1000))
        return end - seen


def test_a_running_consumer_passes_every_gap_and_shows_nothing_that_was_aborted(
    broker: Broker, connection: Connection, make_topic: TopicFactory, index: Path
) -> None:
    topic = make_topic(configs=COMPACTED)
    where = ["--topic", topic, "--bootstrap-servers", broker.bootstrap_servers]
    with (
        ConsumerProcess(str(index), *where) as consumer,
        closing(new_producer(connection, transactional_id=uuid.uuid4().hex)) as producer,
        streamlsh.open(index) as reader,
    ):
        producer.init_transactions()
        for number in range(ROUNDS):
            producer.begin_transaction()
            produce(producer, topic, [item("a", -1.0), item("aborted")])
            producer.abort_transaction()
            producer.begin_transaction()
            produce(producer, topic, [item("a", number + 1.0)])
            producer.commit_transaction()
            assert "aborted" not in reader
        # The topic ends with a marker, which no client is ever given.
        wait_until(lambda: status(str(index), *where)["lag"] == 0)
        found = reader.get("a")
        assert found is not None
        assert found.vector[0] == ROUNDS
        assert consumer.terminate() == 0
        # Some of them may have been compacted away before they were read.
        assert consumer.events("stopped")[0]["records"] <= ROUNDS

    def compacted() -> bool:
        # Segments roll, and so become compactable, only when something is written.
        send(connection, topic, *items("b"))
        return holes(connection, topic) > 4 * ROUNDS

    wait_until(compacted)
    fresh = index.with_name("fresh")
    new_index(fresh)
    for path in (index, fresh):
        with ConsumerProcess(str(path), *where, "--until-end") as consumer:
            assert consumer.wait() == 0, consumer.lines
        assert status(str(path), *where)["lag"] == 0
        assert ids(path) == ["a", "b"]
    with streamlsh.open(index) as followed, streamlsh.open(fresh) as replayed:
        assert followed.digest() == replayed.digest()
        # The first one may have read the topic again meanwhile: its deletes are kept for no time.
        assert followed.positions[topic, 0] == replayed.positions[topic, 0]
