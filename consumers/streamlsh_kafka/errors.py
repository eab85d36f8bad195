"""Every error the consumer raises on purpose, in one tree.

::

    streamlsh.StreamLSHError
    └── ConsumerError
        ├── ConfigurationError (ValueError)     flags or environment that cannot be used
        ├── ConnectionFailedError               no working connection to the broker
        │   ├── BrokerUnreachableError          nobody answers at the address
        │   ├── AuthenticationFailedError       the broker refused user or password
        │   └── HandshakeFailedError            TLS or protocol do not fit the listener
        ├── SourceError                         the source cannot be followed from here
        │   ├── TopicNotFoundError
        │   ├── TopicRecreatedError             same name, but another topic
        │   ├── OffsetBelowStartError           records were removed before they were read
        │   ├── OffsetBeyondEndError            the source is shorter than what was read
        │   ├── CorruptUpdateLogError           damage in the middle of an update log
        │   ├── UpdateLogLockedError            another process appends to it
        │   └── SourceClosedError               it was closed while it was in use
        ├── DecodeError (ValueError)            one record does not follow the wire format
        ├── PoisonRecordError                   policy `stop` met a record it cannot apply
        ├── DeadLetterError                     dead letters were not acknowledged
        ├── ProduceError                        updates were not acknowledged
        └── NoBrokerError                       no broker can be had for a test or a demo

A second consumer on one index ends with ``WriterLockedError``, one that was replaced with
``FencedError``; both are the library's, in ``streamlsh.errors``.
"""

from __future__ import annotations

from streamlsh.errors import StreamLSHError


class ConsumerError(StreamLSHError):
    """Root of all errors raised on purpose by streamlsh_kafka."""


class ConfigurationError(ConsumerError, ValueError):
    """A flag, an environment variable or a decoder name cannot be used."""


class ConnectionFailedError(ConsumerError):
    """There is no working connection to the broker.

    Attributes:
        address: the ``host:port`` (or several) that was tried.
    """

    def __init__(self, message: str, *, address: str) -> None:
        super().__init__(message)
        self.address = address


class BrokerUnreachableError(ConnectionFailedError):
    """Nobody answers at the address within the deadline."""


class AuthenticationFailedError(ConnectionFailedError):
    """The broker answered and refused the user, the password or the mechanism."""


class HandshakeFailedError(ConnectionFailedError):
    """The broker answered, but TLS or the protocol do not fit its listener."""


class SourceError(ConsumerError):
    """The source cannot be followed from the position that the index holds.

    Attributes:
        stream: the topic, or the path of the update log.
    """

    def __init__(self, message: str, *, stream: str) -> None:
        super().__init__(message)
        self.stream = stream


class TopicNotFoundError(SourceError):
    """There is no such topic."""


class TopicRecreatedError(SourceError):
    """The source has the same name, but it is not the one the index was built from.

    Attributes:
        expected: the identity (topic UUID) that the index holds.
        received: the identity that the source has now.
    """

    def __init__(self, *, stream: str, expected: str, received: str) -> None:
        super().__init__(
            f"{stream} was deleted and created again: the index was built from {expected}, "
            f"this is {received}. Build a new index from it (create another path and run the "
            "consumer there), then point the readers at the new path",
            stream=stream,
        )
        self.expected = expected
        self.received = received


class OffsetError(SourceError):
    """The stored offset lies outside of what the source holds.

    Attributes:
        partition: the partition in question.
        stored: the offset that the index holds.
        limit: the first (or the end) offset that the source has.
    """

    def __init__(
        self, message: str, *, stream: str, partition: int, stored: int, limit: int
    ) -> None:
        super().__init__(message, stream=stream)
        self.partition = partition
        self.stored = stored
        self.limit = limit


class OffsetBelowStartError(OffsetError):
    """Records were removed from the source before this index had read them."""

    def __init__(self, *, stream: str, partition: int, stored: int, limit: int) -> None:
        super().__init__(
            f"{stream}[{partition}] starts at offset {limit}, the index has read up to {stored}: "
            f"{limit - stored} offsets were removed before they were read. Build a new index from "
            "the topic, or run once with --accept-gap to go on at the start of the topic and live "
            "with the updates that are lost",
            stream=stream,
            partition=partition,
            stored=stored,
            limit=limit,
        )


class OffsetBeyondEndError(OffsetError):
    """The source ends before the offset that the index has read up to."""

    def __init__(self, *, stream: str, partition: int, stored: int, limit: int) -> None:
        super().__init__(
            f"{stream}[{partition}] ends at offset {limit}, the index has read up to {stored}: the "
            "source lost records that are in the index (an unclean leader election, a restored "
            "disk). Build a new index from it, then point the readers at the new path",
            stream=stream,
            partition=partition,
            stored=stored,
            limit=limit,
        )


class CorruptUpdateLogError(SourceError):
    """An update log is damaged before its tail, so records are lost.

    Attributes:
        byte: where the damage begins.
    """

    def __init__(self, message: str, *, stream: str, byte: int) -> None:
        super().__init__(f"{stream}: {message} at byte {byte}", stream=stream)
        self.byte = byte


class UpdateLogLockedError(SourceError):
    """Another process appends to this update log."""


class SourceClosedError(SourceError):
    """The source was closed while it was in use: what was asked of it is given up."""

    def __init__(self, *, stream: str) -> None:
        super().__init__(f"{stream} was closed while it was read", stream=stream)


class DecodeError(ConsumerError, ValueError):
    """One record does not follow the wire format.

    Attributes:
        reason: a short stable word for headers, metrics and alerts, ``bad-json`` for one.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason


class PoisonRecordError(ConsumerError):
    """The policy is ``stop`` and a record cannot be applied.

    Everything before it is committed, so that the next start meets it again.

    Attributes:
        stream, partition, offset: where the record is.
        reason: the same word that a dead letter would carry.
    """

    def __init__(
        self, *, stream: str, partition: int, offset: int, reason: str, detail: str
    ) -> None:
        super().__init__(
            f"{stream}[{partition}] offset {offset} cannot be applied ({detail}). Everything "
            "before it is committed. Mend the producer and compact the record away, or run with "
            "--dead-letter-topic to set such records aside"
        )
        self.stream = stream
        self.partition = partition
        self.offset = offset
        self.reason = reason


class DeadLetterError(ConsumerError):
    """Dead letters were not acknowledged, so the batch they came from was not committed."""


class ProduceError(ConsumerError):
    """Updates were not acknowledged by the broker."""


class NoBrokerError(ConsumerError):
    """No broker can be had on this machine for a test or a demo."""
