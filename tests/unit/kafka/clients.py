"""A source on a client of the test's own, where no broker is."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from kafka import TopicPartition

from streamlsh_kafka import Connection, KafkaSource, kafka_source, topic

PLACE = TopicPartition("items", 0)


def described(error_code: int = 0) -> dict[str, Any]:
    """What a broker says of the topic."""
    return {"error_code": error_code, "topic_id": "id", "partitions": [{"partition_index": 0}]}


class Client:
    """A client that has fetched nothing, of a topic with nine records."""

    def assign(self, partitions: list[TopicPartition]) -> None:
        assert partitions == [PLACE]

    def seek(self, tp: TopicPartition, offset: int) -> None: ...

    def position(self, tp: TopicPartition, timeout_ms: int) -> int:
        return 0

    def beginning_offsets(self, tps: Any, timeout_ms: int) -> dict[TopicPartition, int]:
        return {PLACE: 0}

    def end_offsets(self, tps: Any, timeout_ms: int) -> dict[TopicPartition, int]:
        return {PLACE: 9}

    def poll(self, timeout_ms: int) -> dict[TopicPartition, Any]:
        return {}

    def close(self, **_: Any) -> None: ...


def source_on(
    patch: pytest.MonkeyPatch,
    client: Client,
    describe: Callable[[list[str]], list[dict[str, Any]]] = lambda _: [described()],
) -> KafkaSource:
    """A source that was not started, and asks `describe` for its topic."""
    admin = SimpleNamespace(describe_topics=describe, close=lambda: None)
    patch.setattr(kafka_source, "check_connection", lambda _: None)
    patch.setattr(kafka_source, "read_faster", lambda _: None)
    patch.setattr(kafka_source, "go_to", lambda client, tp, offset, _: client.seek(tp, offset))
    patch.setattr(kafka_source, "epoch_of", lambda *_: None)
    patch.setattr(kafka_source, "ask_where_logs_diverge", lambda *_: None)
    patch.setattr(topic, "KafkaAdminClient", lambda **_: admin)
    patch.setattr(kafka_source, "KafkaConsumer", lambda **_: client)
    return KafkaSource(Connection("nowhere:1"), "items")
