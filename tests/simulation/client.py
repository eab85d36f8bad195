"""The client library's side: what the consumer calls of kafka-python, on the simulated broker."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any, Protocol

import kafka.errors
from kafka import TopicPartition
from kafka.structs import OffsetAndMetadata

from streamlsh_kafka.source import RawRecord
from tests.simulation.broker import (
    DEAD_TOPIC,
    TOMBSTONES_KEPT,
    TOPIC,
    Broker,
    Entry,
    Partition,
    Topic,
)
from tests.simulation.clock import Clock
from tests.simulation.ledger import BrokenPromiseError

IDLE_SECONDS = 0.3
"""What a poll takes that brings nothing."""
STALLED_SECONDS = 9.0
"""The same of a client that will never bring anything again."""
ASK_SECONDS = 5.0


class Process(Protocol):
    """The consumer process that a client belongs to."""

    @property
    def broker(self) -> Broker:
        """What it talks to."""

    @property
    def clock(self) -> Clock:
        """Its time."""

    @property
    def random(self) -> Random:
        """For what the network decides."""

    def step(self, seam: str) -> None:
        """The consumer calls out; here it may die."""

    def fetched(self, partition: int, entries: Sequence[Entry], position: int) -> None:
        """Records have reached the client."""

    def sought(self, partition: int, offset: int) -> None:
        """The client goes to another place."""

    def told(self, identity: str) -> None:
        """The consumer was told the topic's identity."""

    def began(self, starts: Mapping[int, int]) -> None:
        """The consumer was told where partitions begin."""

    def answered(self, identity: str | None) -> None:
        """A poll was answered by the topic of this identity, or not at all."""

    def unanswered(self) -> None:
        """The consumer asked, and got no answer."""

    def poll_fails(self) -> bool:
        """Whether this poll ends in an error of the client."""

    def origin(self, partition: int, offset: int) -> Entry | None:
        """The record at an offset, if this process has fetched and not yet committed it."""


class Closable:
    """A client of a process."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._closed = False

    def _step(self, seam: str) -> None:
        """The consumer calls out; a client that is closed by then answers no more."""
        self._process.step(seam)
        if self._closed:
            raise kafka.errors.IllegalStateError("closed")


class Admin(Closable):
    """`KafkaAdminClient`."""

    def describe_topics(self, topics: list[str]) -> list[dict[str, Any]]:
        """Identity and partitions of the topic; error code 3 if there is none."""
        self._step("describe")
        broker = self._process.broker
        if broker.away:
            self._process.unanswered()
            self._process.clock.advance(ASK_SECONDS)
            raise kafka.errors.KafkaTimeoutError("nobody answers")
        topic = broker.topic if topics == [TOPIC] else None
        if topic is None:
            return [{"error_code": 3, "topic_id": None, "partitions": []}]
        self._process.told(topic.identity)
        numbers = [{"partition_index": p.number} for p in topic.partitions]
        return [{"error_code": 0, "topic_id": topic.identity, "partitions": numbers}]

    def describe_configs(self, resources: list[Any], config_filter: str) -> dict[str, Any]:
        """The topic's settings."""
        self._step("describe")
        if self._process.broker.away:
            self._process.unanswered()
            self._process.clock.advance(ASK_SECONDS)
            raise kafka.errors.KafkaTimeoutError("nobody answers")
        retention = {"value": str(int(TOMBSTONES_KEPT * 1000))}
        return {
            "topic": {
                TOPIC: {
                    "cleanup.policy": {"value": "compact,delete"},
                    "delete.retention.ms": retention,
                }
            }
        }

    def close(self) -> None:
        """Answer no more."""
        self._closed = True


class Consumer(Closable):
    """`KafkaConsumer` with partitions assigned by hand."""

    def __init__(self, process: Process, settings: Mapping[str, Any]) -> None:
        assert settings["auto_offset_reset"] == "none"
        super().__init__(process)
        self._aborted_too = settings["isolation_level"] != "read_committed"
        self._most = settings["max_poll_records"]
        self._generation = process.broker.generation
        self._positions: dict[int, int] = {}
        self._epochs: dict[int, int] = {}
        self._assigned: list[int] = []

    def assign(self, partitions: list[TopicPartition]) -> None:
        """Read these partitions and no others."""
        self._assigned = [tp.partition for tp in partitions]

    def seek(self, tp: TopicPartition, offset: int) -> None:
        """Go to an offset; what was fetched already is forgotten."""
        self._positions[tp.partition] = offset
        self._epochs.pop(tp.partition, None)
        self._process.sought(tp.partition, offset)

    def go_to(self, tp: TopicPartition, offset: int, epoch: int | None) -> None:
        """`fetching.go_to`."""
        self.seek(tp, offset)
        topic = self._process.broker.topic
        if topic is not None and tp.partition < len(topic.partitions):
            topic.partitions[tp.partition].begin(offset)
        if epoch is not None and offset > 0:
            self._epochs[tp.partition] = epoch

    def epoch_of(self, tp: TopicPartition) -> int | None:
        """`fetching.epoch_of`."""
        return self._epochs.get(tp.partition)

    def position(self, tp: TopicPartition, timeout_ms: int) -> int | None:
        """The next offset to fetch."""
        return self._positions.get(tp.partition)

    def ask_where_logs_diverge(self, timeout_ms: int) -> None:
        """`fetching.ask_where_logs_diverge`."""
        self._step("offsets")
        broker = self._process.broker
        if broker.away or broker.topic is None:
            self._process.unanswered()
            self._process.clock.advance(ASK_SECONDS)
            raise kafka.errors.KafkaTimeoutError("nobody answers")
        for number in self._assigned:
            self._validate(broker.topic, number)

    def beginning_offsets(
        self, partitions: list[TopicPartition], timeout_ms: int
    ) -> dict[TopicPartition, int]:
        """Where partitions begin."""
        starts = self._ask(partitions, lambda partition: partition.start)
        self._process.began({tp.partition: start for tp, start in starts.items()})
        return starts

    def end_offsets(
        self, partitions: list[TopicPartition], timeout_ms: int
    ) -> dict[TopicPartition, int]:
        """Where the committed records of partitions end."""
        return self._ask(partitions, lambda partition: partition.stable)

    def poll(self, timeout_ms: int) -> dict[TopicPartition, list[RawRecord]]:
        """Some of what there is, of some of the partitions."""
        process = self._process
        self._step("poll")
        if process.poll_fails():
            raise kafka.errors.CorruptRecordError("a wrong checksum")
        broker, random = process.broker, process.random
        stalled = self._generation != broker.generation
        polled: dict[TopicPartition, list[RawRecord]] = {}
        mute = stalled and broker.silent is None
        topic = None if broker.away or mute else broker.topic
        process.answered(None if topic is None else topic.identity)
        if topic is not None:
            numbers = [number for number in self._assigned if number in self._positions]
            random.shuffle(numbers)
            for number in numbers:
                if random.random() < 0.85 and not (stalled and number == broker.silent):
                    records = self._fetch(topic, number)
                    if records:
                        polled[TopicPartition(TOPIC, number)] = records
        if not polled:
            process.clock.advance(STALLED_SECONDS if stalled else IDLE_SECONDS)
        return polled

    def close(self, *, autocommit: bool, timeout_ms: int) -> None:
        """Answer no more."""
        assert not autocommit
        self._closed = True

    def _fetch(self, topic: Topic, number: int) -> list[RawRecord]:
        if number >= len(topic.partitions):
            return []
        self._validate(topic, number)
        partition, at = topic.partitions[number], self._positions[number]
        if not partition.start <= at <= partition.end:
            raise kafka.errors.OffsetOutOfRangeError({TopicPartition(TOPIC, number): at})
        random = self._process.random
        there = list(partition.readable(at, aborted=self._aborted_too))
        count = min(len(there), self._most, random.choice([1, 2, 3, 5, 8, 40]))
        if count < len(there):
            # What a batch's end covers is passed with it, or only with the next one.
            further = random.random() < 0.5
            after = there[count].offset if further else there[count - 1].offset + 1
        else:
            last = there[-1].offset + 1 if there else at
            after = max(last, partition.stable) if random.random() < 0.7 else last
        before = partition.read.get(at)
        if count and before is not None and partition.entries[at - 1] is not before:
            raise BrokenPromiseError(
                "other records", f"read on at {number}:{at}, where {before} has been lost"
            )
        self._positions[number] = max(at, after)
        if after > at:
            self._epochs[number] = partition.entries[after - 1].epoch
        partition.reached(at, after)
        self._process.fetched(number, there[:count], self._positions[number])
        return [
            RawRecord(TOPIC, number, e.offset, e.timestamp, e.key, e.value, e.headers)
            for e in there[:count]
        ]

    def _validate(self, topic: Topic, number: int) -> None:
        """See that the log has not been cut below the position."""
        epoch, at = self._epochs.get(number), self._positions.get(number)
        if epoch is None or at is None or number >= len(topic.partitions):
            return
        end = topic.partitions[number].end_of(epoch)
        if end < at:
            there = OffsetAndMetadata(end, "", epoch)
            raise kafka.errors.LogTruncationError({TopicPartition(TOPIC, number): there})

    def _ask(
        self, partitions: list[TopicPartition], what: Callable[[Partition], int]
    ) -> dict[TopicPartition, int]:
        self._step("offsets")
        broker = self._process.broker
        topic = broker.topic
        if broker.away or topic is None:
            self._process.unanswered()
            self._process.clock.advance(ASK_SECONDS)
            raise kafka.errors.KafkaTimeoutError("nobody answers")
        known = len(topic.partitions)
        if any(tp.partition >= known for tp in partitions):
            self._process.unanswered()
            self._process.clock.advance(ASK_SECONDS)
            raise kafka.errors.KafkaTimeoutError("unknown partition")
        return {tp: what(topic.partitions[tp.partition]) for tp in partitions}


class Acknowledgement:
    """What ``Producer.send`` returns; known once the producer was flushed."""

    def __init__(self) -> None:
        self.exception: Exception | None = None
        self.stored = False
        self.is_done = False


class Producer:
    """`KafkaProducer`, for dead letters."""

    def __init__(self, process: Process, settings: Mapping[str, Any]) -> None:
        assert settings["acks"] == "all"
        self._process = process
        self._waiting: list[tuple[Acknowledgement, Entry]] = []

    def send(
        self, topic: str, *, key: bytes | None, value: bytes | None,
        headers: list[tuple[str, bytes]],
    ) -> Acknowledgement:  # fmt: skip
        """Take a letter; nothing is sent before the flush."""
        self._process.step("send letter")
        said = {name: text.decode(errors="replace") for name, text in headers}
        partition, offset = int(said["streamlsh-partition"]), int(said["streamlsh-offset"])
        entry = self._process.origin(partition, offset)
        told = (topic, key, value, said["streamlsh-reason"])
        if entry is None:
            raise BrokenPromiseError(
                "letter about nothing", f"{partition}:{offset} was not fetched"
            )
        if told != (DEAD_TOPIC, entry.key, _sendable(entry), entry.reason):
            raise BrokenPromiseError("wrong letter", f"{told} says something else than {entry}")
        acknowledgement = Acknowledgement()
        self._waiting.append((acknowledgement, entry))
        return acknowledgement

    def flush(self, timeout: float) -> None:
        """Send what waits; what is not acknowledged waits on, and is not stored a second time.

        A crash in the middle leaves some sent, and none known to be.
        """
        broker = self._process.broker
        refused = broker.away or broker.refuses_letters
        if not refused or broker.keeps_refused:
            for acknowledgement, entry in self._waiting:
                if acknowledgement.stored:
                    continue
                acknowledgement.stored = True
                entry.letters += 1
                if entry.letters > entry.served:
                    raise BrokenPromiseError(
                        "too many letters", f"{entry}: {entry.letters}, read {entry.served} times"
                    )
        self._process.step("flush letters")
        if refused:
            self._process.unanswered()
            self._process.clock.advance(timeout)
            raise kafka.errors.KafkaTimeoutError("dead letters are not acknowledged")
        for acknowledgement, entry in self._waiting:
            acknowledgement.is_done = True
            entry.acknowledged += 1
        self._waiting = []

    def close(self, timeout: float) -> None:
        """Nothing is held."""


def _sendable(entry: Entry) -> bytes | None:
    return b"" if entry.key is None and entry.value is None else entry.value
