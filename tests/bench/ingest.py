"""From a Kafka topic to durable, against the bare client that reads the same topic."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer, TopicPartition

import streamlsh
from streamlsh_kafka import Connection, KafkaSource, consume, encode_update, new_producer
from tests.bench.figures import Figure, Spread, times
from tests.bench.workbench import Workbench

GROUP = "kafka"
MEANING = """\
A fresh topic of one partition on a real broker is filled with updates in the wire format
(msgpack). Then two readers take turns on it: a bare `KafkaConsumer` that polls raw records to the
end and drops them, with the very settings of our own source's client, and
`streamlsh_kafka.consume` into a copy of an empty, trained index until everything is durable.
Both are connected before the clock starts. `consume` polls and decodes in one thread and commits
in another; the bare client has one thread."""

MOST_UPDATES = 50_000
UPDATES_AN_ITEM = 4
PRODUCE_STEP = 1_000
POLL_MS = 10
POLL_RECORDS = 20_000


def measure(bench: Workbench) -> list[Figure]:
    """Fill a topic, then alternate between the two readers."""
    count = min(MOST_UPDATES, UPDATES_AN_ITEM * len(bench.dataset))
    ours: list[float] = []
    bare: list[float] = []
    connection, trained = bench.connection, bench.trained
    with bench.topic() as topic:
        with bench.bars.bar("producing", count) as advance:
            size = _produce(bench, connection, topic, count, advance)
        with closing(KafkaSource(connection, topic)) as source:
            settings = _own_settings(source)
        with bench.bars.bar("Kafka to durable", 2 * bench.repeats + 1) as advance:
            _read_raw(settings, topic, count)  # the broker's pages are warm from here on
            advance(1)
            for _ in range(bench.repeats):
                bare.append(count / _read_raw(settings, topic, count))
                advance(1)
                path = bench.copy(trained.path, "ingested")
                ours.append(count / _ingest(connection, topic, path, count))
                shutil.rmtree(path)
                advance(1)
    ratios = Spread.of([o / b for o, b in zip(ours, bare, strict=True)])
    return [
        Figure(
            GROUP,
            f"Kafka to durable, {count:,} updates of {size:,} bytes",
            "items/s",
            Spread.of(ours).middle,
            Spread.of(ours),
            peer=Spread.of(bare).middle,
            peer_name="bare KafkaConsumer",
            peer_spread=Spread.of(bare),
            ratio=ratios.middle,
            ratio_spread=ratios,
            floor=times(0.6),
            goal=times(0.8),
            note=f"broker: {bench.broker.kind}",
            details={"updates": count, "value_bytes": size, "broker": bench.broker.kind},
        )
    ]


def _produce(
    bench: Workbench,
    connection: Connection,
    topic: str,
    count: int,
    advance: Callable[[int], None],
) -> int:
    """Send ``count`` upserts with ids of their own; return the size of a value in bytes."""
    dataset, size = bench.dataset, 0
    producer = new_producer(connection)
    try:
        for number in range(count):
            update = streamlsh.Upsert(f"update-{number:07d}", dataset.items[number % len(dataset)])
            key, value, headers = encode_update(update)
            producer.send(topic, key=key, value=value, headers=headers)
            size = len(value or b"")
            if (number + 1) % PRODUCE_STEP == 0:
                advance(PRODUCE_STEP)
        producer.flush()
    finally:
        producer.close()
    return size


def _read_raw(settings: dict[str, Any], topic: str, count: int) -> float:
    """Seconds that the bare client needs from the start of the topic to its end."""
    partition = TopicPartition(topic, 0)
    records = 0
    consumer = KafkaConsumer(**settings)
    try:
        consumer.assign([partition])
        started = time.perf_counter()
        start = consumer.beginning_offsets([partition])[partition]
        end = consumer.end_offsets([partition])[partition]
        consumer.seek(partition, start)
        while consumer.position(partition) < end:
            polled = consumer.poll(timeout_ms=POLL_MS, max_records=POLL_RECORDS)
            records += sum(len(batch) for batch in polled.values())
        seconds = time.perf_counter() - started
    finally:
        consumer.close(autocommit=False)
    if records != count:
        raise AssertionError(f"expected {count} records, received {records}")
    return seconds


def _own_settings(source: KafkaSource) -> dict[str, Any]:
    """All settings of our source's client that are not kafka-python's defaults.

    Read from the client itself, so that both readers stay alike when the source is tuned.
    """
    used = source._consumer.config
    return {
        name: used[name]
        for name, default in KafkaConsumer.DEFAULT_CONFIG.items()
        if name in used and used[name] != default
    }


def _ingest(connection: Connection, topic: str, path: Path, count: int) -> float:
    """Seconds until the whole topic is durable in an empty index."""
    with (
        streamlsh.writer(path) as writer,
        closing(KafkaSource(connection, topic)) as source,
    ):
        started = time.perf_counter()
        summary = consume(writer, source, until_end=True)
        seconds = time.perf_counter() - started
    with streamlsh.open(path) as reader:
        live = len(reader)
    if (summary.records, summary.dead_letters, live) != (count, 0, count):
        raise AssertionError(f"expected {count} items, received {live} by {summary}")
    return seconds
