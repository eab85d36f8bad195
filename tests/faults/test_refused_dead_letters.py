"""The dead-letter topic is gone, or refuses a letter: no progress, a clear word, and on again."""

from __future__ import annotations

import os
import time
from contextlib import closing
from pathlib import Path

import pytest
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType, NewTopic

import streamlsh
from streamlsh_kafka import Connection, new_producer
from streamlsh_kafka.dead_letters import SAY_SECONDS
from streamlsh_kafka.testing import Broker, ConsumerProcess
from streamlsh_kafka.testing.fixtures import TopicFactory
from tests.integration.kafka.topics import ids, items, last_line, send, wait_until

pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]

AWAY_SECONDS = float(os.environ.get("STREAMLSH_BROKER_AWAY", "3"))
"""For how long the topic is away; `make soak` makes it longer than one letter's time."""
BAD = b"\xc1" + bytes(20_000)


def send_bad(connection: Connection, topic: str) -> None:
    with closing(new_producer(connection)) as producer:
        producer.send(topic, key=b"bad", value=BAD).get(30)


def offset(index: Path) -> int:
    with streamlsh.open(index) as reader:
        [position] = reader.positions.values()
        return position.offset


def allow(admin: KafkaAdminClient, topic: str, largest: int) -> None:
    settings = {"max.message.bytes": str(largest)}
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs=settings)])


def test_a_letter_that_the_broker_refuses_stops_the_consumer_before_the_record(
    broker: Broker,
    connection: Connection,
    make_topic: TopicFactory,
    index: Path,
    admin: KafkaAdminClient,
) -> None:
    topic, dead = make_topic(), make_topic(configs={"max.message.bytes": "2000"})
    where = ["--topic", topic, "--bootstrap-servers", broker.bootstrap_servers]
    where += ["--dead-letter-topic", dead]
    with ConsumerProcess(str(index), *where) as consumer:
        send(connection, topic, *items("a"))
        consumer.wait_for("commit")
        send_bad(connection, topic)
        send(connection, topic, *items("b"))
        line = last_line(consumer)
    for _ in range(2):  # whoever supervises it may start it as often as he likes
        assert f"dead letters were not acknowledged by topic {dead}" in line
        assert "nothing of their batch is committed" in line
        assert (ids(index), offset(index)) == (["a"], 1)
        with ConsumerProcess(str(index), *where) as consumer:
            line = last_line(consumer)
    allow(admin, dead, 1_000_000)
    with ConsumerProcess(str(index), *where, "--until-end") as consumer:
        assert consumer.wait() == 0, consumer.lines
        assert [(e["reason"], e["count"]) for e in consumer.events("dead_letters")] == [
            ("bad-msgpack", 1)
        ]
    assert (ids(index), offset(index)) == (["a", "b"], 3)


def test_a_consumer_waits_for_a_dead_letter_topic_that_was_deleted_and_goes_on_when_it_is_back(
    broker: Broker,
    connection: Connection,
    make_topic: TopicFactory,
    index: Path,
    admin: KafkaAdminClient,
) -> None:
    topic, dead = make_topic(), make_topic()
    where = ["--topic", topic, "--bootstrap-servers", broker.bootstrap_servers]
    where += ["--dead-letter-topic", dead]
    with ConsumerProcess(str(index), *where) as consumer:
        send(connection, topic, *items("a"))
        consumer.wait_for("commit")
        admin.delete_topics([dead])
        wait_until(lambda: bool(admin.describe_topics([dead])[0]["error_code"]))
        send_bad(connection, topic)
        send(connection, topic, *items("b"))
        consumer.wait_for("dead_letters_waiting")
        said = consumer.events("dead_letters_waiting")[0]
        assert (said["topic"], said["letters"], said["level"]) == (dead, 1, "warning")
        assert (ids(index), offset(index)) == (["a"], 1)
        # Asked to stop, it does, with nothing of the batch committed; the next start waits again.
        asked = time.monotonic()
        assert consumer.terminate() == 0, consumer.lines
        assert time.monotonic() - asked < 5.0
        assert "1 dead letters were not acknowledged" in consumer.events("given_up")[0]["error"]
        assert consumer.events("stopped")[0]["positions"] == "0:1"
    assert (ids(index), offset(index)) == (["a"], 1)
    admin.create_topics([NewTopic(dead, 1, 1)])
    with ConsumerProcess(str(index), *where) as consumer:
        wait_until(lambda: ids(index) == ["a", "b"])
        admin.delete_topics([dead])
        wait_until(lambda: bool(admin.describe_topics([dead])[0]["error_code"]))
        gone = time.monotonic()
        send_bad(connection, topic)
        times = 1 + int(AWAY_SECONDS / SAY_SECONDS)
        consumer.wait_for("dead_letters_waiting", count=times, seconds=AWAY_SECONDS + 60)
        wait_until(lambda: time.monotonic() >= gone + AWAY_SECONDS, AWAY_SECONDS + 60)
        assert consumer.process.poll() is None
        assert offset(index) == 3
        admin.create_topics([NewTopic(dead, 1, 1)])
        wait_until(lambda: offset(index) == 4)
        assert consumer.terminate() == 0, consumer.lines
        assert consumer.events("stopped")[0]["dead_letters"] == 2
        # Said in one line every ten seconds, and not by the client ten times in one.
        assert len([line for line in consumer.lines if "not found in cluster" in line]) < 5
