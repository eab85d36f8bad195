"""A client that delivers nothing although there is something is replaced in a running consumer.

``STREAMLSH_STALL_SECONDS`` is for how long that is borne; `make soak` makes it a minute, which is
what the product bears.
"""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import pytest

from streamlsh_kafka import Connection, encode_update, new_producer
from streamlsh_kafka.testing import Broker, ConsumerProcess
from streamlsh_kafka.testing.fixtures import TopicFactory
from tests.integration.kafka.topics import ids, item, items, send, status, wait_until

pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]


def test_a_consumer_whose_client_stalls_replaces_it_counts_that_and_goes_on(
    broker: Broker, connection: Connection, make_topic: TopicFactory, index: Path
) -> None:
    topic = make_topic(partitions=2)
    where = ["--topic", topic, "--bootstrap-servers", broker.bootstrap_servers]
    send(connection, topic, *items("a", "b", "c"))
    with ConsumerProcess(str(index), *where, module="tests.faults.stalling") as consumer:
        consumer.wait_for("reader_stalled", seconds=150)
        wait_until(lambda: ids(index) == ["a", "b", "c"])
        send(connection, topic, *items("d"))
        wait_until(lambda: "d" in ids(index))
        assert status(str(index), *where)["lag"] == 0
        assert consumer.terminate() == 0
        [stalled] = consumer.events("reader_stalled")
    assert (stalled["topic"], stalled["lag"], stalled["stalls"]) == (topic, 3, 1)


def test_so_does_one_whose_client_is_silent_about_one_partition_beside_a_busy_one(
    broker: Broker, connection: Connection, make_topic: TopicFactory, index: Path
) -> None:
    topic = make_topic(partitions=2)
    where = ["--topic", topic, "--bootstrap-servers", broker.bootstrap_servers]
    with (
        ConsumerProcess(
            str(index),
            *where,
            module="tests.faults.stalling",
            environment={"STREAMLSH_SILENT_PARTITION": "1"},
        ) as consumer,
        closing(new_producer(connection)) as producer,
    ):
        consumer.wait_for("started")

        def send_to(partition: int, name: str) -> None:
            key, value, _ = encode_update(item(name))
            producer.send(topic, key=key, value=value, partition=partition).get(30)

        send_to(1, "silent")
        busy: list[str] = []
        while not consumer.events("reader_stalled"):
            busy.append(f"busy{len(busy):04}")
            send_to(0, busy[-1])
            time.sleep(0.05)
            assert len(busy) < 3_000
        wait_until(lambda: ids(index) == [*busy, "silent"])
        assert consumer.terminate() == 0
        [stalled] = consumer.events("reader_stalled")
    assert (stalled["partitions"], stalled["lag"], stalled["stalls"]) == ("1", 1, 1)
