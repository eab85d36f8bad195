"""A source that was made long before it starts: the writer was opened, or kernels compiled."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from kafka import TopicPartition

from streamlsh_kafka import Connection, KafkaSource, kafka_source

PLACE = TopicPartition("items", 0)
UNKNOWN_TOPIC = 3


class Client:
    """A client that has fetched nothing yet."""

    def assign(self, partitions: list[TopicPartition]) -> None: ...

    def seek(self, tp: TopicPartition, offset: int) -> None: ...

    def position(self, tp: TopicPartition) -> int:
        return 0

    def beginning_offsets(self, tps: Any, timeout_ms: int) -> dict[TopicPartition, int]:
        return {PLACE: 0}

    def end_offsets(self, tps: Any, timeout_ms: int) -> dict[TopicPartition, int]:
        return {PLACE: 9}

    def poll(self, timeout_ms: int) -> dict[TopicPartition, Any]:
        return {}

    def close(self, **_: Any) -> None: ...


@pytest.mark.parametrize("error_code", [0, UNKNOWN_TOPIC])
def test_the_time_before_the_start_counts_neither_as_a_stall_nor_as_a_missing_topic(
    monkeypatch: pytest.MonkeyPatch, error_code: int
) -> None:
    now = 1_000.0
    topic = {"error_code": 0, "topic_id": "id", "partitions": [{"partition_index": 0}]}
    admin = SimpleNamespace(describe_topics=lambda _: [topic], close=lambda: None)
    monkeypatch.setattr(kafka_source, "check_connection", lambda _: None)
    monkeypatch.setattr(kafka_source, "read_faster", lambda _: None)
    monkeypatch.setattr(kafka_source, "KafkaAdminClient", lambda **_: admin)
    monkeypatch.setattr(kafka_source, "KafkaConsumer", lambda **_: Client())
    monkeypatch.setattr(kafka_source, "time", SimpleNamespace(monotonic=lambda: now))
    source = KafkaSource(Connection("nowhere:1"), "items")
    now += 100
    source.start({})
    topic["error_code"] = error_code
    assert list(source.poll(0, 10)) == []
    assert source.stalls == 0
