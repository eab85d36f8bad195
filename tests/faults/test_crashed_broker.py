"""The broker crashes under a running consumer, stays away for a while, and comes back.

``STREAMLSH_BROKER_AWAY`` is for how many seconds; `make soak` makes it a minute.
"""

from __future__ import annotations

import os
import time
from contextlib import closing
from pathlib import Path

import pytest
from kafka import KafkaAdminClient
from kafka.admin import NewTopic

import streamlsh
from streamlsh_kafka import Connection
from streamlsh_kafka.testing import ConsumerProcess, JarBroker
from tests.integration.kafka.topics import items, send, status, wait_until

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(600)]

AWAY_SECONDS = float(os.environ.get("STREAMLSH_BROKER_AWAY", "3"))
SOON_SECONDS = 10.0
"""Within which it goes on once the broker is back: less than the client's own longest pause."""


def test_a_consumer_outlives_a_crash_of_the_broker_and_goes_on_by_itself(
    own_broker: JarBroker, index: Path
) -> None:
    connection = Connection(own_broker.bootstrap_servers)
    with closing(KafkaAdminClient(bootstrap_servers=own_broker.bootstrap_servers)) as admin:
        admin.create_topics([NewTopic("items", 1, 1)])
        admin.wait_for_topics(["items"])
    send(connection, "items", *items("before"))
    where = ["--topic", "items", "--bootstrap-servers", own_broker.bootstrap_servers]
    with ConsumerProcess(str(index), *where) as consumer, streamlsh.open(index) as reader:
        wait_until(lambda: "before" in reader)
        own_broker.kill()
        away_until = time.monotonic() + AWAY_SECONDS
        consumer.wait_for("broker_unreachable")
        wait_until(lambda: time.monotonic() >= away_until, 2 * AWAY_SECONDS + 60)
        assert "before" in reader
        assert consumer.process.poll() is None
        periods = consumer.events("period")
        if AWAY_SECONDS >= 30:  # there is one every ten seconds
            assert "unknown" in [period["lag"] for period in periods]
        assert own_broker.bootstrap_servers in consumer.events("broker_unreachable")[-1]["error"]
        own_broker.start()
        send(connection, "items", *items("after"))
        wait_until(lambda: "after" in reader, SOON_SECONDS)
        assert status(str(index), *where)["lag"] == 0
        assert consumer.terminate() == 0, consumer.lines
    with streamlsh.open(index) as reader:
        assert [position.offset for position in reader.positions.values()] == [2]
