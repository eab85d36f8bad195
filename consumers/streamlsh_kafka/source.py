"""What the ingest loop needs of a source of updates; Kafka and the update log implement it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from streamlsh import Position

Headers = Sequence[tuple[str, bytes | None]]


class Record(Protocol):
    """One record as a source delivers it: raw bytes, nothing decoded.

    kafka-python's own record has these fields, so the Kafka source hands them on uncopied.
    """

    @property
    def topic(self) -> str:
        """The stream's name."""

    @property
    def partition(self) -> int:
        """The partition within the stream."""

    @property
    def offset(self) -> int:
        """The place within the partition."""

    @property
    def timestamp(self) -> int:
        """Milliseconds since the epoch, as the producer (or the broker) set it."""

    @property
    def key(self) -> bytes | None:
        """The item id in UTF-8."""

    @property
    def value(self) -> bytes | None:
        """The encoded item, or ``None`` for a delete."""

    @property
    def headers(self) -> Headers:
        """Name and value pairs."""


class RawRecord(NamedTuple):
    """A plain `Record`, for sources that have no record type of their own."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class Source(Protocol):
    """A durable, replayable stream of records in numbered partitions.

    The index holds the only offsets that count: a source is told where to start, reports how far
    it got, and keeps nothing of its own.
    """

    @property
    def stream(self) -> str:
        """Name under which the positions are stored (the topic)."""

    @property
    def identity(self) -> str:
        """What tells this stream from another one of the same name (the topic's UUID)."""

    def start(self, stored: Mapping[tuple[str, int], Position]) -> None:
        """Go to the stored positions, or to the beginning where there is none.

        Raises:
            SourceError: a stored position cannot be followed; nothing is guessed.
        """

    def poll(self, timeout: float, max_records: int) -> Sequence[Record]:
        """Return records that are there, waiting up to ``timeout`` seconds for the first.

        Records of one partition come in the order of their offsets.

        Raises:
            SourceError: the source changed under the reader.
        """

    def positions(self) -> Sequence[Position]:
        """The next offset to read of every partition, past all records that `poll` returned.

        It also passes offsets that hold no record (compacted away, transaction markers).
        """

    def end_offsets(self) -> Mapping[int, int]:
        """Where every partition ends now; asks the source, so call it sparingly."""

    def delete_retention(self) -> float | None:
        """For how many seconds a delete can be read for certain; ``None`` for ever.

        Only a source that compacts ever forgets a delete but not that there was something else.
        """

    def close(self) -> None:
        """Let go of connections and files. May be called twice, and from any thread.

        A call that waits in another thread meanwhile ends soon, with `SourceClosedError`, and so
        does every later one.
        """


def never() -> bool:
    """Say that there is no request to stop."""
    return False


def reached(positions: Sequence[Position], ends: Mapping[int, int]) -> bool:
    """Whether every partition named in ``ends`` has been read up to there."""
    at = {position.partition: position.offset for position in positions}
    return all(at.get(partition, 0) >= end for partition, end in ends.items())


def lag(positions: Sequence[Position], ends: Mapping[int, int]) -> int:
    """Offsets still to read, over all partitions."""
    at = {position.partition: position.offset for position in positions}
    return sum(max(0, end - at.get(partition, 0)) for partition, end in ends.items())
