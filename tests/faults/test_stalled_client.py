"""A client that delivers nothing although there is something is replaced in a running consumer.

``STREAMLSH_STALL_SECONDS`` is for how long that is borne; `make soak` makes it a minute, which is
what the product bears.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from streamlsh_kafka import Connection
from streamlsh_kafka.testing import Broker, ConsumerProcess
from streamlsh_kafka.testing.fixtures import TopicFactory
from tests.integration.kafka.topics import ids, items, send, status, wait_until

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
