"""Batches: what is polled together, decoded, hashed, and then committed together."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from streamlsh import (
    Delete,
    IndexConfig,
    Position,
    PreparedUpdates,
    Upsert,
    Upserts,
    Writer,
    validate_update,
)
from streamlsh.errors import InvalidInputError
from streamlsh_kafka.dead_letters import DeadLetter
from streamlsh_kafka.decoders import Decoder
from streamlsh_kafka.plain import decode_all, decode_one
from streamlsh_kafka.source import Record, Source, reached

IDLE_POLL_SECONDS: Final = 0.2
"""How long one wait for records lasts; a request to stop is noticed after at most that time."""
AHEAD: Final = 2
"""Batches that are read ahead of the one being committed while there is a backlog: one is then
hashed while the other is polled."""
BACKLOG_SHARE: Final = 4
"""A batch of at least this part of the largest one allowed is taken for a sign of a backlog."""
REST_SECONDS: Final = 1.0
"""How long a backlog may keep the observers from their turn at the source."""


@dataclass(frozen=True, slots=True)
class BatchBounds:
    """How large a batch may grow while there is a backlog; an idle consumer commits at once.

    Attributes:
        records: no more records than this in one commit.
        payload_bytes: no further poll once the values add up to this.
        seconds: no further poll once gathering has taken so long.
    """

    records: int = 4_096
    payload_bytes: int = 16 * 1024 * 1024
    seconds: float = 0.25


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Records of a source, what became of them, and the positions after them.

    Attributes:
        records: in the order of the source, without those that are only marked as seen.
        updates: those of all good records, checked, and hashed in a thread of the writer's.
        dead_letters: the records that cannot be applied, in the order of the source.
        payload_bytes: bytes of the records' values.
        positions: where the source stood after them.
        polled: how many records were polled for it, and
        seen: the ids that a replay met in those that were applied before.
    """

    records: Sequence[Record]
    updates: PreparedUpdates
    dead_letters: Sequence[DeadLetter]
    payload_bytes: int
    positions: Sequence[Position]
    polled: int
    seen: Sequence[str]


class Feed:
    """Batches of a source, polled, decoded and checked in a thread while others are applied.

    Args:
        source: where the records come from; the feed's alone, except in ``take``.
        bounds: on a batch.
        decoder: turns a record into an update.
        writer: of the index that the updates are meant for; it hashes them.
        ends: where the feed is exhausted, if it is to end.
        floors: by partition, the offset below which records were applied before.
    """

    def __init__(
        self,
        source: Source,
        bounds: BatchBounds,
        decoder: Decoder,
        writer: Writer,
        ends: Mapping[int, int] | None,
        floors: Mapping[int, int],
    ) -> None:
        self._source = source
        self._bounds = bounds
        self._decoder = decoder
        self._writer = writer
        self._ends = ends
        self._floors = floors
        self._poller = ThreadPoolExecutor(1, thread_name_prefix="streamlsh-poll")
        self._coming: deque[Future[Batch]] = deque()
        self._rested = time.monotonic()
        self.exhausted = False
        self._ask(1)

    def take(self, at_rest: Callable[[], None]) -> Batch:
        """Wait for the next batch, which may hold no record, and ask for those after it.

        Args:
            at_rest: is called now and then while the source is not in use: after every batch of
                an idle source, about once a second during a backlog.
        """
        batch = self._coming.popleft().result()
        self.exhausted = self._ends is not None and reached(batch.positions, self._ends)
        # A large batch means that there is more: read ahead, but not while a rest is due.
        backlog = batch.polled * BACKLOG_SHARE >= self._bounds.records
        due = not backlog or time.monotonic() - self._rested >= REST_SECONDS
        if due and all(future.done() for future in self._coming):
            at_rest()
            self._rested = time.monotonic()
            due = False
        if not self.exhausted and not due:
            self._ask(AHEAD if backlog else 1)
        return batch

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._poller.shutdown(cancel_futures=True)

    def _ask(self, ahead: int) -> None:
        while len(self._coming) < ahead:
            self._coming.append(self._poller.submit(self._gather))

    def _gather(self) -> Batch:
        """Poll a batch: at once when little is there, up to the bounds when much is."""
        source, bounds = self._source, self._bounds
        records: list[Record] = []
        size = 0
        if self._ends is None or not reached(source.positions(), self._ends):
            records = list(source.poll(IDLE_POLL_SECONDS, bounds.records))
            size = _payload(records)
        deadline = time.monotonic() + bounds.seconds
        while records and len(records) < bounds.records and size < bounds.payload_bytes:
            if time.monotonic() >= deadline:
                break
            more = source.poll(0.0, bounds.records - len(records))
            if not more:
                break
            records.extend(more)
            size += _payload(more)
        positions = list(source.positions())
        polled = len(records)
        records, seen = self._set_apart(records)
        updates, dead_letters = prepare(records, self._decoder, self._writer)
        return Batch(records, updates, dead_letters, size, positions, polled, seen)

    def _set_apart(self, records: list[Record]) -> tuple[list[Record], list[str]]:
        """The records that are to be applied, and the ids that all others would upsert.

        Those others are prepared as if they were applied, so that the same ones are good.
        """
        floors = self._floors
        before = [r for r in records if r.offset < floors.get(r.partition, 0)]
        if not before:
            return records, []
        updates, _ = prepare(before, self._decoder, self._writer)
        seen = [update.key.decode() for update in updates.updates if update.row is not None]
        return [r for r in records if r.offset >= floors.get(r.partition, 0)], seen


def prepare(
    records: Sequence[Record], decoder: Decoder, writer: Writer
) -> tuple[PreparedUpdates, list[DeadLetter]]:
    """Decode records, and have the writer check and hash what is good."""
    outcomes = decode_all(records, decoder, writer.config.dim)
    try:
        return _prepared(outcomes, writer)
    except InvalidInputError:
        # Rare, so good batches do not pay for finding out which records do not fit.
        singles = [decode_one(record, decoder) for record in records]
        refuse_misfits(records, singles, writer.config)
        return _prepared(singles, writer)


def _prepared(
    outcomes: Sequence[Upsert | Delete | Upserts | DeadLetter], writer: Writer
) -> tuple[PreparedUpdates, list[DeadLetter]]:
    good = [one for one in outcomes if not isinstance(one, DeadLetter)]
    return writer.prepare(good), [one for one in outcomes if isinstance(one, DeadLetter)]


def refuse_misfits(
    records: Sequence[Record],
    outcomes: list[Upsert | Delete | DeadLetter],
    config: IndexConfig,
) -> None:
    """Turn the updates that do not fit this index into dead letters, each with its own reason."""
    for number, update in enumerate(outcomes):
        if isinstance(update, DeadLetter):
            continue
        try:
            validate_update(config, update)
        except InvalidInputError as error:
            name = type(error).__name__
            outcomes[number] = DeadLetter(records[number], reason_of(name), str(error), name)


def reason_of(error_class: str) -> str:
    """The reason for one of the library's errors.

    >>> reason_of("NonFiniteVectorError")
    'non-finite-vector'
    """
    words = error_class.removesuffix("Error")
    return "".join(f"-{c.lower()}" if c.isupper() else c for c in words).lstrip("-")


def _payload(records: Sequence[Record]) -> int:
    return sum(len(record.value) for record in records if record.value is not None)
