"""Where the demo's updates flow: a log-compacted topic, or an update log if there is no broker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kafka import KafkaAdminClient
from kafka.admin import NewTopic

from streamlsh_kafka.connection import Connection
from streamlsh_kafka.errors import NoBrokerError
from streamlsh_kafka.producing import TopicSink, UpdateLogSink, UpdateSink
from streamlsh_kafka.testing.broker import kafka_broker

TOPIC = "glosses"
_KINDS = {
    "environment": "the broker named by STREAMLSH_KAFKA_BOOTSTRAP",
    "container": "Apache Kafka in a container",
    "jars": "Apache Kafka, started from its published jars",
}


@dataclass(frozen=True, slots=True)
class Stage:
    """A source of updates that processes can follow.

    Attributes:
        title: what it is, for people.
        noun: what to call the stream of updates.
        stream: the name under which positions are stored.
        arguments: how ``streamlsh-kafka run`` is told to follow it.
        sink: where updates are produced to.
    """

    title: str
    noun: str
    stream: str
    arguments: tuple[str, ...]
    sink: UpdateSink


@contextmanager
def open_stage(folder: Path) -> Iterator[Stage]:
    """A topic on whatever broker can be had, or an update log in ``folder``."""
    try:
        with kafka_broker() as broker:
            title = f"{_KINDS[broker.kind]} at {broker.bootstrap_servers}"
            with _topic_stage(broker.bootstrap_servers, title) as stage:
                yield stage
            return
    except NoBrokerError as error:
        reason = str(error)
    log = folder / "updates.log"
    sink = UpdateLogSink(str(log))
    try:
        yield Stage(
            f"an embedded update log, because {reason}",
            "update log",
            log.name,
            ("--update-log", str(log)),
            sink,
        )
    finally:
        sink.close()


@contextmanager
def _topic_stage(bootstrap: str, title: str) -> Iterator[Stage]:
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        if TOPIC in admin.list_topics():
            admin.delete_topics([TOPIC])
        topic = NewTopic(TOPIC, 1, 1, topic_configs={"cleanup.policy": "compact"})
        admin.create_topics([topic], timeout_ms=15_000)
        admin.wait_for_topics([TOPIC], timeout_ms=15_000)
    finally:
        admin.close()
    sink = TopicSink(Connection(bootstrap), TOPIC)
    try:
        yield Stage(
            title, f"log-compacted topic '{TOPIC}'", TOPIC,
            ("--topic", TOPIC, "--bootstrap-servers", bootstrap), sink,
        )  # fmt: skip
    finally:
        sink.close()
