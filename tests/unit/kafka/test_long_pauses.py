"""Time in which nobody asked: before a start, while dead letters wait, in a process that sleeps."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from streamlsh_kafka import KafkaSource, kafka_source, stalls, topic
from streamlsh_kafka.errors import TopicNotFoundError
from tests.unit.kafka.clients import Client, described, source_on

UNKNOWN_TOPIC = 3


class Late:
    """A source on a clock of its own, and what the broker says of its topic."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        self.said: dict[str, Any] = described()
        for module in (kafka_source, stalls, topic):
            patch.setattr(module, "time", SimpleNamespace(monotonic=lambda: self.now))
        self.source: KafkaSource = source_on(patch, Client(), lambda _: [self.said])

    def polls_after(self, seconds: float) -> None:
        """Nothing comes, and nothing is wrong."""
        self.now += seconds
        assert list(self.source.poll(0, 10)) == []


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> Late:
    return Late(monkeypatch)


def test_it_is_no_stall(late: Late) -> None:
    late.now += 1_000
    late.source.start({})
    for _ in range(40):  # by then it has been looked once
        late.polls_after(0.5)
    late.polls_after(1_000)
    late.polls_after(20)
    assert late.source.stalls == 0


def test_a_topic_is_deleted_once_it_was_missed_for_a_while_and_not_at_once(late: Late) -> None:
    """A broker that has just started may not know it yet."""
    late.source.start({})
    late.said["error_code"] = UNKNOWN_TOPIC
    late.polls_after(1_000)
    late.polls_after(4)
    late.said["error_code"] = 0
    late.polls_after(2)
    late.said["error_code"] = UNKNOWN_TOPIC
    late.polls_after(2)
    late.polls_after(4)
    with pytest.raises(TopicNotFoundError, match="items cannot be read"):
        late.polls_after(1)


def test_a_broker_that_does_not_know_the_newest_partitions_takes_none_away(late: Late) -> None:
    late.source.start({})
    late.said["partitions"] = []
    late.polls_after(2)
    assert late.source._topic.partitions == [0]
