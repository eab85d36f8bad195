"""The broker refuses a place that the client had read ahead to: the index's position decides."""

from __future__ import annotations

from typing import Any

import kafka.errors
import pytest
from kafka import TopicPartition
from kafka.structs import OffsetAndMetadata

from streamlsh import Position
from streamlsh_kafka import KafkaSource, RawRecord, kafka_source
from streamlsh_kafka.errors import OffsetBelowStartError, OffsetBeyondEndError, SourceError
from tests.unit.kafka.clients import PLACE, Client, source_on


class Refused(Client):
    """A client whose topic has lost what it has read ahead; it is at offset 9."""

    def __init__(self, refusals: list[Exception], start: int, end: int) -> None:
        self.at = 0
        self._refusals = refusals
        self._started = False
        self._start, self._end = start, end

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self.at = offset

    def position(self, tp: TopicPartition, timeout_ms: int) -> int:
        return self.at

    def beginning_offsets(self, tps: Any, timeout_ms: int) -> dict[TopicPartition, int]:
        return {PLACE: self._start if self._started else 0}

    def end_offsets(self, tps: Any, timeout_ms: int) -> dict[TopicPartition, int]:
        return {PLACE: self._end if self._started else 9}

    def poll(self, timeout_ms: int) -> dict[TopicPartition, list[RawRecord]]:
        self._started = True
        if self._refusals:
            raise self._refusals.pop(0)
        record = RawRecord("items", 0, self.at, 0, b"k", None, ())
        self.at += 1
        return {PLACE: [record]}


def out_of_range(offset: int) -> Any:
    return kafka.errors.OffsetOutOfRangeError({PLACE: offset})


def diverged(offset: int | None) -> Any:
    there = None if offset is None else OffsetAndMetadata(offset, "", 1)
    return kafka.errors.LogTruncationError({PLACE: there})


@pytest.fixture
def source_of(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a source at offset 5 whose next polls are refused."""

    def make(refusals: list[Exception], start: int, end: int) -> KafkaSource:
        source = source_on(monkeypatch, Refused(refusals, start, end))
        source.start({("items", 0): Position("items", 0, 5, "id")})
        return source

    return make


@pytest.mark.parametrize("refusal", [out_of_range(9), out_of_range(5), diverged(5), diverged(7)])
def test_what_only_the_client_had_read_is_read_again(source_of: Any, refusal: Exception) -> None:
    source = source_of([refusal], 0, 7)
    assert list(source.poll(0.1, 10)) == []
    assert [position.offset for position in source.positions()] == [5]
    assert [record.offset for record in source.poll(0.1, 10)] == [5]


@pytest.mark.parametrize(
    ("refusal", "start", "end", "error"),
    [
        (out_of_range(9), 0, 4, OffsetBeyondEndError),
        (diverged(4), 0, 12, OffsetBeyondEndError),
        (diverged(None), 0, 12, OffsetBeyondEndError),
        (out_of_range(9), 6, 12, OffsetBelowStartError),
    ],
)
def test_what_the_index_needs_and_the_topic_has_lost_is_an_error(
    source_of: Any, refusal: Exception, start: int, end: int, error: type[Exception]
) -> None:
    source = source_of([refusal], start, end)
    with pytest.raises(error) as caught:
        source.poll(0.1, 10)
    assert caught.type is error


def test_a_start_notices_that_the_end_was_written_anew_though_there_is_nothing_to_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = source_on(monkeypatch, Client())

    def ask(*_: Any) -> None:
        raise diverged(4)

    monkeypatch.setattr(kafka_source, "ask_where_logs_diverge", ask)
    with pytest.raises(OffsetBeyondEndError) as caught:
        source.start({("items", 0): Position("items", 0, 9, "id", 3)})
    assert (caught.value.stored, caught.value.limit) == (9, 4)


def test_a_position_that_is_refused_twice_though_it_fits_is_an_error(source_of: Any) -> None:
    source = source_of([out_of_range(5), out_of_range(5)], 0, 7)
    assert list(source.poll(0.1, 10)) == []
    with pytest.raises(SourceError, match="refused the position"):
        source.poll(0.1, 10)


def test_a_record_between_two_refusals_makes_the_second_a_first_again(source_of: Any) -> None:
    client_ahead = [out_of_range(5)]
    source = source_of(client_ahead, 0, 7)
    assert list(source.poll(0.1, 10)) == []
    assert [record.offset for record in source.poll(0.1, 10)] == [5]
    client_ahead.append(out_of_range(6))
    assert list(source.poll(0.1, 10)) == []
