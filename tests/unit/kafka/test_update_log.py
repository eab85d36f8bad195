"""The embedded update log: offsets, torn tails, damage, one appender and many readers."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamlsh import Position
from streamlsh_kafka import UpdateLogAppender, UpdateLogSource
from streamlsh_kafka.errors import (
    CorruptUpdateLogError,
    OffsetBeyondEndError,
    TopicNotFoundError,
    TopicRecreatedError,
    UpdateLogLockedError,
)
from streamlsh_kafka.source import RawRecord


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "items.log"


def append(path: Path, *keys: bytes) -> int:
    with UpdateLogAppender(path) as log:
        return log.append((key, b"value of " + key, [("h", b"1")]) for key in keys)


def read(path: Path, *, since: int = 0) -> list[RawRecord]:
    source = UpdateLogSource(path)
    try:
        source.start({(source.stream, 0): Position(source.stream, 0, since, source.identity)})
        return list(source.poll(0.0, 1_000_000))
    finally:
        source.close()


def keys(records: list[RawRecord]) -> list[bytes | None]:
    return [record.key for record in records]


def test_records_come_back_in_order_with_their_numbers_as_offsets(path: Path) -> None:
    assert append(path, b"a", b"b") == 2
    assert append(path, b"c") == 3
    records = read(path)
    assert [(r.offset, r.key, r.value) for r in records] == [
        (0, b"a", b"value of a"),
        (1, b"b", b"value of b"),
        (2, b"c", b"value of c"),
    ]
    assert list(records[0].headers) == [("h", b"1")]
    assert records[0].timestamp > 0


def test_a_null_value_and_a_null_key_stay_null(path: Path) -> None:
    with UpdateLogAppender(path) as log:
        log.append([(None, None, [])])
    [record] = read(path)
    assert (record.key, record.value) == (None, None)


def test_reading_goes_on_at_the_stored_offset(path: Path) -> None:
    append(path, b"a", b"b", b"c")
    assert keys(read(path, since=2)) == [b"c"]


def test_a_reader_sees_what_is_appended_after_it_reached_the_end(path: Path) -> None:
    append(path, b"a")
    source = UpdateLogSource(path)
    source.start({})
    assert len(source.poll(0.0, 10)) == 1
    assert source.poll(0.0, 10) == []
    append(path, b"b")
    assert source.end_offsets() == {0: 2}
    assert [r.key for r in source.poll(0.0, 10)] == [b"b"]
    assert source.positions() == [Position("items.log", 0, 2, source.identity)]
    source.close()


def test_a_poll_takes_no_more_than_it_was_asked_for(path: Path) -> None:
    append(path, b"a", b"b", b"c")
    source = UpdateLogSource(path)
    assert len(source.poll(0.0, 2)) == 2
    assert len(source.poll(0.0, 2)) == 1
    source.close()


def test_a_tail_torn_at_any_byte_hides_only_the_last_record(path: Path) -> None:
    append(path, b"a")
    complete = path.stat().st_size
    append(path, b"b")
    whole = path.read_bytes()
    for size in range(complete, len(whole)):
        path.write_bytes(whole[:size])
        assert keys(read(path)) == [b"a"], f"torn at byte {size}"


def test_the_next_appender_cuts_off_a_torn_tail(path: Path) -> None:
    append(path, b"a", b"b")
    path.write_bytes(path.read_bytes()[:-1])
    assert append(path, b"c") == 2
    assert keys(read(path)) == [b"a", b"c"]


def test_a_reader_waiting_at_a_torn_tail_reads_what_replaced_it(path: Path) -> None:
    append(path, b"a", b"b")
    path.write_bytes(path.read_bytes()[:-1])
    source = UpdateLogSource(path)
    assert [r.key for r in source.poll(0.0, 10)] == [b"a"]
    append(path, b"longer than before")
    assert [r.key for r in source.poll(0.0, 10)] == [b"longer than before"]
    source.close()


def test_zeros_after_the_last_record_are_a_torn_tail(path: Path) -> None:
    append(path, b"a")
    with path.open("ab") as file:
        file.write(bytes(5_000))
    assert keys(read(path)) == [b"a"]
    append(path, b"b")
    assert keys(read(path)) == [b"a", b"b"]


@pytest.mark.parametrize("in_frame", [0, 4, 8, 14])
def test_damage_before_the_tail_is_an_error_for_readers_and_appenders(
    path: Path, in_frame: int
) -> None:
    append(path, b"a")
    first_end = path.stat().st_size
    append(path, b"b", b"c")
    damaged = bytearray(path.read_bytes())
    damaged[first_end + in_frame] ^= 0xFF
    path.write_bytes(damaged)
    with pytest.raises(CorruptUpdateLogError) as caught:
        read(path)
    assert caught.value.byte == first_end
    with pytest.raises(CorruptUpdateLogError):
        append(path, b"d")
    assert path.read_bytes() == damaged


def test_a_file_that_is_no_update_log_is_refused_and_left_alone(path: Path) -> None:
    path.write_bytes(b"something else entirely, and long enough")
    with pytest.raises(CorruptUpdateLogError, match="no update log"):
        UpdateLogSource(path)
    with pytest.raises(CorruptUpdateLogError, match="no update log"):
        UpdateLogAppender(path)
    assert path.read_bytes().startswith(b"something else")


def test_a_missing_file_is_a_clear_error(path: Path) -> None:
    with pytest.raises(TopicNotFoundError, match="no update log at"):
        UpdateLogSource(path)


def test_a_second_appender_is_refused(path: Path) -> None:
    with UpdateLogAppender(path), pytest.raises(UpdateLogLockedError):
        UpdateLogAppender(path)
    append(path, b"a")


def test_a_position_of_another_file_of_that_name_stops(path: Path) -> None:
    append(path, b"a")
    source = UpdateLogSource(path)
    with pytest.raises(TopicRecreatedError) as caught:
        source.start({("items.log", 0): Position("items.log", 0, 1, "another")})
    assert (caught.value.expected, caught.value.received) == ("another", source.identity)
    source.close()


def test_a_position_past_the_end_stops(path: Path) -> None:
    append(path, b"a")
    with pytest.raises(OffsetBeyondEndError) as caught:
        read(path, since=5)
    assert (caught.value.stored, caught.value.limit) == (5, 1)


def test_records_larger_than_the_read_buffer_are_read(path: Path) -> None:
    large = bytes(range(256)) * 10_000
    with UpdateLogAppender(path) as log:
        log.append([(b"a", large, []), (b"b", b"", []), (b"c", large, [])])
    assert [r.value for r in read(path)] == [large, b"", large]
