"""A client that is silent about one partition is found out, whatever it says of others."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from kafka import TopicPartition

from streamlsh_kafka import RawRecord, kafka_source, stalls
from streamlsh_kafka.stalls import StallWatch
from tests.unit.kafka.clients import Client, source_on


class Clock:
    """The monotonic clock of a watch."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        patch.setattr(stalls, "time", SimpleNamespace(monotonic=lambda: self.now))

    def poll(self, watch: StallWatch, seconds: float) -> bool:
        """A poll that takes so long; whether it is time to look then."""
        asked = self.now
        self.now += seconds
        return watch.due(asked)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def played(
    clock: Clock, watch: StallWatch, polls: int, *, busy: bool = False
) -> list[dict[int, int]]:
    """What a watch finds in polls of a second; of partition 0 all comes, of 1 nothing."""
    found = []
    for number in range(polls):
        if clock.poll(watch, 1.0):
            ends = {0: number + 1 if busy else 0, 1: 5}
            found.append(watch.look({0: number if busy else 0, 1: 2}, ends))
    return found


@pytest.mark.parametrize("busy", [False, True])
def test_a_silent_partition_is_found_after_that_time_beside_a_busy_one_too(
    clock: Clock, busy: bool
) -> None:
    watch = StallWatch(60.0)
    found = played(clock, watch, 76, busy=busy)
    assert found[-1] == {1: 3}
    assert [silent for silent in found if silent] == [{1: 3}]


def test_a_partition_that_moves_however_slowly_or_has_nothing_is_not_silent(clock: Clock) -> None:
    watch = StallWatch(60.0)
    for number in range(300):
        if clock.poll(watch, 1.0):
            assert watch.look({0: number // 50, 1: 7}, {0: 1_000, 1: 7}) == {}


def test_what_came_only_lately_was_not_kept_back_before(clock: Clock) -> None:
    watch = StallWatch(60.0)
    for number in range(300):
        if clock.poll(watch, 1.0):
            assert watch.look({0: 7}, {0: 7 if number < 250 else 8}) == {}


@pytest.mark.parametrize("silent", [False, True])
def test_many_partitions_that_come_one_a_fetch_are_not_silent_but_one_that_does_not_come_is(
    clock: Clock, silent: bool
) -> None:
    watch = StallWatch(60.0)
    at = dict.fromkeys(range(90), 0)
    found: dict[int, int] = {}
    for number in range(900):
        if not silent or number % 90 != 7:
            at[number % 90] += 1
        clock.now += 1.0  # it is applied
        if clock.poll(watch, 0.1) and not found:
            found = watch.look(at, dict.fromkeys(at, 1_000))
    assert found == ({7: 1_000} if silent else {})


def test_time_in_which_nobody_polled_does_not_count(clock: Clock) -> None:
    watch = StallWatch(60.0)
    assert not any(played(clock, watch, 20))
    clock.now += 3_600.0
    assert not any(played(clock, watch, 20))


def test_nor_does_time_in_which_the_process_slept_in_a_poll(clock: Clock) -> None:
    watch = StallWatch(60.0)
    assert not any(played(clock, watch, 20))
    clock.poll(watch, 3_600.0)
    assert not any(played(clock, watch, 20))


def test_nor_does_time_in_which_no_broker_answered(clock: Clock) -> None:
    watch = StallWatch(60.0)
    assert not any(played(clock, watch, 50))
    watch.forget()
    assert not any(played(clock, watch, 50))


class Deaf(Client):
    """A client that brings a record of partition 0 at each poll, and none of partition 1."""

    def __init__(self) -> None:
        self.at = {0: 0, 1: 0}

    def assign(self, partitions: list[TopicPartition]) -> None: ...

    def position(self, tp: TopicPartition, timeout_ms: int) -> int:
        return self.at[tp.partition]

    def beginning_offsets(self, tps: Any, timeout_ms: int) -> dict[TopicPartition, int]:
        return dict.fromkeys(tps, 0)

    def end_offsets(self, tps: Any, timeout_ms: int) -> dict[TopicPartition, int]:
        return {tp: self.at[0] if tp.partition == 0 else 3 for tp in tps}

    def poll(self, timeout_ms: int) -> dict[TopicPartition, list[RawRecord]]:
        record = RawRecord("items", 0, self.at[0], 0, b"k", None, ())
        self.at[0] += 1
        return {TopicPartition("items", 0): [record]}


def test_a_client_that_is_silent_about_one_partition_is_replaced_and_nothing_skipped(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 1_000.0
    clock = SimpleNamespace(monotonic=lambda: now)
    monkeypatch.setattr(stalls, "time", clock)
    monkeypatch.setattr(kafka_source, "time", clock)
    partitions = [{"partition_index": 0}, {"partition_index": 1}]
    topic = {"error_code": 0, "topic_id": "id", "partitions": partitions}
    source = source_on(monkeypatch, Deaf(), lambda _: [topic])
    source.start({})
    offsets: list[int] = []
    while not source.stalls:
        now += 0.5
        offsets += [record.offset for record in source.poll(0, 10)]
        assert now < 1_100
    [said] = [vars(r)["fields"] for r in caplog.records if r.getMessage() == "reader_stalled"]
    assert (said["partitions"], said["lag"], said["stalls"]) == ("1", 3, 1)
    assert offsets == list(range(len(offsets)))
    assert {p.partition: p.offset for p in source.positions()} == {0: len(offsets), 1: 0}
