"""Producing updates: from JSON Lines to a topic or an update log, in the wire format."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final, Protocol, TextIO

import kafka.errors
import numpy as np
from kafka import KafkaProducer

from streamlsh import Delete, Upsert
from streamlsh_kafka.connection import Connection, check_connection, topic_exists
from streamlsh_kafka.errors import DecodeError, ProduceError
from streamlsh_kafka.update_log import Entry, UpdateLogAppender
from streamlsh_kafka.wire import encode_update

ACKNOWLEDGE_SECONDS: Final = 30.0
LOG_BATCH: Final = 1_000
_FIELDS: Final = frozenset({"id", "vector", "version", "tags", "attributes", "delete"})


class UpdateSink(Protocol):
    """Where updates are produced to."""

    def send(self, update: Upsert | Delete) -> None:
        """Hand an update over; it is durable only after `flush`."""

    def flush(self) -> None:
        """Return once everything that was sent is durable.

        Raises:
            ProduceError: something was not acknowledged.
        """

    def close(self) -> None:
        """Let go of connections and files, after a `flush`."""


def new_producer(connection: Connection, **settings: Any) -> KafkaProducer:
    """A producer with settings fit for updates: acknowledged by all, in order, in fair batches.

    Args:
        connection: the broker.
        settings: kafka-python's own settings, in place of these.
    """
    defaults: dict[str, Any] = {
        "acks": "all",
        "enable_idempotence": True,  # a retry neither repeats nor reorders updates of an item
        "linger_ms": 5,
        "batch_size": 256 * 1024,
        "max_request_size": 8 * 1024 * 1024,
        "allow_auto_create_topics": False,
        "max_block_ms": int(ACKNOWLEDGE_SECONDS * 1000),
        "metrics_enabled": False,
    }
    return KafkaProducer(**(defaults | settings), **connection.client_settings())


class TopicSink:
    """Updates on a Kafka topic, which must exist.

    Args:
        connection: the broker; it is checked at once.
        topic: the topic's name.
        encoding: ``msgpack`` or ``json``.

    Raises:
        ConnectionFailedError: there is no working connection.
        ProduceError: there is no such topic.
    """

    def __init__(self, connection: Connection, topic: str, *, encoding: str = "msgpack") -> None:
        check_connection(connection)
        if not topic_exists(connection, topic):
            raise ProduceError(f"there is no topic {topic}: create it first")
        self._topic = topic
        self._encoding = encoding
        self._failure: Exception | None = None
        self._producer = new_producer(connection)

    def send(self, update: Upsert | Delete) -> None:
        """Hand an update to the client, which batches and retries."""
        if self._failure is not None:
            raise self._failed(self._failure) from self._failure
        key, value, headers = encode_update(update, encoding=self._encoding)
        try:
            future = self._producer.send(self._topic, key=key, value=value, headers=headers)
        except kafka.errors.KafkaError as error:
            raise self._failed(error) from error
        future.add_errback(self._remember)

    def flush(self) -> None:
        """Wait for all acknowledgements."""
        try:
            self._producer.flush(timeout=ACKNOWLEDGE_SECONDS)
        except kafka.errors.KafkaError as error:
            raise self._failed(error) from error
        if self._failure is not None:
            raise self._failed(self._failure) from self._failure

    def close(self) -> None:
        """Close the producer."""
        self._producer.close(timeout=1.0)

    def _remember(self, error: Exception) -> None:
        self._failure = error

    def _failed(self, error: Exception) -> ProduceError:
        detail = str(error) or type(error).__name__
        return ProduceError(f"topic {self._topic} did not acknowledge all updates: {detail}")


class UpdateLogSink:
    """Updates in an embedded update log.

    Raises:
        UpdateLogLockedError: another process appends to it.
    """

    def __init__(self, path: str, *, encoding: str = "msgpack") -> None:
        self._encoding = encoding
        self._entries: list[Entry] = []
        self._log = UpdateLogAppender(path)

    def send(self, update: Upsert | Delete) -> None:
        """Add an update to the batch in hand."""
        self._entries.append(encode_update(update, encoding=self._encoding))
        if len(self._entries) >= LOG_BATCH:
            self.flush()

    def flush(self) -> None:
        """Append the batch and sync it to disk."""
        entries, self._entries = self._entries, []
        try:
            self._log.append(entries)
        except OSError as error:
            raise ProduceError(f"{self._log.path} cannot be written: {error}") from error

    def close(self) -> None:
        """Close the file."""
        self._log.close()


def read_updates(lines: TextIO | Iterable[str]) -> Iterator[Upsert | Delete]:
    """Read JSON Lines: ``{"id", "vector", "version"?, "tags"?, "attributes"?}`` a line.

    ``{"id": ..., "delete": true, "version"?: ...}`` is a delete. Empty lines are skipped.

    Raises:
        DecodeError: a line that is no update; the message has its number.
    """
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
            yield _to_update(fields)
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            detail = f"field {error} is missing" if isinstance(error, KeyError) else str(error)
            raise DecodeError("bad-line", f"line {number}: {detail}") from error


def _to_update(fields: Any) -> Upsert | Delete:
    if type(fields) is not dict:
        raise TypeError(f"expected an object, received {type(fields).__name__}")
    unknown = fields.keys() - _FIELDS
    if unknown:
        raise ValueError(f"unknown fields {', '.join(sorted(unknown))}")
    item_id, version = fields["id"], fields.get("version")
    if type(item_id) is not str:
        raise TypeError(f"expected a string as id, received {type(item_id).__name__}")
    if version is not None and type(version) is not int:
        raise TypeError(f"expected an integer as version, received {type(version).__name__}")
    if fields.get("delete"):
        return Delete(item_id, version)
    vector = np.asarray(fields["vector"], dtype=np.float32)
    return Upsert(
        item_id, vector, version, tuple(fields.get("tags") or ()), fields.get("attributes")
    )
