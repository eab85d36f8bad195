"""The broker hangs: it takes connections and answers nothing. SIGTERM does not wait for it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from kafka import KafkaAdminClient
from kafka.admin import NewTopic

from streamlsh_kafka import Connection, new_producer
from streamlsh_kafka.testing import ConsumerProcess, JarBroker
from tests.integration.kafka.topics import ids, items, new_index, send, wait_until

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(300)]

STOP_SECONDS = 5.0


@pytest.fixture
def admin(own_broker: JarBroker) -> Iterator[KafkaAdminClient]:
    with closing(KafkaAdminClient(bootstrap_servers=own_broker.bootstrap_servers)) as admin:
        admin.create_topics([NewTopic(name, 1, 1) for name in ("items", "bad", "dead")])
        admin.wait_for_topics(["items", "bad", "dead"])
        yield admin


def test_sigterm_while_the_broker_hangs_ends_every_consumer_within_seconds(
    own_broker: JarBroker, admin: KafkaAdminClient, tmp_path: Path
) -> None:
    """One that waits for records, one with a group besides, and one with a dead letter to store."""
    connection = Connection(own_broker.bootstrap_servers)
    ways = {
        "idle": ["--topic", "items"],
        "group": ["--topic", "items", "--group", "group"],
        "letter": ["--topic", "bad", "--dead-letter-topic", "dead"],
    }
    where = ["--bootstrap-servers", own_broker.bootstrap_servers]
    indexes = {name: new_index(tmp_path / name) for name in ways}
    send(connection, "items", *items("a"))
    send(connection, "bad", *items("a"))
    with ExitStack() as stack:
        consumers = {
            name: stack.enter_context(ConsumerProcess(str(indexes[name]), *where, *arguments))
            for name, arguments in ways.items()
        }
        for consumer in consumers.values():
            consumer.wait_for("commit")
        admin.delete_topics(["dead"])
        wait_until(lambda: bool(admin.describe_topics(["dead"])[0]["error_code"]))
        with closing(new_producer(connection)) as producer:
            producer.send("bad", key=b"bad", value=b"\xc1").get(30)
        consumers["letter"].wait_for("dead_letters_waiting")
        # A position that is not in the group yet.
        send(connection, "items", *items("b"))
        consumers["group"].wait_for("commit", count=2)
        own_broker.pause()
        stack.callback(own_broker.resume)
        consumers["idle"].wait_for("broker_unreachable")
        for name, consumer in consumers.items():
            asked = time.monotonic()
            assert consumer.terminate() == 0, consumer.lines
            assert time.monotonic() - asked < STOP_SECONDS, name
            [stopped] = consumer.events("stopped")
            assert stopped["positions"] == ("0:1" if name == "letter" else "0:2")
    admin.create_topics([NewTopic("dead", 1, 1)])
    for name, arguments in ways.items():
        with ConsumerProcess(str(indexes[name]), *where, *arguments, "--until-end") as consumer:
            assert consumer.wait() == 0, consumer.lines
    assert [ids(index) for index in indexes.values()] == [["a", "b"], ["a", "b"], ["a"]]
