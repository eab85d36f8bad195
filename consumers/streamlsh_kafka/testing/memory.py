"""A source and dead letters in memory, to test what is built on the ingest loop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from streamlsh import Delete, Position, Upsert
from streamlsh_kafka.dead_letters import DeadLetter
from streamlsh_kafka.errors import DeadLetterError
from streamlsh_kafka.source import Headers, RawRecord
from streamlsh_kafka.wire import encode_update


class MemorySource:
    """A source with any number of partitions, filled by the test.

    Attributes:
        polls: how often it was asked for records.
        retention: for how many seconds it claims to keep deletes; ``None`` for ever.
    """

    def __init__(self, *, partitions: int = 1, stream: str = "memory", identity: str = "m") -> None:
        self.stream = stream
        self.identity = identity
        self.polls = 0
        self.retention: float | None = None
        self._records: list[list[RawRecord]] = [[] for _ in range(partitions)]
        self._ends = [0] * partitions
        self._at = [0] * partitions

    def add(self, update: Upsert | Delete, *, partition: int = 0) -> None:
        """Append an update in the wire format."""
        key, value, headers = encode_update(update)
        self.add_raw(key, value, headers, partition=partition)

    def add_raw(
        self, key: bytes | None, value: bytes | None, headers: Headers = (), *, partition: int = 0
    ) -> None:
        """Append a record as it is."""
        offset = self._ends[partition]
        self._ends[partition] += 1
        record = RawRecord(self.stream, partition, offset, 1_000 + offset, key, value, headers)
        self._records[partition].append(record)

    def add_gap(self, offsets: int = 1, *, partition: int = 0) -> None:
        """Append offsets that hold no record, as compaction and transactions leave them."""
        self._ends[partition] += offsets

    def compact(self) -> None:
        """Keep the last record of every key in a partition, and of those no delete."""
        for partition, records in enumerate(self._records):
            last = {record.key: record for record in records}
            kept = [r for r in records if last[r.key] is r and r.value is not None]
            self._records[partition] = kept

    def start(self, stored: Mapping[tuple[str, int], Position]) -> None:
        """Go to the stored positions."""
        for partition in range(len(self._at)):
            position = stored.get((self.stream, partition))
            self._at[partition] = 0 if position is None else position.offset

    def poll(self, timeout: float, max_records: int) -> Sequence[RawRecord]:
        """Return records from every partition in turn; never waits."""
        self.polls += 1
        taken: list[RawRecord] = []
        for partition, records in enumerate(self._records):
            rest = [r for r in records if r.offset >= self._at[partition]]
            some = rest[: max_records - len(taken)]
            taken += some
            complete = len(some) == len(rest)
            self._at[partition] = self._ends[partition] if complete else rest[len(some)].offset
        return taken

    def positions(self) -> Sequence[Position]:
        """The next offset of every partition."""
        return [
            Position(self.stream, number, offset, self.identity)
            for number, offset in enumerate(self._at)
        ]

    def end_offsets(self) -> Mapping[int, int]:
        """The end of every partition."""
        return dict(enumerate(self._ends))

    def delete_retention(self) -> float | None:
        """What the test has set."""
        return self.retention

    def close(self) -> None:
        """Nothing is held."""


class MemoryDeadLetters:
    """Keeps dead letters in a list, or refuses them.

    Attributes:
        letters: what was put.
    """

    def __init__(self, *, refuse: bool = False) -> None:
        self.letters: list[DeadLetter] = []
        self._refuse = refuse

    def put(self, letters: Iterable[DeadLetter]) -> None:
        """Keep the letters."""
        if self._refuse:
            raise DeadLetterError("dead letters were refused, as the test asked for")
        self.letters += letters

    def close(self) -> None:
        """Nothing is held."""
