"""Batches: what is polled together, decoded, and then committed together."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from streamlsh import Delete, IndexConfig, Position, Upsert, validate_update
from streamlsh.errors import InvalidInputError
from streamlsh_kafka.dead_letters import DeadLetter
from streamlsh_kafka.decoders import Decoder
from streamlsh_kafka.errors import DecodeError
from streamlsh_kafka.source import Record, Source, reached

IDLE_POLL_SECONDS: Final = 0.2
"""How long one wait for records lasts; a request to stop is noticed after at most that time."""


@dataclass(frozen=True, slots=True)
class BatchBounds:
    """How large a batch may grow while there is a backlog; an idle consumer commits at once.

    Attributes:
        records: no more records than this in one commit.
        payload_bytes: no further poll once the values add up to this.
        seconds: no further poll once gathering has taken so long.
    """

    records: int = 4_096
    payload_bytes: int = 64 * 1024 * 1024
    seconds: float = 0.25


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Records of a source, what became of each, and the positions after them.

    Attributes:
        records: in the order of the source.
        outcomes: for each record its update, or the dead letter that it will be.
        payload_bytes: bytes of their values.
        positions: where the source stood after them.
    """

    records: Sequence[Record]
    outcomes: list[Upsert | Delete | DeadLetter]
    payload_bytes: int
    positions: Sequence[Position]

    def updates(self, end: int | None = None) -> list[Upsert | Delete]:
        """The updates of all records, or of those before the ``end``-th."""
        return [one for one in self.outcomes[:end] if not isinstance(one, DeadLetter)]

    def dead_letters(self) -> list[DeadLetter]:
        """The records that cannot be applied, in the order of the source."""
        return [one for one in self.outcomes if isinstance(one, DeadLetter)]


class Feed:
    """Batches of a source; the next is polled and decoded in a thread while one is applied.

    Args:
        source: where the records come from; the feed's alone, except in ``take``.
        bounds: on a batch.
        decoder: turns a record into an update.
        ends: where the feed is exhausted, if it is to end.
    """

    def __init__(
        self,
        source: Source,
        bounds: BatchBounds,
        decoder: Decoder,
        ends: Mapping[int, int] | None,
    ) -> None:
        self._source = source
        self._bounds = bounds
        self._decoder = decoder
        self._ends = ends
        self._poller = ThreadPoolExecutor(1, thread_name_prefix="streamlsh-poll")
        self._coming = self._poller.submit(_gather, source, bounds, decoder)
        self.exhausted = False

    def ready(self) -> bool:
        """Whether ``take`` would return at once, with records."""
        if self.exhausted or not self._coming.done():
            return False
        return self._coming.exception() is None and bool(self._coming.result().records)

    def take(self, at_rest: Callable[[], None]) -> Batch:
        """Wait for the next batch, which may hold no record, and begin with the one after.

        Args:
            at_rest: is called while the source is not in use.
        """
        batch = self._coming.result()
        at_rest()
        self.exhausted = self._ends is not None and reached(batch.positions, self._ends)
        if not self.exhausted:
            self._coming = self._poller.submit(_gather, self._source, self._bounds, self._decoder)
        return batch

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._poller.shutdown()


def _gather(source: Source, bounds: BatchBounds, decoder: Decoder) -> Batch:
    """Poll and decode a batch: at once when little is there, up to the bounds when much is."""
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
    outcomes = [_decode(record, decoder) for record in records]
    return Batch(records, outcomes, size, list(source.positions()))


def refuse_misfits(batch: Batch, config: IndexConfig) -> None:
    """Turn the updates that do not fit this index into dead letters, each with its own reason."""
    for number, update in enumerate(batch.outcomes):
        if isinstance(update, DeadLetter):
            continue
        try:
            validate_update(config, update)
        except InvalidInputError as error:
            name = type(error).__name__
            letter = DeadLetter(batch.records[number], reason_of(name), str(error), name)
            batch.outcomes[number] = letter


def reason_of(error_class: str) -> str:
    """The reason for one of the library's errors.

    >>> reason_of("NonFiniteVectorError")
    'non-finite-vector'
    """
    words = error_class.removesuffix("Error")
    return "".join(f"-{c.lower()}" if c.isupper() else c for c in words).lstrip("-")


def _decode(record: Record, decoder: Decoder) -> Upsert | Delete | DeadLetter:
    try:
        update: object = decoder(record)
    except Exception as error:  # noqa: BLE001 - a plug-in may raise anything
        reason = error.reason if isinstance(error, DecodeError) else "decoder-failed"
        return DeadLetter(record, reason, str(error), type(error).__name__)
    if not isinstance(update, Upsert | Delete):
        detail = f"the decoder returned {type(update).__name__}, no update"
        return DeadLetter(record, "decoder-failed", detail, "TypeError")
    return update


def _payload(records: Sequence[Record]) -> int:
    return sum(len(record.value) for record in records if record.value is not None)
