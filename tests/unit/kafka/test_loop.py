"""The ingest loop on a source in memory and a real index."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import streamlsh
from streamlsh import Delete, Position, Upsert
from streamlsh_kafka import BatchBounds, BatchReport, DecodeError, RawRecord, Source, consume
from streamlsh_kafka.batches import reason_of
from streamlsh_kafka.errors import DeadLetterError, PoisonRecordError
from streamlsh_kafka.source import Record
from streamlsh_kafka.testing.memory import MemoryDeadLetters, MemorySource

DIM = 4


@pytest.fixture
def index(tmp_path: Path) -> Path:
    path = tmp_path / "items.lsh"
    streamlsh.create(path, dim=DIM, family="hyperplane", bits=4, tables=2)
    return path


@pytest.fixture
def writer(index: Path) -> Iterator[streamlsh.Writer]:
    with streamlsh.writer(index) as writer:
        yield writer


def item(name: str, value: float = 1.0) -> Upsert:
    return Upsert(name, np.array([value, 1, 2, 3], np.float32))


def ids(index: Path) -> list[str]:
    with streamlsh.open(index) as reader:
        return [found.id for found in reader.items()]


class Watch:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.reports: list[BatchReport] = []
        self.polls = 0
        self.closed = False

    def committed(self, report: BatchReport) -> None:
        self.reports.append(report)

    def polled(self, source: Source) -> None:
        self.polls += 1

    def close(self) -> None:
        self.closed = True


def test_updates_arrive_in_the_index_with_the_position_after_them(
    writer: streamlsh.Writer, index: Path
) -> None:
    source = MemorySource()
    source.add(item("a"))
    source.add(item("b"))
    source.add(Delete("a"))
    summary = consume(writer, source, until_end=True)
    assert ids(index) == ["b"]
    assert writer.positions[("memory", 0)] == Position("memory", 0, 3, "m")
    assert (summary.records, summary.commits, summary.dead_letters) == (3, 1, 0)


def test_a_second_run_goes_on_where_the_first_ended(writer: streamlsh.Writer, index: Path) -> None:
    source = MemorySource()
    source.add(item("a"))
    consume(writer, source, until_end=True)
    source.add(item("b"))
    assert consume(writer, source, until_end=True).records == 1
    assert ids(index) == ["a", "b"]


def test_offsets_without_records_are_passed(writer: streamlsh.Writer) -> None:
    source = MemorySource(partitions=2)
    source.add(item("a"))
    source.add_gap(3)
    source.add_gap(5, partition=1)
    consume(writer, source, until_end=True)
    assert {p.partition: p.offset for p in writer.positions.values()} == {0: 4, 1: 5}


def test_the_end_is_the_one_that_the_source_had_at_the_start(writer: streamlsh.Writer) -> None:
    source = MemorySource()
    source.add(item("a"))

    class Producer(Watch):
        def committed(self, report: BatchReport) -> None:
            super().committed(report)
            source.add(item("later"))

    watch = Producer()
    consume(writer, source, until_end=True, observers=[watch])
    assert len(watch.reports) == 1


def test_nothing_to_do_ends_without_a_commit(writer: streamlsh.Writer) -> None:
    assert consume(writer, MemorySource(), until_end=True).commits == 0


def test_a_backlog_is_committed_in_batches_within_the_bounds(writer: streamlsh.Writer) -> None:
    source = MemorySource()
    for number in range(25):
        source.add(item(f"i{number}"))
    watch = Watch()
    consume(writer, source, until_end=True, bounds=BatchBounds(records=10), observers=[watch])
    assert [report.records for report in watch.reports] == [10, 10, 5]
    assert [report.positions[0].offset for report in watch.reports] == [10, 20, 25]


def test_a_batch_grows_over_several_polls_until_its_bytes_are_enough(
    writer: streamlsh.Writer,
) -> None:
    class Dripping(MemorySource):
        def poll(self, timeout: float, max_records: int) -> list[RawRecord]:
            return list(super().poll(timeout, 1))

    source = Dripping()
    for number in range(6):
        source.add(item(f"i{number}"))
    watch = Watch()
    size = len(source.poll(0.0, 1)[0].value or b"")
    bounds = BatchBounds(payload_bytes=2 * size)
    consume(writer, source, until_end=True, bounds=bounds, observers=[watch])
    assert [report.records for report in watch.reports] == [2, 2, 2]
    assert [report.payload_bytes for report in watch.reports] == [2 * size] * 3


def test_a_request_to_stop_finishes_the_batch_in_hand(
    writer: streamlsh.Writer, index: Path
) -> None:
    source = MemorySource()
    for number in range(20):
        source.add(item(f"i{number:02}"))
    answers = iter([False, True])
    watch = Watch()
    consume(
        writer,
        source,
        bounds=BatchBounds(records=10),
        observers=[watch],
        stop_requested=lambda: next(answers),
    )
    assert ids(index) == [f"i{number:02}" for number in range(10)]
    assert watch.closed


def test_bad_records_become_dead_letters_and_the_good_ones_are_applied(
    writer: streamlsh.Writer, index: Path
) -> None:
    source = MemorySource()
    source.add(item("a"))
    source.add_raw(b"bad", b"\xc1", [("own", b"header")])
    source.add(Upsert("short", np.ones(DIM - 1, np.float32)))
    source.add(Upsert("nan", np.array([1, 2, np.nan, 4], np.float32)))
    source.add(Upsert("zero", np.zeros(DIM, np.float32)))
    source.add(Upsert("x" * 600, np.ones(DIM, np.float32)))
    source.add(item("b"))
    letters = MemoryDeadLetters()
    watch = Watch()
    summary = consume(writer, source, dead_letters=letters, until_end=True, observers=[watch])
    assert ids(index) == ["a", "b"]
    assert summary.dead_letters == 5
    reasons = ["bad-msgpack", "dimension", "non-finite-vector", "zero-vector", "item-id"]
    assert sorted(letter.reason for letter in letters.letters) == sorted(reasons)
    assert watch.reports[0].dead_letters == dict.fromkeys(reasons, 1)
    bad = next(letter for letter in letters.letters if letter.reason == "bad-msgpack")
    assert (bad.record.key, bad.record.value) == (b"bad", b"\xc1")
    headers = dict(bad.headers())
    assert headers["own"] == b"header"
    assert headers["streamlsh-reason"] == b"bad-msgpack"
    assert headers["streamlsh-error-class"] == b"DecodeError"
    assert headers["streamlsh-topic"] == b"memory"
    assert headers["streamlsh-partition"] == b"0"
    assert headers["streamlsh-offset"] == b"1"
    assert headers["streamlsh-timestamp"] == b"1001"


def test_dead_letters_are_stored_before_the_commit_passes_them(writer: streamlsh.Writer) -> None:
    source = MemorySource()
    source.add_raw(b"bad", b"\xc1")
    seen: list[bool] = []

    class Looking(MemoryDeadLetters):
        def put(self, letters: object) -> None:
            seen.append(("memory", 0) in writer.positions)

    consume(writer, source, dead_letters=Looking(), until_end=True)
    assert seen == [False]
    assert writer.positions[("memory", 0)].offset == 1


def test_dead_letters_that_are_not_acknowledged_leave_the_index_as_it_was(
    writer: streamlsh.Writer, index: Path
) -> None:
    source = MemorySource()
    source.add(item("a"))
    source.add_raw(b"bad", b"\xc1")
    with pytest.raises(DeadLetterError):
        consume(writer, source, dead_letters=MemoryDeadLetters(refuse=True), until_end=True)
    assert ids(index) == []
    assert writer.positions == {}
    consume(writer, source, dead_letters=MemoryDeadLetters(), until_end=True)
    assert ids(index) == ["a"]


@pytest.mark.parametrize("kind", ["broken", "misfit"])
def test_without_dead_letters_the_first_bad_record_stops_with_all_before_it_committed(
    writer: streamlsh.Writer, index: Path, kind: str
) -> None:
    source = MemorySource(partitions=2)
    source.add(item("a"))
    if kind == "broken":
        source.add_raw(b"bad", b"\xc1")
    else:
        source.add(Upsert("bad", np.ones(DIM + 1, np.float32)))
    source.add(item("c"))
    source.add(item("z"), partition=1)
    for _ in range(2):  # it is met again after a restart
        with pytest.raises(PoisonRecordError) as caught:
            consume(writer, source, until_end=True)
        error = caught.value
        assert (error.stream, error.partition, error.offset) == ("memory", 0, 1)
        assert error.reason == {"broken": "bad-msgpack", "misfit": "dimension"}[kind]
        assert "a" in ids(index)
        assert "c" not in ids(index)
        assert writer.positions[("memory", 0)].offset == 1
    consume(writer, source, dead_letters=MemoryDeadLetters(), until_end=True)
    assert ids(index) == ["a", "c", "z"]


def test_a_decoder_of_ones_own_is_used_and_may_fail_in_any_way(
    writer: streamlsh.Writer, index: Path
) -> None:
    def decode(record: Record) -> Upsert:
        text = (record.value or b"").decode()
        if text == "reasoned":
            raise DecodeError("my-reason", "no good")
        return Upsert(text, np.full(DIM, 1 / (len(text) - 1), np.float32))

    source = MemorySource()
    for text in (b"ok", b"x", b"reasoned", b"\xff"):
        source.add_raw(None, text)
    letters = MemoryDeadLetters()
    consume(writer, source, decoder=decode, dead_letters=letters, until_end=True)
    assert ids(index) == ["ok"]
    assert [(letter.reason, letter.error_class) for letter in letters.letters] == [
        ("decoder-failed", "ZeroDivisionError"),
        ("my-reason", "DecodeError"),
        ("decoder-failed", "UnicodeDecodeError"),
    ]


def test_the_same_record_twice_in_a_batch_is_applied_in_order(
    writer: streamlsh.Writer, index: Path
) -> None:
    source = MemorySource()
    source.add(item("a", 1.0))
    source.add(item("a", 5.0))
    consume(writer, source, until_end=True)
    with streamlsh.open(index) as reader:
        found = reader.get("a")
    assert found is not None
    assert found.vector[0] == 5.0


@pytest.mark.parametrize(
    ("error", "reason"),
    [("DimensionError", "dimension"), ("NonFiniteVectorError", "non-finite-vector")],
)
def test_reasons_follow_the_names_of_the_librarys_errors(error: str, reason: str) -> None:
    assert reason_of(error) == reason
