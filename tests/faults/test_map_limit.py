"""A consumer stops before the map is full, says so, and goes on where there is room again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import streamlsh
from streamlsh import Delete, Upsert
from streamlsh_kafka import Connection
from streamlsh_kafka.testing import Broker, ConsumerProcess
from streamlsh_kafka.testing.fixtures import TopicFactory
from tests.integration.kafka.topics import ids, last_line, send

pytestmark = pytest.mark.broker

DIM = 256
ITEMS = 3_500
MAP = 4 << 20
ROWS = np.random.default_rng(4).standard_normal((ITEMS, DIM)).astype(np.float32)
NAMES = [f"{row:05d}" for row in range(ITEMS)]


def test_a_consumer_stops_at_the_limit_and_goes_on_with_a_larger_map(
    broker: Broker, connection: Connection, make_topic: TopicFactory, tmp_path: Path
) -> None:
    topic, index = make_topic(), tmp_path / "index"
    streamlsh.create(index, dim=DIM, family="hyperplane", bits=4, tables=2, map_size=MAP)
    send(connection, topic, *map(Upsert, NAMES, ROWS))
    where = [str(index), "--topic", topic, "--bootstrap-servers", broker.bootstrap_servers]
    where += ["--until-end"]
    small = ["--batch-records", "100"]
    with ConsumerProcess(*where, *small, "--map-limit", "0.5") as consumer:
        line = last_line(consumer)
        [said] = consumer.events("map_limit")
    assert "bytes of the memory map" in line
    assert "larger map_size" in line
    assert said["limit_bytes"] == MAP // 2 < said["used_bytes"] < MAP
    with streamlsh.open(index) as reader:
        stored = reader.positions[topic, 0].offset
        assert 0 < stored < ITEMS
        assert [item.id for item in reader.items()] == NAMES[:stored]
        reader.verify()
    with ConsumerProcess(*where, *small) as consumer:  # the usual limit leaves more room
        last_line(consumer)
    with streamlsh.open(index) as reader:
        assert stored < reader.positions[topic, 0].offset < ITEMS
    streamlsh.writer(index, map_size=8 * MAP).close()
    send(connection, topic, *map(Delete, NAMES[::2]))
    with ConsumerProcess(*where) as consumer:
        assert consumer.wait() == 0, consumer.lines
    assert ids(index) == NAMES[1::2]
