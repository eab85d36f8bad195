"""The broker crashes under a running consumer, and comes back."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from kafka import KafkaAdminClient
from kafka.admin import NewTopic

import streamlsh
from streamlsh import Upsert
from streamlsh_kafka import Connection, encode_update, new_producer
from streamlsh_kafka.testing import ConsumerProcess, JarBroker

pytestmark = [pytest.mark.broker, pytest.mark.slow]

DIM = 16


def send(broker: JarBroker, *names: str) -> None:
    with closing(new_producer(Connection(broker.bootstrap_servers))) as producer:
        for name in names:
            key, value, headers = encode_update(Upsert(name, np.ones(DIM, np.float32)))
            producer.send("items", key=key, value=value, headers=headers)
        producer.flush(60)


def test_a_consumer_outlives_a_crash_of_the_broker_and_goes_on_by_itself(
    own_broker: JarBroker, tmp_path: Path
) -> None:
    index = tmp_path / "items.lsh"
    streamlsh.create(index, dim=DIM, family="hyperplane", bits=4, tables=2)
    with closing(KafkaAdminClient(bootstrap_servers=own_broker.bootstrap_servers)) as admin:
        admin.create_topics([NewTopic("items", 1, 1)])
        admin.wait_for_topics(["items"])
    send(own_broker, "before")
    where = ["--topic", "items", "--bootstrap-servers", own_broker.bootstrap_servers]
    with ConsumerProcess(str(index), *where) as consumer, streamlsh.open(index) as reader:
        wait_until(lambda: "before" in reader)
        own_broker.kill()
        assert "before" in reader
        consumer.wait_for("broker_unreachable")
        assert consumer.process.poll() is None
        own_broker.start()
        send(own_broker, "after")
        wait_until(lambda: "after" in reader)
        assert consumer.terminate() == 0, consumer.lines
    with streamlsh.open(index) as reader:
        assert [position.offset for position in reader.positions.values()] == [2]


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.02)
