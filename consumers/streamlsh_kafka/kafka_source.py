"""A Kafka topic as a source, followed from the offsets that the index holds."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final

import kafka.errors
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType

from streamlsh import Position
from streamlsh_kafka.connection import Connection, check_connection, drop_refused
from streamlsh_kafka.errors import (
    BrokerUnreachableError,
    OffsetBelowStartError,
    OffsetBeyondEndError,
    SourceError,
    TopicNotFoundError,
    TopicRecreatedError,
)
from streamlsh_kafka.fetching import read_faster
from streamlsh_kafka.logs import event
from streamlsh_kafka.source import Record, lag

TOPIC_CHECK_SECONDS: Final = 1.0
"""How often the topic's UUID and number of partitions are compared with what is being read."""
POLL_SLICE_SECONDS: Final = 0.02
STALL_SECONDS: Final = 60.0
"""How long a client may deliver nothing, although there is something, before it is replaced."""
MISSING_SECONDS: Final = 5.0
"""A topic must be missing for so long to count as deleted: a starting broker may not know it."""
ASK_MS: Final = 5_000
FETCH_BYTES: Final = 16 * 1024 * 1024
"""Bytes of one fetch, of all partitions together; a single larger record comes all the same."""

_log = logging.getLogger(__name__)


class KafkaSource:
    """All partitions of one topic, assigned by hand, with offsets kept by the index alone.

    Args:
        connection: the broker; it is checked at once, with a clear error within seconds.
        topic: the topic's name.
        accept_gap: go on at the start of a partition whose records were removed before the index
            had read them, instead of stopping with `OffsetBelowStartError`.
        stall_seconds: a client that delivers nothing for so long, although there is something,
            is replaced.

    Attributes:
        stalls: how many clients were replaced.

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
        self._topic = topic
        self._accept_gap = accept_gap
        self._stall_seconds = stall_seconds
        self.stalls = 0
        self._settings = connection.client_settings()
        self._admin = KafkaAdminClient(
            bootstrap_timeout_ms=ASK_MS, request_timeout_ms=ASK_MS, **self._settings
        )
        self._consumer: Any = None
        self._positions: dict[int, int] = {}
        # Fetched already, a list a partition; and how far that goes beyond the positions.
        self._waiting: deque[list[Record]] = deque()
        self._fetched: dict[int, int] = {}
        # Positions that were refused since there was a record, though they are within the topic.
        self._refused: dict[int, int] = {}
        try:
            self._identity, self._partitions = self._describe()
            self._consumer = self._new_consumer()
        except BaseException:
            self.close()
            raise
        self._next_topic_check = time.monotonic() + TOPIC_CHECK_SECONDS
        self._next_stall_check = time.monotonic() + stall_seconds
        self._seen = time.monotonic()

    @property
    def stream(self) -> str:
        """The topic's name."""
        return self._topic

    @property
    def identity(self) -> str:
        """The topic's UUID."""
        return self._identity

    def start(self, stored: Mapping[tuple[str, int], Position]) -> None:
        """Go to the stored offsets, or to the start of partitions that have none.

        Raises:
            TopicRecreatedError: the positions belong to an earlier topic of this name.
            OffsetBelowStartError: records were removed before they were read.
            OffsetBeyondEndError: the topic is shorter than what was read.
        """
        for (stream, _), position in sorted(stored.items()):
            if stream == self._topic and position.identity != self.identity:
                raise TopicRecreatedError(
                    stream=stream, expected=position.identity, received=self.identity
                )
        tps = [TopicPartition(self._topic, partition) for partition in self._partitions]
        starts, ends = self._ask_offsets(tps)
        for tp in tps:
            at = stored.get((self._topic, tp.partition))
            offset = starts[tp] if at is None else at.offset
            if offset > ends[tp]:
                raise OffsetBeyondEndError(
                    stream=self._topic, partition=tp.partition, stored=offset, limit=ends[tp]
                )
            if offset < starts[tp]:
                offset = self._below_start(tp.partition, offset, starts[tp])
            self._positions[tp.partition] = offset
        self._seek()
        # The topic is there, and the client has had no time yet to bring anything.
        self._seen = time.monotonic()
        self._next_stall_check = self._seen + self._stall_seconds

    def poll(self, timeout: float, max_records: int) -> Sequence[Record]:
        """Return records that have arrived, waiting up to ``timeout`` seconds for the first.

        Raises:
            TopicRecreatedError: the topic was replaced while it was being read.
            TopicNotFoundError: the topic was deleted.
            OffsetError: records vanished at the reader's position.
        """
        now = time.monotonic()
        if now >= self._next_topic_check:
            self._check_topic()
            self._next_topic_check = now + TOPIC_CHECK_SECONDS
        if not self._waiting:
            try:
                self._waiting.extend(self._wait(timeout))
                for partition in self._positions:
                    reached = self._consumer.position(TopicPartition(self._topic, partition))
                    if reached is not None:
                        self._fetched[partition] = reached
            except (kafka.errors.OffsetOutOfRangeError, kafka.errors.LogTruncationError) as error:
                self._go_back(error)
            # Fetches go by name, so another topic of that name may have answered. What cannot be
            # confirmed to come from ours is read again.
            if self._waiting and not self._check_topic():
                self._seek()
        records = self._hand_out(max_records)
        if records:
            self._refused = {}
            self._next_stall_check = now + self._stall_seconds
            return records
        if now >= self._next_stall_check:
            self._end_stall()
            self._next_stall_check = time.monotonic() + self._stall_seconds
        return ()

    def positions(self) -> Sequence[Position]:
        """The next offset of every partition, past markers and compacted records."""
        return [
            Position(self._topic, partition, offset, self.identity)
            for partition, offset in self._positions.items()
        ]

    def end_offsets(self) -> Mapping[int, int]:
        """The end of every partition: of what is committed, if a transaction is open.

        Raises:
            BrokerUnreachableError: the broker does not answer any more.
        """
        tps = [TopicPartition(self._topic, partition) for partition in self._partitions]
        try:
            ends = self._consumer.end_offsets(tps, timeout_ms=ASK_MS)
        except kafka.errors.KafkaError as error:
            raise self._lost(error) from error
        return {tp.partition: offset for tp, offset in ends.items()}

    def delete_retention(self) -> float | None:
        """The topic's ``delete.retention.ms`` in seconds, if it is compacted.

        A user who may not see the topic's settings gets a warning, and no replay ever.
        """
        topic = ConfigResource(ConfigResourceType.TOPIC, self._topic)
        try:
            [settings] = self._admin.describe_configs([topic], config_filter="all").values()
            found = settings[self._topic]
            if "compact" not in found["cleanup.policy"]["value"]:
                return None
            return int(found["delete.retention.ms"]["value"]) / 1000
        except (kafka.errors.KafkaError, KeyError) as error:
            event(_log, logging.WARNING, "retention_unknown", topic=self._topic, error=repr(error))
            return None

    def close(self) -> None:
        """Close the connections."""
        if self._consumer is not None:
            self._consumer.close(autocommit=False, timeout_ms=1_000)
        self._admin.close()

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
                **self._settings,
            )
        except kafka.errors.KafkaError as error:
            raise self._lost(error) from error
        read_faster(consumer)
        consumer.assign([TopicPartition(self._topic, number) for number in self._partitions])
        return consumer

    def _seek(self) -> None:
        self._waiting.clear()
        self._fetched.clear()
        for partition, offset in self._positions.items():
            self._consumer.seek(TopicPartition(self._topic, partition), offset)

    def _describe(self) -> tuple[str, list[int]]:
        """Ask for the topic's UUID and its partitions."""
        try:
            [topic] = self._admin.describe_topics([self._topic])
        except kafka.errors.KafkaError as error:
            raise self._lost(error) from error
        if topic["error_code"]:
            reason = kafka.errors.for_code(topic["error_code"]).__name__
            raise TopicNotFoundError(
                f"topic {self._topic} cannot be read ({reason}): create it, or check its name "
                "and this user's rights",
                stream=self._topic,
            )
        return str(topic["topic_id"]), sorted(p["partition_index"] for p in topic["partitions"])

    def _check_topic(self) -> bool:
        """Notice a topic that was replaced, and partitions that were added.

        Returns:
            Whether the broker says that the topic is still the same.

        Raises:
            TopicRecreatedError: it is another one.
            TopicNotFoundError: it has been missing for a while.
        """
        try:
            identity, partitions = self._describe()
        except BrokerUnreachableError as error:
            # Brokers restart. The client reconnects by itself, and nothing is lost by waiting.
            event(_log, logging.WARNING, "broker_unreachable", error=str(error))
            drop_refused()
            self._seen = time.monotonic()
            return False
        except TopicNotFoundError as error:
            if time.monotonic() - self._seen >= MISSING_SECONDS:
                raise
            event(_log, logging.WARNING, "topic_missing", error=str(error))
            return False
        self._seen = time.monotonic()
        if identity != self.identity:
            raise TopicRecreatedError(stream=self._topic, expected=self.identity, received=identity)
        added = [number for number in partitions if number not in self._positions]
        if not added:
            return True
        event(_log, logging.INFO, "partitions_added", topic=self._topic, partitions=added)
        self._partitions = partitions
        new = [TopicPartition(self._topic, partition) for partition in added]
        starts, _ = self._ask_offsets(new)
        self._positions |= {tp.partition: starts[tp] for tp in new}
        self._consumer.assign([TopicPartition(self._topic, number) for number in partitions])
        self._seek()
        return True

    def _ask_offsets(self, tps: list[TopicPartition]) -> tuple[dict[Any, int], dict[Any, int]]:
        try:
            starts = self._consumer.beginning_offsets(tps, timeout_ms=ASK_MS)
            return starts, self._consumer.end_offsets(tps, timeout_ms=ASK_MS)
        except kafka.errors.KafkaError as error:
            raise self._lost(error) from error

    def _below_start(self, partition: int, stored: int, start: int) -> int:
        error = OffsetBelowStartError(
            stream=self._topic, partition=partition, stored=stored, limit=start
        )
        if not self._accept_gap:
            raise error
        event(
            _log,
            logging.WARNING,
            "gap_accepted",
            topic=self._topic,
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
        self._check_topic()
        tps = [TopicPartition(self._topic, partition) for partition in self._partitions]
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
            where: dict[str, Any] = {"stream": self._topic, "partition": tp.partition}
            if offset < starts[tp]:
                raise OffsetBelowStartError(stored=offset, limit=starts[tp], **where) from error
            if offset > ends[tp]:
                raise OffsetBeyondEndError(stored=offset, limit=ends[tp], **where) from error
        if refused and refused == self._refused:
            raise SourceError(
                f"the broker refused the position in {self._topic}: {error}", stream=self._topic
            ) from error
        self._refused = refused
        event(_log, logging.WARNING, "went_back", topic=self._topic, error=str(error))
        self._seek()

    def _end_stall(self) -> None:
        """Replace a client that delivers nothing although there is something to read."""
        try:
            behind = lag(self.positions(), self.end_offsets())
            if not behind:
                return
            self.stalls += 1
            event(
                _log,
                logging.WARNING,
                "reader_stalled",
                topic=self._topic,
                lag=behind,
                stalls=self.stalls,
            )
            replacement = self._new_consumer()
        except BrokerUnreachableError as error:
            event(_log, logging.WARNING, "broker_unreachable", error=str(error))
            return
        self._consumer.close(autocommit=False, timeout_ms=1_000)
        self._consumer = replacement
        self._seek()

    def _lost(self, error: Exception) -> BrokerUnreachableError:
        servers = ",".join(self._settings["bootstrap_servers"])
        return BrokerUnreachableError(
            f"the broker at {servers} stopped answering: {str(error) or type(error).__name__}",
            address=servers,
        )
