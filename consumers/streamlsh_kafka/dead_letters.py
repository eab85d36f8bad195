"""Records that cannot be applied are set aside as they came, with the reason in headers."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol

import kafka.errors
from kafka import KafkaProducer

from streamlsh_kafka.connection import Connection, drop_refused, quiet_client, topic_exists
from streamlsh_kafka.errors import DeadLetterError
from streamlsh_kafka.logs import event
from streamlsh_kafka.source import Record, never
from streamlsh_kafka.update_log import UpdateLogAppender

NEVER_MS: Final = 2**31 - 1
ATTEMPT_SECONDS: Final = 1.0
"""How long one wait for acknowledgements lasts; then a request to stop is looked for."""
SAY_SECONDS: Final = 10.0
"""How often it is said that letters still wait."""
PART_BYTES: Final = 16 * 1024 * 1024
"""Values of dead letters that are on their way at the same time."""
REQUEST_BYTES: Final = 2**31 - 1
"""No limit of the client's: how large a letter may be, the topic alone decides."""
PREFIX: Final = "streamlsh-"
"""What the names of the headers that are added begin with."""

_log = logging.getLogger(__name__)


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

    Args:
        connection: the broker.
        topic: the topic's name.
        stop_requested: asked while letters wait for a topic that is away.

    Raises:
        DeadLetterError: there is no such topic.
    """

    def __init__(
        self, connection: Connection, topic: str, *, stop_requested: Callable[[], bool] = never
    ) -> None:
        if not topic_exists(connection, topic):
            raise DeadLetterError(f"there is no dead-letter topic {topic}: create it first")
        self._topic = topic
        self._stop_requested = stop_requested
        self._producer = KafkaProducer(
            acks="all",
            enable_idempotence=True,
            max_block_ms=int(ATTEMPT_SECONDS * 1000),
            # An idempotent client that has given a record up sends no other any more.
            delivery_timeout_ms=NEVER_MS,
            request_timeout_ms=10_000,
            linger_ms=0,
            max_request_size=REQUEST_BYTES,
            allow_auto_create_topics=False,
            metrics_enabled=False,
            **connection.client_settings(),
        )

    def put(self, letters: Sequence[DeadLetter]) -> None:
        """Produce the letters and wait until the broker has acknowledged every one.

        While the topic is missing or the broker away, this says so and goes on trying.

        Raises:
            DeadLetterError: the broker refused a letter, or there was a request to stop before
                all were acknowledged.
        """
        try:
            # The client would say ten times a second that there is no such topic.
            with quiet_client():
                for some in _in_parts(letters):
                    self._put(some)
        except kafka.errors.KafkaError as error:
            raise DeadLetterError(
                f"{len(letters)} dead letters were not acknowledged by topic {self._topic} "
                f"({str(error) or type(error).__name__}); nothing of their batch is committed"
            ) from error

    def _put(self, letters: Sequence[DeadLetter]) -> None:
        unsent = list(letters)
        sent: list[Any] = []
        say_at = time.monotonic() + ATTEMPT_SECONDS
        while True:
            why = ""
            try:
                while unsent:
                    sent.append(self._send(unsent[0]))
                    unsent.pop(0)
                self._producer.flush(timeout=ATTEMPT_SECONDS)
            except kafka.errors.KafkaTimeoutError as error:
                why = str(error)
            sent = [future for future in sent if not _acknowledged(future)]
            if not (unsent or sent):
                return
            if self._stop_requested():
                raise kafka.errors.KafkaTimeoutError(f"asked to stop; {why}")
            if time.monotonic() >= say_at:
                say_at = time.monotonic() + SAY_SECONDS
                drop_refused()
                event(
                    _log,
                    logging.WARNING,
                    "dead_letters_waiting",
                    topic=self._topic,
                    letters=len(unsent) + len(sent),
                    error=why,
                )

    def _send(self, letter: DeadLetter) -> Any:
        return self._producer.send(
            self._topic,
            key=letter.record.key,
            value=_sendable(letter.record),
            headers=letter.headers(),
        )

    def close(self) -> None:
        """Close the producer; what was not acknowledged is not waited for."""
        with suppress(kafka.errors.KafkaTimeoutError):
            self._producer.close(timeout=ATTEMPT_SECONDS)


def _acknowledged(future: Any) -> bool:
    """Whether a letter is stored by now.

    Raises:
        KafkaError: it was refused.
    """
    if future.is_done and future.exception is not None:
        raise future.exception
    return bool(future.is_done)


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
