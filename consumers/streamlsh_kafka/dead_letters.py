"""Records that cannot be applied are set aside as they came, with the reason in headers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import kafka.errors
from kafka import KafkaProducer

from streamlsh_kafka.connection import Connection, topic_exists
from streamlsh_kafka.errors import DeadLetterError
from streamlsh_kafka.source import Record
from streamlsh_kafka.update_log import UpdateLogAppender

ACKNOWLEDGE_SECONDS: Final = 30.0
PART_BYTES: Final = 16 * 1024 * 1024
"""Values of dead letters that are on their way at the same time."""
PREFIX: Final = "streamlsh-"
"""What the names of the headers that are added begin with."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that cannot be applied, and why.

    Attributes:
        record: as it came.
        reason: a short stable word, ``dimension`` or ``bad-json`` for example.
        detail: the error's message: what was expected, what came.
        error_class: the error's class name.
    """

    record: Record
    reason: str
    detail: str
    error_class: str

    def headers(self) -> list[tuple[str, bytes]]:
        """The record's own headers, then reason and origin."""
        record = self.record
        added = {
            "reason": self.reason,
            "detail": self.detail[:1000],
            "error-class": self.error_class,
            "topic": record.topic,
            "partition": str(record.partition),
            "offset": str(record.offset),
            "timestamp": str(record.timestamp),
        }
        kept = [(name, value or b"") for name, value in record.headers]
        return kept + [
            (PREFIX + name, text.encode(errors="replace")) for name, text in added.items()
        ]


class DeadLetters(Protocol):
    """Where dead letters go."""

    def put(self, letters: Sequence[DeadLetter]) -> None:
        """Store the letters durably before returning.

        Raises:
            DeadLetterError: they are not known to be stored; the batch must not be committed.
        """

    def close(self) -> None:
        """Let go of connections and files."""


class KafkaDeadLetters:
    """Dead letters on a topic; the topic must exist.

    Raises:
        DeadLetterError: there is no such topic.
    """

    def __init__(self, connection: Connection, topic: str) -> None:
        if not topic_exists(connection, topic):
            raise DeadLetterError(f"there is no dead-letter topic {topic}: create it first")
        self._topic = topic
        self._producer = KafkaProducer(
            acks="all",
            enable_idempotence=True,
            max_block_ms=int(ACKNOWLEDGE_SECONDS * 1000),
            delivery_timeout_ms=int(ACKNOWLEDGE_SECONDS * 1000),
            request_timeout_ms=10_000,
            linger_ms=0,
            max_request_size=16 * 1024 * 1024,
            allow_auto_create_topics=False,
            metrics_enabled=False,
            **connection.client_settings(),
        )

    def put(self, letters: Sequence[DeadLetter]) -> None:
        """Produce the letters and wait until the broker has acknowledged every one."""
        try:
            for some in _in_parts(letters):
                self._put(some)
        except kafka.errors.KafkaError as error:
            raise DeadLetterError(
                f"{len(letters)} dead letters were not acknowledged by topic {self._topic} "
                f"({str(error) or type(error).__name__}); nothing of their batch is committed"
            ) from error

    def _put(self, letters: Sequence[DeadLetter]) -> None:
        futures = [
            self._producer.send(
                self._topic,
                key=letter.record.key,
                value=_sendable(letter.record),
                headers=letter.headers(),
            )
            for letter in letters
        ]
        self._producer.flush(timeout=ACKNOWLEDGE_SECONDS)
        for future in futures:
            future.get(timeout=ACKNOWLEDGE_SECONDS)

    def close(self) -> None:
        """Close the producer."""
        self._producer.close(timeout=1.0)


def _in_parts(letters: Sequence[DeadLetter]) -> Iterator[list[DeadLetter]]:
    """The letters in parts that the client, which copies what it sends, holds at once."""
    part: list[DeadLetter] = []
    size = 0
    for letter in letters:
        part.append(letter)
        size += len(letter.record.value or b"")
        if size >= PART_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part


def _sendable(record: Record) -> bytes | None:
    """The value as it was; the client cannot send a record with neither key nor value."""
    return b"" if record.key is None and record.value is None else record.value


class UpdateLogDeadLetters:
    """Dead letters in an update log of their own.

    Raises:
        UpdateLogLockedError: another process appends to it.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._log = UpdateLogAppender(path)

    def put(self, letters: Sequence[DeadLetter]) -> None:
        """Append the letters and sync them to disk."""
        entries = [(letter.record.key, letter.record.value, letter.headers()) for letter in letters]
        try:
            self._log.append(entries)
        except OSError as error:
            raise DeadLetterError(f"dead letters cannot be written: {error}") from error

    def close(self) -> None:
        """Close the file."""
        self._log.close()
