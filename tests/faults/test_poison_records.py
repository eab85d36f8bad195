"""Records that cannot be applied, of every kind, among good ones: set aside, and never memory."""

from __future__ import annotations

import os
import re
from contextlib import closing
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from kafka import KafkaConsumer, TopicPartition

from streamlsh_kafka import Connection, encode_update, new_producer
from streamlsh_kafka.testing import Broker, ConsumerProcess
from streamlsh_kafka.testing.fixtures import TopicFactory
from tests.integration.kafka.topics import DIM, ids, item, items, send, wait_until

pytestmark = pytest.mark.broker

GOOD = msgpack.packb({"vector": np.ones(DIM, "<f4").tobytes()})
MIB = 1024 * 1024
LARGE = int(os.environ.get("STREAMLSH_FLOOD", "36"))
"""Records of 10 MiB in the flood; `make soak` makes it 60."""
GROWTH_MIB = 400
"""What the consumer may hold of them: the docs promise as much."""
LARGE_TOPIC = {"max.message.bytes": str(16 * MIB)}
JSON = [("content-type", b"application/json")]


def packed(**fields: Any) -> bytes:
    value: bytes = msgpack.packb({"vector": np.ones(DIM, "<f4").tobytes(), **fields})
    return value


def vector(*values: float) -> bytes:
    return packed(vector=np.array(values, "<f4").tobytes())


def declared(kind: str, size: int = 0xFFFF_FFFF) -> bytes:
    """A value that says it holds 4 GiB, and ends."""
    head = {"bin": b"\xc6", "str": b"\xdb", "array": b"\xdd", "map": b"\xdf"}[kind]
    return b"\x81\xa6vector" + head + size.to_bytes(4, "big")


TWICE = b"\x82" + 2 * GOOD[1:]
DEEP_JSON = b'{"vector":[' + b"[" * 100_000 + b"]" * 100_000 + b"]}"

# Name: key, value, headers, the reason that it must carry.
POISON: dict[str, tuple[bytes | None, bytes, list[tuple[str, bytes]], str]] = {
    "no msgpack": (b"p", b"\xc1", [], "bad-msgpack"),
    "cut short": (b"p", GOOD[:-1], [], "bad-msgpack"),
    "empty value": (b"p", b"", [], "bad-msgpack"),
    "something behind": (b"p", GOOD + b"\x00", [], "trailing-bytes"),
    "no json": (b"p", b"{", JSON, "bad-json"),
    "unknown encoding": (b"p", GOOD, [("content-type", b"text/xml")], "content-type"),
    "too few dimensions": (b"p", vector(*[1] * (DIM - 1)), [], "dimension"),
    "too many dimensions": (b"p", vector(*[1] * (DIM + 1)), [], "dimension"),
    "NaN": (b"p", vector(*[1] * (DIM - 1), np.nan), [], "non-finite-vector"),
    "infinity": (b"p", vector(*[1] * (DIM - 1), -np.inf), [], "non-finite-vector"),
    "no direction": (b"p", vector(*[0] * DIM), [], "zero-vector"),
    "no key": (None, GOOD, [], "no-key"),
    "empty key": (b"", GOOD, [], "no-key"),
    "key is no text": (b"\xff\xfe", GOOD, [], "bad-key"),
    "key too long": (b"k" * 600, GOOD, [], "item-id"),
    "version is text": (b"p", packed(version="7"), [], "bad-version"),
    "version too large": (b"p", packed(version=2**63), [], "bad-version"),
    "10 MB of attributes": (b"p", packed(attributes={"a": "x" * 10 * MIB}), [], "value-too-large"),
    "attributes too large": (b"p", packed(attributes={"a": "x" * 100_000}), [], "attributes"),
    "deep msgpack": (b"p", b"\x91" * 100_000, [], "too-deep"),
    "deep json": (b"p", DEEP_JSON, JSON, "too-deep"),
    "a field twice": (b"p", TWICE, [], "duplicate-field"),
    "a field twice in json": (b"p", b'{"vector":[1],"vector":[1]}', JSON, "duplicate-field"),
    "unknown field": (b"p", packed(vectors=1), [], "unknown-field"),
    "4 GiB of bytes": (b"p", declared("bin"), [], "bad-msgpack"),
    "4 GiB of text": (b"p", declared("str"), [], "bad-msgpack"),
    "4 billion numbers": (b"p", declared("array"), [], "bad-msgpack"),
    "4 billion fields": (b"p", declared("map"), [], "bad-msgpack"),
}


def read_all(broker: Broker, topic: str) -> list[Any]:
    """The records of a topic's only partition, by a plain client."""
    with closing(
        KafkaConsumer(bootstrap_servers=broker.bootstrap_servers, enable_auto_commit=False)
    ) as reader:
        partition = TopicPartition(topic, 0)
        reader.assign([partition])
        reader.seek_to_beginning()
        [end] = reader.end_offsets([partition]).values()
        records: list[Any] = []
        while reader.position(partition) < end:
            records += [r for batch in reader.poll(1_000).values() for r in batch]
        return records


def test_every_kind_of_poison_is_set_aside_with_its_reason_and_the_good_ones_applied(
    broker: Broker, connection: Connection, make_topic: TopicFactory, index: Path
) -> None:
    topic, dead = make_topic(configs=LARGE_TOPIC), make_topic(configs=LARGE_TOPIC)
    with closing(new_producer(connection, max_request_size=16 * MIB)) as producer:
        for name, (key, value, headers, _) in POISON.items():
            good_key, good_value, _ = encode_update(item(f"good beside {name}"))
            producer.send(topic, key=good_key, value=good_value)
            named = [*headers, ("name", name.encode())]
            producer.send(topic, key=key, value=value, headers=named)
        producer.flush(60)
    where = ["--topic", topic, "--bootstrap-servers", broker.bootstrap_servers]
    where += ["--dead-letter-topic", dead]
    with ConsumerProcess(str(index), *where, "--until-end") as consumer:
        assert consumer.wait() == 0, consumer.lines
    assert ids(index) == sorted(f"good beside {name}" for name in POISON)
    logged: dict[str, int] = {}
    for event in consumer.events("dead_letters"):
        logged[event["reason"]] = logged.get(event["reason"], 0) + event["count"]
    assert sum(logged.values()) == len(POISON)
    reasons: dict[str, str] = {}
    for letter in read_all(broker, dead):
        said = {header: value.decode() for header, value in letter.headers}
        reasons[said["name"]] = said["streamlsh-reason"]
        assert (letter.key, letter.value) == POISON[said["name"]][:2]
        assert said["streamlsh-detail"]
    assert reasons == {name: reason for name, (*_, reason) in POISON.items()}
    assert logged == {reason: list(reasons.values()).count(reason) for reason in reasons.values()}


def peak_mib(pid: int) -> int:
    """The largest resident memory that a process had so far, pages of files included."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) // 1024


@pytest.mark.slow
@pytest.mark.parametrize(("compression", "partitions"), [("gzip", 1), (None, 1), (None, 8)])
def test_a_flood_of_large_records_does_not_grow_the_consumer(
    broker: Broker,
    connection: Connection,
    make_topic: TopicFactory,
    index: Path,
    compression: str | None,
    partitions: int,
) -> None:
    """Compressed, it is a few KiB on the wire; as it is, it comes as fast as it can be read."""
    topic = make_topic(partitions=partitions, configs=LARGE_TOPIC)
    dead = make_topic(configs=LARGE_TOPIC)
    where = ["--topic", topic, "--bootstrap-servers", broker.bootstrap_servers]
    where += ["--dead-letter-topic", dead]
    send(connection, topic, *items("first"))
    with ConsumerProcess(str(index), *where) as consumer:
        consumer.wait_for("commit")
        before = peak_mib(consumer.process.pid)
        consumer.pause()
        settings = {"max_request_size": 16 * MIB, "compression_type": compression}
        with closing(new_producer(connection, **settings)) as producer:
            value = bytes(10 * MIB)
            for number in range(LARGE):
                where_to = number % partitions
                producer.send(topic, key=b"p", value=value, partition=where_to).get(30)
        send(connection, topic, *items("last"))
        consumer.resume()
        wait_until(lambda: set_aside(consumer) == LARGE, 120)
        grown = peak_mib(consumer.process.pid) - before
        wait_until(lambda: "last" in ids(index))
        assert consumer.terminate() == 0
    print(f"{LARGE} records of 10 MiB, {compression}, {partitions} partitions: {grown} MiB")
    assert grown < GROWTH_MIB


@pytest.mark.slow
def test_a_record_larger_than_what_is_usually_on_its_way_is_set_aside_whole(
    broker: Broker, connection: Connection, make_topic: TopicFactory, index: Path
) -> None:
    """The dead-letter topic's own limit is the only one."""
    configs = {"max.message.bytes": str(32 * MIB)}
    topic, dead = make_topic(configs=configs), make_topic(configs=configs)
    value = bytes(20 * MIB)
    with closing(new_producer(connection, max_request_size=32 * MIB)) as producer:
        producer.send(topic, key=b"p", value=value).get(30)
    send(connection, topic, *items("after"))
    where = ["--topic", topic, "--bootstrap-servers", broker.bootstrap_servers]
    where += ["--dead-letter-topic", dead]
    with ConsumerProcess(str(index), *where, "--until-end") as consumer:
        assert consumer.wait() == 0, consumer.lines
    assert ids(index) == ["after"]
    [letter] = read_all(broker, dead)
    assert letter.value == value


def set_aside(consumer: ConsumerProcess) -> int:
    return sum(event["count"] for event in consumer.events("dead_letters"))
