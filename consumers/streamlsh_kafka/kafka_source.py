"""A Kafka topic as a source, followed from the offsets that the index holds."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import kafka.errors
from kafka import KafkaConsumer, TopicPartition

from streamlsh import Position
from streamlsh_kafka.connection import Connection, check_connection, lost
from streamlsh_kafka.errors import (
    BrokerUnreachableError,
    OffsetBelowStartError,
    OffsetBeyondEndError,
    SourceClosedError,
    SourceError,
    TopicRecreatedError,
)
from streamlsh_kafka.fetching import ask_where_logs_diverge, epoch_of, go_to, read_faster
from streamlsh_kafka.logs import event
from streamlsh_kafka.source import Record
from streamlsh_kafka.stalls import StallWatch
from streamlsh_kafka.topic import ASK_MS, Topic

TOPIC_CHECK_SECONDS: Final = 1.0
"""How often the topic's UUID and number of partitions are compared with what is being read."""
POLL_SLICE_SECONDS: Final = 0.02
STALL_SECONDS: Final = 60.0
"""How long a client may bring nothing of a partition that has something; then it is replaced."""
FETCH_BYTES: Final = 16 * 1024 * 1024
"""Bytes of one fetch, of all partitions together; a single larger record comes all the same."""

_log = logging.getLogger(__name__)

_P = ParamSpec("_P")
_T = TypeVar("_T")


def _until_closed(
    method: Callable[Concatenate[KafkaSource, _P], _T],
) -> Callable[Concatenate[KafkaSource, _P], _T]:
    """Raise `SourceClosedError` in place of the many errors of a client that was closed in use."""

    @wraps(method)
    def call(source: KafkaSource, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return method(source, *args, **kwargs)
        except Exception as error:
            if source.closed:
                raise SourceClosedError(stream=source.stream) from error
            raise

    return call


class KafkaSource:
    """All partitions of one topic, assigned by hand, with offsets kept by the index alone.

    Args:
        connection: the broker; it is checked at once, with a clear error within seconds.
        topic: the topic's name.
        accept_gap: go on at the start of a partition whose records were removed before the index
            had read them, instead of stopping with `OffsetBelowStartError`.
        stall_seconds: a client that delivers nothing of a partition for so long, although there
            is something, is replaced.

    Attributes:
        stalls: how many clients were replaced.
        closed: whether it was closed.

    Raises:
        ConnectionFailedError: there is no working connection.
        TopicNotFoundError: there is no such topic.
    """

    def __init__(
        self,
        connection: Connection,
        topic: str,
        *,
        accept_gap: bool = False,
        stall_seconds: float = STALL_SECONDS,
    ) -> None:
        check_connection(connection)
        self._accept_gap = accept_gap
        self._stall_watch = StallWatch(stall_seconds)
        self.stalls = 0
        self.closed = False
        self._connection = connection
        self._topic = Topic(connection, topic)
        self._positions: dict[int, int] = {}
        self._epochs: dict[int, int | None] = {}
        # Fetched already, a list a partition; and how far that goes beyond the positions.
        self._waiting: deque[list[Record]] = deque()
        self._fetched: dict[int, int] = {}
        # Positions that were refused since there was a record, though they are within the topic.
        self._refused: dict[int, int] = {}
        try:
            self._consumer = self._new_consumer()
        except BaseException:
            self._topic.close()
            raise
        self._next_topic_check = time.monotonic() + TOPIC_CHECK_SECONDS

    @property
    def stream(self) -> str:
        """The topic's name."""
        return self._topic.name

    @property
    def identity(self) -> str:
        """The topic's UUID."""
        return self._topic.identity

    @_until_closed
    def start(self, stored: Mapping[tuple[str, int], Position]) -> None:
        """Go to the stored offsets, or to the start of partitions that have none.

        Raises:
            TopicRecreatedError: the positions belong to an earlier topic of this name.
            OffsetBelowStartError: records were removed before they were read.
            OffsetBeyondEndError: the topic is shorter than what was read.
        """
        for (stream, _), position in sorted(stored.items()):
            if stream == self.stream and position.identity != self.identity:
                raise TopicRecreatedError(
                    stream=stream, expected=position.identity, received=self.identity
                )
        tps = self._places()
        starts, ends = self._ask_offsets(tps)
        for tp in tps:
            at = stored.get((self.stream, tp.partition))
            offset = starts[tp] if at is None else at.offset
            if offset > ends[tp]:
                raise OffsetBeyondEndError(
                    stream=self.stream, partition=tp.partition, stored=offset, limit=ends[tp]
                )
            if offset < starts[tp]:
                offset = self._below_start(tp.partition, offset, starts[tp])
            self._positions[tp.partition] = offset
            self._epochs[tp.partition] = None if at is None else at.epoch
        self._seek()
        # Now, not with the first poll: there may be none, or one from the beginning (`replaying`).
        try:
            ask_where_logs_diverge(self._consumer, ASK_MS)
        except kafka.errors.LogTruncationError as error:
            self._go_back(error)
        except kafka.errors.KafkaError as error:
            raise lost(self._connection, error) from error
        self._stall_watch.forget()

    @_until_closed
    def poll(self, timeout: float, max_records: int) -> Sequence[Record]:
        """Return records that have arrived, waiting up to ``timeout`` seconds for the first.

        Raises:
            TopicRecreatedError: the topic was replaced while it was being read.
            TopicNotFoundError: the topic was deleted.
            OffsetError: records vanished at the reader's position.
            SourceClosedError: the source was closed.
        """
        now = time.monotonic()
        if now >= self._next_topic_check:
            self._confirm()
            self._next_topic_check = now + TOPIC_CHECK_SECONDS
        if not self._waiting:
            self._fetch(timeout)
        records = self._hand_out(max_records)
        if records:
            self._refused = {}
        return records

    def positions(self) -> Sequence[Position]:
        """The next offset of every partition, past markers and compacted records."""
        return [
            Position(self.stream, partition, offset, self.identity, self._epochs.get(partition))
            for partition, offset in self._positions.items()
        ]

    @_until_closed
    def end_offsets(self) -> Mapping[int, int]:
        """The end of every partition: of what is committed, if a transaction is open.

        Raises:
            BrokerUnreachableError: the broker does not answer any more.
        """
        tps = self._places()
        try:
            ends = self._consumer.end_offsets(tps, timeout_ms=ASK_MS)
        except kafka.errors.KafkaError as error:
            raise lost(self._connection, error) from error
        return {tp.partition: offset for tp, offset in ends.items()}

    @_until_closed
    def delete_retention(self) -> float | None:
        """The topic's ``delete.retention.ms`` in seconds, if it is compacted.

        A user who may not see the topic's settings gets a warning, and no replay ever.
        """
        return self._topic.delete_retention()

    def close(self) -> None:
        """Close the connections; what another thread waits for ends with `SourceClosedError`."""
        self.closed = True
        self._consumer.close(autocommit=False, timeout_ms=1_000)
        self._topic.close()

    def _hand_out(self, max_records: int) -> list[Record]:
        """Some of what waits, and the positions after it."""
        records: list[Record] = []
        while self._waiting and len(records) < max_records:
            first, room = self._waiting[0], max_records - len(records)
            records += first[:room]
            if len(first) <= room:
                self._waiting.popleft()
            else:
                self._waiting[0] = first[room:]
        self._positions |= self._fetched
        self._positions |= {rest[0].partition: rest[0].offset for rest in self._waiting}
        return records

    def _fetch(self, timeout: float) -> None:
        """Take what the client has, and see that it is of this topic."""
        asked = time.monotonic()
        try:
            self._waiting.extend(self._wait(timeout))
            for partition in self._positions:
                tp = TopicPartition(self.stream, partition)
                reached = self._consumer.position(tp, timeout_ms=0)
                if reached is not None:
                    self._fetched[partition] = reached
                    self._epochs[partition] = epoch_of(self._consumer, tp)
        except (kafka.errors.OffsetOutOfRangeError, kafka.errors.LogTruncationError) as error:
            self._go_back(error)
        # Fetches go by name, so another topic of that name may have answered. What cannot be
        # confirmed to come from ours is read again.
        if self._waiting and not self._confirm():
            self._seek()
        if self._stall_watch.due(asked):
            self._end_stall()

    def _wait(self, timeout: float) -> list[list[Record]]:
        """Poll in short slices, for all that the client has.

        Only when it holds nothing more of a partition does it fetch again, in a thread of its
        own, so what is taken from it at once is handed out while the next fetch arrives.

        In kafka-python 3.0 a fetch that completes between two steps of a poll is overlooked, and
        the poll sleeps for up to 100 ms on top of records that are there already. It sleeps no
        longer than its timeout, so short timeouts bound that delay.
        """
        deadline = time.monotonic() + timeout
        while True:
            left = deadline - time.monotonic()
            slice_ms = max(0, int(min(left, POLL_SLICE_SECONDS) * 1000))
            polled: dict[Any, list[Record]] = self._consumer.poll(timeout_ms=slice_ms)
            if polled or left <= 0:
                return list(polled.values())

    def _new_consumer(self) -> Any:
        try:
            consumer = KafkaConsumer(
                group_id=None,
                auto_offset_reset="none",
                enable_auto_commit=False,
                allow_auto_create_topics=False,
                isolation_level="read_committed",
                max_poll_records=20_000,
                max_partition_fetch_bytes=FETCH_BYTES,
                fetch_max_bytes=FETCH_BYTES,
                bootstrap_timeout_ms=ASK_MS,
                metrics_enabled=False,
                **self._connection.client_settings(),
            )
        except kafka.errors.KafkaError as error:
            raise lost(self._connection, error) from error
        read_faster(consumer)
        consumer.assign(self._places())
        return consumer

    def _seek(self) -> None:
        self._waiting.clear()
        self._fetched.clear()
        for partition, offset in self._positions.items():
            tp = TopicPartition(self.stream, partition)
            go_to(self._consumer, tp, offset, self._epochs.get(partition))

    def _confirm(self) -> bool:
        """Notice a topic that was replaced, and partitions that were added.

        Returns:
            Whether the broker says that the topic is still the same.

        Raises:
            TopicRecreatedError: it is another one.
            TopicNotFoundError: it has been missing for a while.
        """
        if not self._topic.confirm():
            self._stall_watch.forget()
            return False
        added = [number for number in self._topic.partitions if number not in self._positions]
        if added:
            event(_log, logging.INFO, "partitions_added", topic=self.stream, partitions=added)
            new = [TopicPartition(self.stream, partition) for partition in added]
            starts, _ = self._ask_offsets(new)
            self._positions |= {tp.partition: starts[tp] for tp in new}
            self._consumer.assign(self._places())
            self._seek()
        return True

    def _places(self) -> list[TopicPartition]:
        return [TopicPartition(self.stream, number) for number in self._topic.partitions]

    def _ask_offsets(self, tps: list[TopicPartition]) -> tuple[dict[Any, int], dict[Any, int]]:
        try:
            starts = self._consumer.beginning_offsets(tps, timeout_ms=ASK_MS)
            return starts, self._consumer.end_offsets(tps, timeout_ms=ASK_MS)
        except kafka.errors.KafkaError as error:
            raise lost(self._connection, error) from error

    def _below_start(self, partition: int, stored: int, start: int) -> int:
        error = OffsetBelowStartError(
            stream=self.stream, partition=partition, stored=stored, limit=start
        )
        if not self._accept_gap:
            raise error
        event(
            _log,
            logging.WARNING,
            "gap_accepted",
            topic=self.stream,
            partition=partition,
            stored=stored,
            start=start,
        )
        return start

    def _go_back(self, error: Exception) -> None:
        """Go back to the positions after the broker refused where the client is ahead of them.

        Nothing that was handed out is lost if the positions still lie within the topic.

        Raises:
            OffsetError: they do not, with the choices.
            SourceError: they do, and the broker has refused them twice. Once may be a log that
                changed before it was asked where it begins and ends.
        """
        self._confirm()
        tps = self._places()
        starts, ends = self._ask_offsets(tps)
        if isinstance(error, kafka.errors.LogTruncationError):
            # Other records may stand by now where those that were read have been.
            for tp, divergent in error.divergent_offsets.items():
                ends[tp] = 0 if divergent is None else divergent.offset
            refused = {}
        else:
            refused = {tp.partition: offset for tp, offset in error.args[0].items()}
        refused = {p: offset for p, offset in refused.items() if self._positions[p] == offset}
        for tp in tps:
            offset = self._positions[tp.partition]
            where: dict[str, Any] = {"stream": self.stream, "partition": tp.partition}
            if offset < starts[tp]:
                raise OffsetBelowStartError(stored=offset, limit=starts[tp], **where) from error
            if offset > ends[tp]:
                raise OffsetBeyondEndError(stored=offset, limit=ends[tp], **where) from error
        if refused and refused == self._refused:
            raise SourceError(
                f"the broker refused the position in {self.stream} twice ({error}), although it is "
                "within the topic. Start again; if that does not help (a broker restored from a "
                "backup), build a new index from the topic",
                stream=self.stream,
            ) from error
        self._refused = refused
        event(_log, logging.WARNING, "went_back", topic=self.stream, error=str(error))
        self._seek()

    def _end_stall(self) -> None:
        """Replace a client that delivers nothing of a partition although there is something."""
        try:
            at = self._positions | self._fetched
            silent = self._stall_watch.look(at, self.end_offsets())
            if not silent:
                return
            self.stalls += 1
            event(
                _log,
                logging.WARNING,
                "reader_stalled",
                topic=self.stream,
                partitions=",".join(map(str, silent)),
                lag=sum(silent.values()),
                stalls=self.stalls,
            )
            replacement = self._new_consumer()
        except BrokerUnreachableError as error:
            event(_log, logging.WARNING, "broker_unreachable", error=str(error))
            self._stall_watch.forget()
            return
        self._consumer.close(autocommit=False, timeout_ms=1_000)
        self._consumer = replacement
        if self.closed:  # meanwhile, and so without this one
            self.close()
        self._stall_watch.forget()
        self._seek()
