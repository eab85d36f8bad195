"""A consumer that lives on, but is held up for longer than deletes are kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

import streamlsh
from streamlsh import Delete, Position, Upsert
from streamlsh_kafka import RawRecord, consume
from streamlsh_kafka.testing.memory import MemorySource
from tests.unit.kafka.test_replaying import DAY, START, catch_up, contents, item, state

POLLS = 100


class Sleepy(MemorySource):
    """A source whose clock is the test's, and which is asked to stop after some polls.

    Attributes:
        now: unix time.
        at_poll: what happens before a poll, by its number.
    """

    def __init__(self) -> None:
        super().__init__(partitions=2)
        self.retention = DAY
        self.now = START
        self.at_poll: dict[int, Callable[[], None]] = {}
        self.passes_a_poll = 0.0

    def poll(self, timeout: float, max_records: int) -> Sequence[RawRecord]:
        self.now += self.passes_a_poll
        self.at_poll.get(self.polls, lambda: None)()
        return super().poll(timeout, max_records)

    def follow(self, index: Path) -> None:
        """Follow it for some polls."""
        until = self.polls + POLLS
        with streamlsh.writer(index) as writer:
            consume(
                writer, self, clock=lambda: self.now, stop_requested=lambda: self.polls >= until
            )


@pytest.fixture
def index(tmp_path: Path) -> Path:
    path = tmp_path / "items.lsh"
    streamlsh.create(path, dim=4, family="hyperplane", bits=4, tables=2)
    return path


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Being caught up is asked for after every batch."""
    monkeypatch.setattr("streamlsh_kafka.replaying.LEAST_REFRESH_SECONDS", 0.0)
    monkeypatch.setattr("streamlsh_kafka.replaying.REFRESHES", 1e9)
    caplog.set_level("INFO", "streamlsh_kafka")


def events(caplog: pytest.LogCaptureFixture, name: str) -> int:
    return [record.getMessage() for record in caplog.records].count(name)


def test_a_delete_that_was_missed_while_the_consumer_slept_is_made_up_for_in_the_same_run(
    index: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = Sleepy()
    for name in ("stays", "gone"):
        source.add(item(name))
    catch_up(index, source)

    def sleep() -> None:
        source.add(Delete("gone"))
        source.add(item("new"))
        source.compact()
        source.now += 2 * DAY

    source.at_poll = {source.polls + 5: sleep}
    source.follow(index)
    assert set(contents(index)) == {"stays", "new"}
    assert events(caplog, "replaying") == events(caplog, "replayed") == 1
    assert state(index) == (False, START + 2 * DAY)


def test_a_reading_that_is_too_slow_for_any_replay_says_so_once_and_goes_on(
    index: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = Sleepy()
    for number in range(5):
        source.add(item(f"i{number}"))
    catch_up(index, source)
    source.passes_a_poll = 0.6 * DAY
    source.at_poll = {source.polls + 30: lambda: source.add(item("late"))}
    source.follow(index)
    assert "late" in contents(index)
    assert events(caplog, "replay_too_slow") == 1
    assert events(caplog, "replaying") == 1
    # What is stored still tells the next start that deletes may have been missed.
    assert source.now - state(index)[1] > 0.5 * DAY


def test_a_replay_that_is_refused_is_not_asked_for_again_and_again(
    index: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = Sleepy()
    source.add(item("a"))
    catch_up(index, source)
    with streamlsh.writer(index) as writer:
        writer.upsert(["other"], np.ones((1, 4), np.float32))
        writer.commit([Position("another topic", 0, 1)])

    def sleep() -> None:
        source.now += 2 * DAY

    source.at_poll = {source.polls + 5: sleep}
    source.follow(index)
    assert events(caplog, "replay_refused") == 1
    assert set(contents(index)) == {"a", "other"}


def test_a_first_reading_that_takes_long_is_followed_by_one_replay(
    index: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Deletes of what it read first may have come and gone before it was through."""
    source = Sleepy()
    for number in range(3):
        source.add(Upsert(f"i{number}", np.ones(4, np.float32)))

    def sleep() -> None:
        source.now += DAY

    source.at_poll = {2: sleep}
    source.follow(index)
    assert events(caplog, "replaying") == events(caplog, "replayed") == 1
    assert state(index) == (False, START + DAY)
