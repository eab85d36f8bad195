"""Makes kafka-python read faster: its own way costs more than all else that an update costs.

Six pieces of one consumer's client are replaced, and only of that one. Three for speed:

- what turns a fetched batch into records. The client calls a dozen functions a record; here
  its fields are read in one loop, into tuples that have just the fields of `Record`.
- what reads from the socket. The client asks for 4 KiB a call, and between two calls any other
  thread may take the interpreter's lock and keep it for milliseconds.
- what one poll takes. The client counts records only; but a fetch of 16 MiB may hold gigabytes
  once it is decompressed, so here their bytes count too.

And two so that what was read is let go of. Both would wait for Python's search for garbage cycles,
which counts objects and not bytes: a few hundred large records are a gigabyte.

- what waits for a fetch. The client's wait ends in an exception when the time is up, and that keeps
  the frames of all its callers, and so their records, in a cycle.
- what takes a fetch apart. The client keeps the whole answer until it asks for the next.

And one so that a truncated log is noticed:

- what an empty answer leaves behind, as every session's first one for a partition without news is.
  The client then forgets the epoch of the leader under which it has read what comes before.

All that decides *which* records there are (checksums, transactions, offsets) stays the client's,
and a batch in an older format is read by the client too. Besides `connection`, only this module
looks inside of the client library; both rely on its version (see the bounds in pyproject.toml).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Any, Final

from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import Fetcher
from kafka.errors import CorruptRecordError, KafkaTimeoutError
from kafka.protocol.consumer import IsolationLevel
from kafka.record.default_records import DefaultRecordBatch
from kafka.structs import OffsetAndMetadata

from streamlsh_kafka.source import Headers, RawRecord

READ_BYTES: Final = 512 * 1024
TAKE_BYTES: Final = 16 * 1024 * 1024
"""A poll takes no further record once the values of those it has add up to this."""


def read_faster(consumer: KafkaConsumer) -> None:
    """Replace these pieces of a consumer that has not fetched anything yet."""
    fetcher = consumer._fetcher
    fetcher.PartitionRecords = PartitionRecords
    append = fetcher._append

    def append_within_bounds(drained: Any, part: Any, room: int, update: bool) -> int:
        if part is not None and part.leader_epoch < 0:
            epoch = epoch_of(consumer, part.topic_partition)
            part.leader_epoch = -1 if epoch is None else epoch
        taken: int = append(drained, part, room, update)
        # A poll ends when the room for records is used up.
        return room if part is not None and part.full else taken

    fetcher._append = append_within_bounds
    take_apart = fetcher._handle_fetch_response

    def take_apart_and_let_go(node: Any, offsets: Any, sent: float, response: Any) -> None:
        take_apart(node, offsets, sent, response)
        response.responses = []

    fetcher._handle_fetch_response = take_apart_and_let_go
    manager = consumer._client._manager
    fetcher._net = PatientLoop(fetcher._net, manager)
    build = manager._build_transport

    async def build_transport(*args: Any, **settings: Any) -> Any:
        transport = await build(*args, **settings)
        transport._sock = LargeReads(transport._sock)
        return transport

    manager._build_transport = build_transport


def go_to(consumer: KafkaConsumer, tp: TopicPartition, offset: int, epoch: int | None) -> None:
    """Go to an offset, and have the broker asked whether what was read before it is still there.

    The client's own ``seek`` forgets under which leader that was read, and without it no broker can
    tell that other records stand there by now.

    Args:
        consumer: it is moved.
        tp: an assigned partition.
        offset: the next to read.
        epoch: of the leader under which the record before it was read. A later one asks the same:
            where the log that was read up to then ends by now.
    """
    consumer.seek(tp, offset)
    if epoch is not None and offset > 0:
        consumer._subscription.seek(tp, OffsetAndMetadata(offset, "", epoch))


def epoch_of(consumer: KafkaConsumer, tp: TopicPartition) -> int | None:
    """The epoch of the leader under which a partition was read up to where the consumer stands."""
    state = consumer._subscription.assignment.get(tp)
    epoch = -1 if state is None or state.position is None else state.position.leader_epoch
    return None if epoch < 0 else int(epoch)


def ask_where_logs_diverge(consumer: KafkaConsumer, timeout_ms: int) -> None:
    """Have the brokers asked now what `go_to` leaves for the next poll.

    Raises:
        LogTruncationError: other records stand where some were read.
        KafkaTimeoutError: there was no answer.
    """
    places = consumer.assignment()
    if places:
        for _ in ("ask", "raise what was answered"):
            consumer.position(next(iter(places)), timeout_ms=timeout_ms)
    if any(consumer._subscription.is_offset_validation_needed(tp) for tp in places):
        raise KafkaTimeoutError("it was not told where its log diverges from what was read")


class PatientLoop:
    """The client's event loop; a wait for a fetch that lasts too long just ends."""

    def __init__(self, loop: Any, manager: Any) -> None:
        self._loop = loop
        self._manager = manager

    def run(self, function: Any, *arguments: Any) -> Any:
        """Run a coroutine in the loop's thread, and wait for its result."""
        if function == self._manager.wait_for:
            return self._loop.run(self._wait, *arguments)
        return self._loop.run(function, *arguments)

    async def _wait(self, future: Any, timeout_ms: float | None) -> None:
        with suppress(KafkaTimeoutError):
            await self._manager.wait_for(future, timeout_ms)


class LargeReads:
    """A socket that reads more in one call than it is asked for."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self._buffer = memoryview(bytearray(READ_BYTES))

    def recv(self, _size: int) -> bytes:
        """Receive what is there."""
        size: int = self._sock.recv_into(self._buffer)
        return self._buffer[:size].tobytes()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class PartitionRecords(Fetcher.PartitionRecords):  # type: ignore[misc]  # the client has no types
    """What was fetched of one partition, as an iterator of `RawRecord`.

    Attributes:
        full: whether the bytes of what was taken last were enough for one poll.
    """

    full = False

    def take(self, n: int | None = None) -> list[RawRecord]:
        """Take up to ``n`` records, and none after their values add up to `TAKE_BYTES`."""
        self._maybe_raise_next_inline_exception()
        records: list[RawRecord] = []
        size = 0
        self.full = False
        try:
            for record in islice(self.record_iterator, n):
                records.append(record)
                size += len(record.value or b"")
                if size >= TAKE_BYTES:
                    self.full = True
                    break
        except Exception as error:
            if not records:
                raise
            self._next_inline_exception = error  # raised when these records have been taken
        return records

    def _unpack_records(
        self, tp: Any, records: Any, _key_deserializer: None, _value_deserializer: None
    ) -> Iterator[RawRecord]:
        committed_only = self.isolation_level == IsolationLevel.READ_COMMITTED
        last = None
        while (batch := records.next_batch()) is not None:
            last = batch
            if self.check_crcs and not batch.validate_crc():
                raise CorruptRecordError(
                    f"batch of {tp} at offset {batch.base_offset} has a wrong checksum"
                )
            if batch.magic == 2:
                self.leader_epoch = batch.leader_epoch
                aborted = committed_only and batch.has_producer_id() and self._is_aborted(batch)
                if aborted or batch.is_control_batch:
                    self.next_fetch_offset = batch.next_offset
                    continue
            for record in read_batch(tp.topic, tp.partition, batch):
                self.records_read += 1
                self.next_fetch_offset = record.offset + 1
                yield record
            self.bytes_read += batch.size_in_bytes
        if last is not None and last.magic == 2:
            # Compaction may have removed the records at the end of a batch, but not their offsets.
            self.next_fetch_offset = last.next_offset
        self.drain()

    def _is_aborted(self, batch: Any) -> bool:
        """Whether a batch belongs to a transaction that was aborted; it keeps track of those."""
        self._consume_aborted_transactions_up_to(batch.last_offset)
        if self._contains_abort_marker(batch):
            self.aborted_producer_ids.discard(batch.producer_id)
            return False
        return bool(self._is_batch_aborted(batch))


def read_batch(topic: str, partition: int, batch: Any) -> Iterator[RawRecord]:
    """All records of a batch.

    Raises:
        CorruptRecordError: they do not follow the format.
    """
    if not isinstance(batch, DefaultRecordBatch):
        for record in batch:
            if not record.validate_crc():
                raise CorruptRecordError(f"record at offset {record.offset} has a wrong checksum")
            yield RawRecord(
                topic, partition, record.offset, record.timestamp, record.key, record.value,
                record.headers,
            )  # fmt: skip
        return
    batch._maybe_uncompress()
    try:
        yield from _read(topic, partition, batch)
    except (ValueError, IndexError) as error:
        raise CorruptRecordError(f"a record breaks the format: {error!r}") from error


def _read(topic: str, partition: int, batch: Any) -> Iterator[RawRecord]:
    data, at = bytes(batch._buffer), batch._pos
    base_offset, first_timestamp = batch.base_offset, batch.first_timestamp
    appended = batch.max_timestamp if batch.timestamp_type == batch.LOG_APPEND_TIME else None
    new = RawRecord._make
    for _ in range(batch.records_count):
        size, at = _varint(data, at)
        end = at + size
        delta, at = _varint(data, at + 1)  # past the attributes
        timestamp = first_timestamp + delta if appended is None else appended
        delta, at = _varint(data, at)
        offset = base_offset + delta
        size = data[at]
        at += 1
        if size & 0x81:
            size, at = _varint(data, at - 1)
        else:
            size >>= 1
        key = None
        if size >= 0:
            key = data[at : at + size]
            at += size
        size, at = _varint(data, at)
        value = None
        if size >= 0:
            value = data[at : at + size]
            at += size
        headers: Headers = ()
        if data[at]:
            headers, at = _headers(data, at)
        else:
            at += 1
        if at != end:
            raise ValueError("size of a record")
        yield new((topic, partition, offset, timestamp, key, value, headers))
    if at != len(data):
        raise ValueError("bytes after the last record")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A zigzag number of at most ten bytes, and where the next field begins."""
    byte = data[at]
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), at + 1
    number, shift = byte & 0x7F, 7
    while True:
        at += 1
        byte = data[at]
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1), at + 1
        shift += 7
        if shift >= 64:
            raise ValueError("a number of more than 64 bits")


def _headers(data: bytes, at: int) -> tuple[Headers, int]:
    count, at = _varint(data, at)
    if count < 0:
        raise ValueError("number of headers")
    headers: list[tuple[str, bytes | None]] = []
    for _ in range(count):
        size, at = _varint(data, at)
        if size < 0:
            raise ValueError("size of a header's name")
        # Brokers let any bytes through: one odd name may not stop the topic.
        name = str(data[at : at + size], "utf-8", "replace")
        at += size
        size, at = _varint(data, at)
        value = None
        if size >= 0:
            value = data[at : at + size]
            at += size
        headers.append((name, value))
    return headers, at
