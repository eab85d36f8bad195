"""What the tests of this folder do with topics and indexes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from kafka import KafkaProducer

import streamlsh
from streamlsh import Delete, Upsert
from streamlsh_kafka import (
    Connection,
    KafkaSource,
    Observer,
    consume,
    encode_update,
    new_producer,
)
from streamlsh_kafka.testing import ConsumerProcess

DIM = 8


def new_index(path: Path) -> Path:
    """An empty index of that dimension."""
    streamlsh.create(path, dim=DIM, family="hyperplane", bits=4, tables=2)
    return path


def item(name: str, value: float = 1.0) -> Upsert:
    return Upsert(name, np.full(DIM, value, np.float32))


def items(*names: str) -> list[Upsert]:
    return [item(name) for name in names]


def produce(
    producer: KafkaProducer,
    topic: str,
    updates: Iterable[Upsert | Delete],
    encoding: str = "msgpack",
) -> None:
    for update in updates:
        key, value, headers = encode_update(update, encoding=encoding)
        producer.send(topic, key=key, value=value, headers=headers)
    producer.flush(30)


def send(connection: Connection, topic: str, *updates: Upsert | Delete) -> None:
    with closing(new_producer(connection)) as producer:
        produce(producer, topic, updates)


def catch_up(
    connection: Connection,
    topic: str,
    index: Path,
    *,
    observers: Iterable[Observer] = (),
    accept_gap: bool = False,
) -> int:
    with (
        streamlsh.writer(index) as writer,
        closing(KafkaSource(connection, topic, accept_gap=accept_gap)) as source,
    ):
        return consume(writer, source, until_end=True, observers=list(observers)).records


def ids(index: Path) -> list[str]:
    with streamlsh.open(index) as reader:
        return [found.id for found in reader.items()]


def last_line(consumer: ConsumerProcess) -> str:
    """The error of a consumer that ended by itself: one line, no traceback."""
    assert consumer.wait() == 1
    [line] = [line for line in consumer.lines if not line.startswith("{")]
    assert line.startswith("streamlsh-kafka: error: ")
    return line


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.02)


def status(*arguments: str) -> dict[str, Any]:
    """What ``streamlsh-kafka status`` says."""
    command = [sys.executable, "-m", "streamlsh_kafka", "status", *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said
