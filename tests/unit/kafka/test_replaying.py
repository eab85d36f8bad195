"""Deletes that compaction took away: a compacted source is read again, and ghosts are removed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

import streamlsh
from streamlsh import Delete, Position, Upsert
from streamlsh_kafka import BatchBounds, BatchReport, Source, consume
from streamlsh_kafka.errors import OffsetBelowStartError
from streamlsh_kafka.replaying import CaughtUp, replay_stream
from streamlsh_kafka.testing.memory import MemoryDeadLetters, MemorySource

DIM = 4
DAY = 86_400.0
START = 1_800_000_000.0


@pytest.fixture
def index(tmp_path: Path) -> Path:
    path = tmp_path / "items.lsh"
    streamlsh.create(path, dim=DIM, family="hyperplane", bits=4, tables=2)
    return path


@pytest.fixture
def source() -> MemorySource:
    source = MemorySource(partitions=2)
    source.retention = DAY
    return source


def item(name: str, value: float = 1.0, version: int | None = None) -> Upsert:
    return Upsert(name, np.array([value, 1, 2, 3], np.float32), version)


def catch_up(index: Path, source: MemorySource, now: float = START) -> None:
    letters = MemoryDeadLetters()
    with streamlsh.writer(index) as writer:
        consume(writer, source, until_end=True, clock=lambda: now, dead_letters=letters)


def contents(index: Path) -> dict[str, float]:
    with streamlsh.open(index) as reader:
        return {found.id: float(found.vector[0]) for found in reader.items()}


def state(index: Path) -> tuple[bool, float]:
    with streamlsh.writer(index) as writer:
        return writer.sweeping, writer.caught_up


def ghost(index: Path, source: MemorySource) -> None:
    """Let an index miss the delete of ``gone``."""
    for name in ("stays", "gone"):
        source.add(item(name))
    source.add(item("other"), partition=1)
    catch_up(index, source)
    source.add(Delete("gone"))
    source.add(item("new"), partition=1)
    source.compact()


def test_a_missed_delete_is_made_up_for_after_half_of_the_retention(
    index: Path, source: MemorySource
) -> None:
    ghost(index, source)
    catch_up(index, source, START + 0.51 * DAY)
    assert sorted(contents(index)) == ["new", "other", "stays"]
    assert state(index) == (False, START + 0.51 * DAY)
    with streamlsh.open(index) as reader:
        at = {key: p.offset for key, p in reader.positions.items()}
    assert (at["memory", 0], at["memory", 1]) == (3, 2)


def test_an_item_whose_old_record_was_compacted_away_for_a_new_one_is_no_ghost(
    index: Path, source: MemorySource
) -> None:
    """Its new record, of the same version, stands where the index had not read yet."""
    source.add(item("again", version=7))
    source.add(item("stays"))
    catch_up(index, source)
    for _ in range(3):
        source.add(item("last"))
    source.add(item("again", version=7))
    source.compact()
    with streamlsh.writer(index) as writer:
        consume(
            writer, source, until_end=True, clock=lambda: START + DAY,
            bounds=BatchBounds(records=1),
        )  # fmt: skip
        assert not writer.sweeping
    assert sorted(contents(index)) == ["again", "last", "stays"]


def test_the_end_of_a_replay_removes_its_own_positions_with_the_ghosts(
    index: Path, source: MemorySource
) -> None:
    long_topic(index, source)
    interrupt(index, source, START + DAY)
    with streamlsh.open(index) as reader:
        assert (replay_stream("memory"), 0) in reader.positions
        begun = reader.commit
    catch_up(index, source, START + 1.1 * DAY)
    with streamlsh.open(index) as reader:
        assert {stream for stream, _ in reader.positions} == {"memory"}
        assert reader.commit > begun
    with streamlsh.writer(index) as writer:
        assert {stream for stream, _ in writer.positions} == {"memory"}


def test_a_ghost_leaves_no_marker_behind(index: Path, source: MemorySource) -> None:
    source.add(item("back", version=7))
    source.add(item("stays"))
    catch_up(index, source)
    source.add(Delete("back"))
    source.compact()
    catch_up(index, source, START + DAY)
    assert sorted(contents(index)) == ["stays"]
    source.add(item("back", version=7))
    catch_up(index, source, START + DAY)
    assert sorted(contents(index)) == ["back", "stays"]


def test_records_that_vanish_while_a_replay_begins_stop_it(
    index: Path, source: MemorySource, monkeypatch: pytest.MonkeyPatch
) -> None:
    ghost(index, source)
    start = source.start
    starts: list[int] = []

    def shortened(stored: Mapping[tuple[str, int], Position]) -> None:
        """Retention takes all records after the first start."""
        starts.append(len(stored))
        if len(starts) > 2:
            raise OffsetBelowStartError(stream="memory", partition=0, stored=2, limit=9)
        start(stored)
        if len(starts) == 2:
            source._at = [9, 9]

    monkeypatch.setattr(source, "start", shortened)
    with pytest.raises(OffsetBelowStartError):
        catch_up(index, source, START + DAY)
    assert starts == [2, 0, 2]


def test_a_shorter_absence_is_no_reason_to_read_again(index: Path, source: MemorySource) -> None:
    ghost(index, source)
    catch_up(index, source, START + 0.49 * DAY)
    assert "gone" in contents(index)
    assert state(index) == (False, START + 0.49 * DAY)


def test_a_source_that_forgets_nothing_is_never_read_again(
    index: Path, source: MemorySource
) -> None:
    source.retention = None
    ghost(index, source)
    catch_up(index, source, START + 1000 * DAY)
    assert "gone" in contents(index)
    assert state(index) == (False, 0.0)


@pytest.mark.parametrize(
    "now", [START - 1.0, START - 1000 * DAY, START + 0.6 * DAY, START + 10_000 * DAY]
)
def test_a_clock_that_jumps_leads_to_a_replay_at_worst(
    index: Path, source: MemorySource, now: float
) -> None:
    ghost(index, source)
    catch_up(index, source, now)
    assert sorted(contents(index)) == ["new", "other", "stays"]
    source.add(item("later"))
    for moment in (now, now - 3 * DAY, now + 3 * DAY):
        catch_up(index, source, moment)
        assert sorted(contents(index)) == ["later", "new", "other", "stays"]


def test_being_caught_up_is_stored_though_nothing_is_new(index: Path, source: MemorySource) -> None:
    source.add(item("a"))
    catch_up(index, source)
    catch_up(index, source, START + 1000.0)
    assert state(index) == (False, START + 1000.0)


def test_an_interrupted_first_fill_counts_from_its_beginning(
    index: Path, source: MemorySource
) -> None:
    for number in range(20):
        source.add(item(f"i{number:02}"))
    stop = iter([False, True])
    with streamlsh.writer(index) as writer:
        consume(
            writer, source, clock=lambda: START, bounds=BatchBounds(records=10),
            stop_requested=lambda: next(stop),
        )  # fmt: skip
        assert writer.caught_up == START
    source.add(Delete("i03"))
    source.compact()
    catch_up(index, source, START + DAY)
    assert "i03" not in contents(index)
    assert len(contents(index)) == 19


class Spy:
    """Looks at the index after every commit."""

    def __init__(self, look: Callable[[], None]) -> None:
        self.look = look

    def committed(self, report: BatchReport) -> None:
        assert all(position.stream == "memory" for position in report.positions)
        self.look()

    def polled(self, source: Source) -> None:
        pass

    def close(self) -> None:
        pass


def test_readers_never_see_an_older_value_nor_an_offset_that_goes_back(
    index: Path, source: MemorySource
) -> None:
    for value in range(1, 30):
        source.add(item("a", float(value)))
        source.add(Delete("b"))
        source.add(item("b", float(value)))
    catch_up(index, source)
    source.add(item("a", 99.0))
    seen: list[tuple[dict[str, float], int]] = []

    def look() -> None:
        with streamlsh.open(index) as reader:
            seen.append((contents(index), reader.positions["memory", 0].offset))

    with streamlsh.writer(index) as writer:
        consume(
            writer, source, until_end=True, clock=lambda: START + DAY,
            bounds=BatchBounds(records=5), observers=[Spy(look)],
        )  # fmt: skip
    assert len(seen) > 10
    assert {values["a"] for values, _ in seen} == {29.0, 99.0}
    assert {values["b"] for values, _ in seen} == {29.0}
    assert min(offset for _, offset in seen) == 87
    assert state(index)[0] is False


def interrupt(index: Path, source: MemorySource, now: float) -> None:
    """Begin a replay, and stop after one batch of it."""
    stop = iter([False, True])
    with streamlsh.writer(index) as writer:
        consume(
            writer, source, clock=lambda: now, bounds=BatchBounds(records=5),
            stop_requested=lambda: next(stop),
        )  # fmt: skip
        assert writer.sweeping


def long_topic(index: Path, source: MemorySource) -> None:
    """An index of twenty items, of which the topic has forgotten one."""
    for number in range(20):
        source.add(item(f"i{number:02}"))
    catch_up(index, source)
    source.add(Delete("i03"))
    source.compact()


def test_an_interrupted_replay_goes_on_where_it_was(index: Path, source: MemorySource) -> None:
    long_topic(index, source)
    interrupt(index, source, START + DAY)
    first: list[int] = []

    original = source.poll

    def poll(timeout: float, max_records: int) -> object:
        records = original(timeout, max_records)
        first.extend(record.offset for record in records)
        return records

    source.poll = poll  # type: ignore[method-assign, assignment]
    catch_up(index, source, START + 1.1 * DAY)
    assert first[0] > 0
    assert len(contents(index)) == 19
    assert state(index) == (False, START + 1.1 * DAY)


def test_a_replay_that_was_interrupted_for_too_long_begins_anew(
    index: Path, source: MemorySource
) -> None:
    long_topic(index, source)
    interrupt(index, source, START + DAY)
    # This one was marked as seen already, and its delete is forgotten meanwhile.
    source.add(Delete("i01"))
    source.compact()
    catch_up(index, source, START + 2 * DAY)
    assert not {"i01", "i03"} & set(contents(index))
    assert len(contents(index)) == 18


def test_a_sweep_that_was_begun_with_nothing_of_it_stored_begins_anew(
    index: Path, source: MemorySource
) -> None:
    long_topic(index, source)
    with streamlsh.writer(index) as writer:
        [first, *_] = [p for p in source.positions() if p.partition == 0]
        end = Position(replay_stream("memory"), 0, 20, first.identity)
        writer.commit([end])  # as an earlier replay has left it
        writer.begin_sweep()
    catch_up(index, source, START + DAY)
    assert len(contents(index)) == 19


def test_a_replay_that_was_interrupted_at_once_does_not_take_an_earlier_ones_end_for_its_own(
    index: Path, source: MemorySource
) -> None:
    long_topic(index, source)
    catch_up(index, source, START + DAY)
    with streamlsh.writer(index) as writer:
        consume(writer, source, clock=lambda: START + 2 * DAY, stop_requested=lambda: True)
        assert writer.sweeping
    catch_up(index, source, START + 2.1 * DAY)
    assert len(contents(index)) == 19


def test_being_caught_up_is_asked_for_again_while_the_consumer_runs(
    index: Path, source: MemorySource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamlsh_kafka.replaying.LEAST_REFRESH_SECONDS", 0.0)
    monkeypatch.setattr("streamlsh_kafka.replaying.REFRESHES", 1e9)
    ticks = iter(START + second for second in range(1_000))
    with streamlsh.writer(index) as writer:
        seen: list[float] = []

        def stop() -> bool:
            seen.append(writer.caught_up)
            source.add(item("a"))
            return len(seen) > 8

        consume(writer, source, clock=lambda: next(ticks), stop_requested=stop)
    assert seen == sorted(seen)
    assert len(set(seen)) > 3


def test_being_caught_up_is_seldom_asked_for(source: MemorySource) -> None:
    ends = {0: 0, 1: 0}
    caught_up = CaughtUp(source, DAY, lambda: START, ends, START)
    assert caught_up.at(source.positions()) == START
    source.end_offsets = lambda: pytest.fail("asked")  # type: ignore[method-assign]
    caught_up.ask()
    assert caught_up.at(source.positions()) is None


def test_records_that_could_not_be_applied_name_nothing_and_are_not_reported_again(
    index: Path, source: MemorySource
) -> None:
    source.add(item("a"))
    source.add(item("b"))
    source.add(Upsert("b", np.ones(DIM + 1, np.float32)))
    source.add_raw(b"bad", b"\xc1")
    catch_up(index, source)
    assert sorted(contents(index)) == ["a", "b"]
    source.compact()
    letters = MemoryDeadLetters()
    with streamlsh.writer(index) as writer:
        consume(writer, source, until_end=True, clock=lambda: START + DAY, dead_letters=letters)
    # As in an index built from the topic as it is now, where only a bad record speaks of b.
    assert sorted(contents(index)) == ["a"]
    assert letters.letters == []


def test_an_index_of_two_topics_is_not_swept(index: Path, source: MemorySource) -> None:
    other = MemorySource(stream="other")
    other.add(item("elsewhere"))
    catch_up(index, other)
    ghost(index, source)
    catch_up(index, source, START + DAY)
    assert {"elsewhere", "gone"} <= set(contents(index))
