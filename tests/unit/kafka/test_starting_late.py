"""A source that was made long before it starts: the writer was opened, or kernels compiled."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from streamlsh_kafka import kafka_source
from tests.unit.kafka.clients import Client, described, source_on

UNKNOWN_TOPIC = 3


@pytest.mark.parametrize("error_code", [0, UNKNOWN_TOPIC])
def test_the_time_before_the_start_counts_neither_as_a_stall_nor_as_a_missing_topic(
    monkeypatch: pytest.MonkeyPatch, error_code: int
) -> None:
    now = 1_000.0
    topic = described()
    monkeypatch.setattr(kafka_source, "time", SimpleNamespace(monotonic=lambda: now))
    source = source_on(monkeypatch, Client(), lambda _: [topic])
    now += 100
    source.start({})
    topic["error_code"] = error_code
    assert list(source.poll(0, 10)) == []
    assert source.stalls == 0
