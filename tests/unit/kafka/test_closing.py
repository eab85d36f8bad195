"""What is closed while it is in use: a call that waits ends, and none of a batch is lost."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import kafka.errors
import numpy as np
import pytest

import streamlsh
from streamlsh import CommitResult, Position, Upsert
from streamlsh_kafka import (
    BatchReport,
    Connection,
    GroupMirror,
    RawRecord,
    UpdateLogAppender,
    UpdateLogSource,
    cli,
    consume,
    group_mirror,
    replaying,
)
from streamlsh_kafka.errors import SourceClosedError
from streamlsh_kafka.source import Source, never
from streamlsh_kafka.stalls import StallWatch
from streamlsh_kafka.testing.memory import MemorySource
from tests.unit.kafka.clients import Client, source_on


class Hanging(Client):
    """A client whose polls hang until it is closed."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.closed = threading.Event()

    def poll(self, timeout_ms: int) -> dict[Any, Any]:
        self.entered.set()
        assert self.closed.wait(60)
        raise kafka.errors.IllegalStateError("KafkaConsumer is closed")

    def close(self, **_: Any) -> None:
        self.closed.set()


class AlwaysStalled(StallWatch):
    """A watch that finds all partitions silent."""

    def due(self, asked: float) -> bool:
        return True

    def look(self, at: Mapping[int, int], ends: Mapping[int, int]) -> dict[int, int]:
        return dict(ends)


class HangingSource(MemorySource):
    """One whose records come, and then nothing any more, until it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()
        self.closed = threading.Event()

    def poll(self, timeout: float, max_records: int) -> Sequence[RawRecord]:
        records = super().poll(timeout, max_records)
        if records or not timeout:
            return records
        self.entered.set()
        assert self.closed.wait(60)
        raise SourceClosedError(stream=self.stream)

    def close(self) -> None:
        self.closed.set()


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[streamlsh.Writer]:
    streamlsh.create(tmp_path / "index", dim=4, family="hyperplane", bits=4, tables=2)
    with streamlsh.writer(tmp_path / "index") as writer:
        yield writer


def closed_under(
    call: Callable[[], object], entered: threading.Event, source: Source
) -> Exception | None:
    """What a call raises, if anything, once another thread has closed the source under it."""

    def close() -> None:
        if entered.wait(60):
            source.close()

    closing = threading.Thread(target=close)
    closing.start()
    try:
        call()
    except SourceClosedError as error:
        return error
    finally:
        closing.join(60)
    return None


def test_a_poll_of_a_topic_that_is_closed_under_it_ends_with_a_typed_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = Hanging()
    source = source_on(monkeypatch, client)
    source.start({})
    error = closed_under(lambda: source.poll(0.2, 10), client.entered, source)
    assert error is not None
    assert isinstance(error.__cause__, kafka.errors.IllegalStateError)


def test_a_client_that_is_made_while_the_source_is_closed_is_closed_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = source_on(monkeypatch, Client())
    source.start({})
    replacement = Hanging()

    def replace() -> Client:
        source.close()
        return replacement

    monkeypatch.setattr(source, "_new_consumer", replace)
    monkeypatch.setattr(source, "_stall_watch", AlwaysStalled(0.0))
    source.poll(0.0, 10)
    assert replacement.closed.is_set()


def test_a_poll_of_an_update_log_that_is_closed_under_it_ends_with_a_typed_error(
    tmp_path: Path,
) -> None:
    UpdateLogAppender(tmp_path / "log").close()
    source = UpdateLogSource(tmp_path / "log")
    entered = threading.Event()

    def poll() -> None:
        entered.set()
        source.poll(60, 10)

    assert closed_under(poll, entered, source) is not None
    with pytest.raises(SourceClosedError, match="closed while it was read"):
        source.end_offsets()


@pytest.mark.parametrize("asked_to_stop", [True, False])
def test_a_source_that_is_closed_under_the_loop_ends_it_with_all_that_was_committed(
    writer: streamlsh.Writer, asked_to_stop: bool
) -> None:
    source = HangingSource()
    source.add(Upsert("a", np.ones(4, np.float32)))
    summaries = []

    def run() -> None:
        stop = source.closed.is_set if asked_to_stop else never
        summaries.append(consume(writer, source, stop_requested=stop))

    error = closed_under(run, source.entered, source)
    if asked_to_stop:
        assert [(summary.records, summary.commits) for summary in summaries] == [(1, 1)]
    assert (error is None) == asked_to_stop
    assert [position.offset for position in writer.positions.values()] == [1]


class ClosedAtRest(MemorySource):
    """One whose record comes late, and that is closed before it is asked for its ends again."""

    def __init__(self) -> None:
        super().__init__()
        self.retention = 1_000.0
        self.asked_too_late = False

    def poll(self, timeout: float, max_records: int) -> Sequence[RawRecord]:
        if self.polls == 2:
            self.add(Upsert("a", np.ones(4, np.float32)))
        return super().poll(timeout, max_records)

    def end_offsets(self) -> Mapping[int, int]:
        if self.polls > 2:
            self.asked_too_late = True
            raise SourceClosedError(stream=self.stream)
        return super().end_offsets()


def test_a_source_that_is_closed_after_a_batch_was_taken_leaves_it_to_be_finished(
    writer: streamlsh.Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replaying, "LEAST_REFRESH_SECONDS", 0.0)
    monkeypatch.setattr(replaying, "REFRESHES", 1e9)
    source = ClosedAtRest()
    summary = consume(writer, source, stop_requested=lambda: source.asked_too_late)
    assert source.asked_too_late
    assert summary.records == 1
    assert [position.offset for position in writer.positions.values()] == [1]


def test_a_second_signal_that_comes_while_the_first_is_taken_is_no_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started = []

    class Slow(threading.Timer):
        def start(self) -> None:
            started.append(self)
            if len(started) == 1:
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(threading, "Timer", Slow)
    stop = cli._Stop()
    with stop.on_signals(MemorySource()):
        signal.raise_signal(signal.SIGTERM)
    assert stop.is_requested()
    assert len(started) == 1


class Group:
    """The admin client of a mirror: answers as it is told, or not before it is closed."""

    def __init__(
        self,
        refusals: int,
        *,
        hangs: bool = False,
        error: type[Exception] = kafka.errors.CoordinatorNotAvailableError,
    ) -> None:
        self._error = error
        self.written: list[dict[Any, Any]] = []
        self._refusals = refusals
        self._hangs = hangs
        self._closed = threading.Event()

    def alter_group_offsets(self, group: str, offsets: dict[Any, Any]) -> dict[Any, Any]:
        if self._hangs:
            assert self._closed.wait(60)
            raise RuntimeError("closed")
        self._refusals -= 1
        if self._refusals >= 0:
            raise self._error
        self.written.append(offsets)
        return dict.fromkeys(offsets, kafka.errors.NoError)

    def close(self) -> None:
        self._closed.set()


def mirror_on(patch: pytest.MonkeyPatch, group: Group) -> GroupMirror:
    patch.setattr(group_mirror, "KafkaAdminClient", lambda **_: group)
    mirror = GroupMirror(Connection("nowhere:1"), "group")
    position = Position("items", 0, 7, "id")
    mirror.committed(
        BatchReport(1, 1, {}, CommitResult(1), [position], 0.0, 0.0, newest_timestamp=0)
    )
    return mirror


def test_the_last_positions_reach_a_group_whose_coordinator_is_still_starting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    group = Group(refusals=3)
    mirror_on(monkeypatch, group).close()
    [[(tp, offset)]] = [written.items() for written in group.written]
    assert (tp.topic, tp.partition, offset.offset) == ("items", 0, 7)


def test_a_group_whose_coordinator_does_not_answer_is_given_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(group_mirror, "ANSWER_SECONDS", 0.01)
    monkeypatch.setattr(group_mirror, "CLOSE_SECONDS", 60.0)
    mirror_on(monkeypatch, Group(0, hangs=True)).close()
    assert "mirror_given_up" in [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize("error", [kafka.errors.GroupAuthorizationFailedError, ValueError])
def test_a_group_that_refuses_for_good_is_given_up_at_once_but_tried_again_while_running(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    monkeypatch.setattr(group_mirror, "MIRROR_SECONDS", 0.01)
    monkeypatch.setattr(group_mirror, "CLOSE_SECONDS", 600.0)
    group = Group(refusals=3, error=error)
    mirror = mirror_on(monkeypatch, group)
    deadline = time.monotonic() + 60
    while not group.written and time.monotonic() < deadline:
        time.sleep(0.01)
    assert group.written
    mirror.close()
    mirror_on(monkeypatch, Group(refusals=1_000_000, error=error)).close()
