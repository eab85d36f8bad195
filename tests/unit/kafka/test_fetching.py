"""The faster reading of fetched batches gives what the client's own gives."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.fetcher import Fetcher
from kafka.consumer.subscription_state import SubscriptionState
from kafka.errors import CorruptRecordError
from kafka.protocol.consumer import IsolationLevel
from kafka.record import MemoryRecords, MemoryRecordsBuilder

from streamlsh_kafka import fetching

TP = TopicPartition("t", 3)


def build(
    records: list[Any], *, offset: int = 5, magic: int = 2, compression: int = 0, **producer: Any
) -> bytes:
    """One batch of (timestamp, key, value, headers), with the next offsets."""
    builder = MemoryRecordsBuilder(magic, compression, 1 << 20, offset=offset, **producer)
    for timestamp, key, value, headers in records:
        assert builder.append(timestamp, key, value, headers) is not None
    builder.close()
    return bytes(builder.buffer())


def control(offset: int, kind: int, producer_id: int) -> bytes:
    """A batch that ends a transaction: kind 0 aborts, 1 commits."""
    data = bytearray(
        build(
            [(0, b"\x00\x00\x00" + bytes([kind]), b"\x00" * 6, [])], offset=offset,
            transactional=True, producer_id=producer_id, producer_epoch=0, base_sequence=0,
        )
    )  # fmt: skip
    data[22] |= 0x20  # the low byte of the attributes
    return bytes(data)


def read(kind: Any, data: bytes, **settings: Any) -> tuple[list[Any], int, int]:
    """What the client, or ours in its place, makes of fetched bytes."""
    fetched = kind(5, TP, MemoryRecords(data), **settings)
    records: list[Any] = []
    while fetched:
        records += fetched.take(2)
    told = [
        (r.topic, r.partition, r.offset, r.timestamp, r.key, r.value, list(r.headers))
        for r in records
    ]
    return told, fetched.next_fetch_offset, fetched.records_read


def assert_same(data: bytes, **settings: Any) -> list[Any]:
    ours = read(fetching.PartitionRecords, data, **settings)
    assert ours == read(Fetcher.PartitionRecords, data, **settings)
    return ours[0]


small = st.binary(max_size=3) | st.sampled_from([b"x" * 63, b"x" * 64, b"x" * 8192, b"x" * 9000])
record_lists = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 63, 64, 2**40, -1]),
        st.none() | small,
        st.none() | small,
        st.lists(st.tuples(st.sampled_from(["h", "\u00fc", "", "h" * 70]), st.none() | small),
                 max_size=2),
    ),
    min_size=1, max_size=5,
)  # fmt: skip


@given(st.lists(record_lists, min_size=1, max_size=3), st.sampled_from([0, 1, 2, 3]))
def test_records_are_those_that_the_client_reads(batches: list[Any], compression: int) -> None:
    data, offset = b"", 5
    for records in batches:
        data += build(records, offset=offset, compression=compression)
        offset += len(records) + 7  # a gap, as compaction leaves it
    assert len(assert_same(data)) == sum(map(len, batches))


@pytest.mark.parametrize("magic", [0, 1])
def test_old_formats_are_read_too(magic: int) -> None:
    assert len(assert_same(build([(1, b"k", b"v", []), (2, None, None, [])], magic=magic))) == 2


def test_a_fetch_that_begins_within_a_batch_begins_at_its_offset() -> None:
    data = build([(0, b"%d" % i, b"v", []) for i in range(6)], offset=3)
    assert [record[2] for record in assert_same(data)] == [5, 6, 7, 8]


@pytest.mark.parametrize("level", list(IsolationLevel))
def test_aborted_transactions_and_their_markers_are_passed_over(level: IsolationLevel) -> None:
    class Aborted:
        producer_id, first_offset = 9, 7

    def transaction(offset: int, producer_id: int) -> bytes:
        return build(
            [(0, b"k", b"v%d" % offset, [])], offset=offset, transactional=True,
            producer_id=producer_id, producer_epoch=0, base_sequence=0,
        )  # fmt: skip

    data = (
        build([(0, b"k", b"v5", [])], offset=5)
        + transaction(6, 8)
        + transaction(7, 9)
        + control(8, 1, 8)
        + transaction(9, 9)
        + control(10, 0, 9)
        + transaction(11, 9)
        + control(12, 1, 9)
    )
    settings = {"isolation_level": level, "aborted_transactions": [Aborted], "check_crcs": False}
    told = assert_same(data, **settings)
    committed = level == IsolationLevel.READ_COMMITTED
    assert [r[2] for r in told] == ([5, 6, 11] if committed else [5, 6, 7, 9, 11])


@given(st.integers(0, 200), st.sampled_from([0x01, 0x80, 0xFF]), st.booleans())
def test_damage_ends_in_the_clients_own_error(at: int, flip: int, check: bool) -> None:
    data = bytearray(build([(0, b"key", b"value" * 9, [("h", b"x")])] * 2))
    at = 12 + at % (len(data) - 12)  # the length in front only cuts the fetch short
    data[at] ^= flip

    def end(kind: Any) -> Any:
        try:
            return read(kind, bytes(data), check_crcs=check)
        except CorruptRecordError:
            return CorruptRecordError

    if check and at > 20:
        assert end(fetching.PartitionRecords) is CorruptRecordError
    elif at != 16 and not 21 <= at <= 22:  # the format's number and the flags mean other things
        end(fetching.PartitionRecords)


def test_a_socket_is_read_in_large_pieces() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(bytes(50_000))
        wrapped = fetching.LargeReads(ours)
        assert len(wrapped.recv(4096)) > 4096
        assert wrapped.fileno() == ours.fileno()


def test_a_header_whose_name_is_no_text_does_not_stop_the_topic() -> None:
    data = build([(0, b"k", b"v", [("zzzz", b"x")]), (0, b"l", b"w", [])])
    odd = data.replace(b"zzzz", b"\xff\xfezz")
    assert odd != data
    told, _, _ = read(fetching.PartitionRecords, odd, check_crcs=False)
    assert [(r[4], r[5], r[6]) for r in told] == [
        (b"k", b"v", [("\ufffd\ufffdzz", b"x")]),
        (b"l", b"w", []),
    ]


@pytest.mark.parametrize(
    ("offset", "epoch", "asks"), [(1, 3, True), (9, 3, True), (0, 3, False), (9, None, False)]
)
def test_a_client_that_goes_to_an_offset_asks_a_new_leader_where_the_log_diverges(
    offset: int, epoch: int | None, asks: bool
) -> None:
    """Not if nothing comes before, nor if it is not known under which leader that was read."""
    state = SubscriptionState("none")
    client: Any = SimpleNamespace(_subscription=state, _iterator=None)
    client.seek = lambda tp, offset: KafkaConsumer.seek(client, tp, offset)
    assert fetching.epoch_of(client, TP) is None, "it is not assigned"
    state.assign_from_user([TP])
    assert fetching.epoch_of(client, TP) is None, "it has no position"
    fetching.go_to(client, TP, offset, epoch)
    assert state.position(TP).offset == offset
    assert fetching.epoch_of(client, TP) == (3 if asks else None)
    assert not state.maybe_validate_position_for_current_leader(TP, 3)
    assert state.maybe_validate_position_for_current_leader(TP, 4) == asks
