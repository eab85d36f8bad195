"""The wall clock of a running consumer is set forward by years, and back."""

from __future__ import annotations

import signal
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

import streamlsh
from streamlsh import Delete
from streamlsh_kafka import Connection
from streamlsh_kafka.testing import Broker, ConsumerProcess
from streamlsh_kafka.testing.fixtures import TopicFactory
from tests.integration.kafka.topics import ids, item, items, new_index, send, status, wait_until

pytestmark = pytest.mark.broker


def years(consumer: ConsumerProcess) -> list[int]:
    """The years of the commits."""
    return [datetime.fromisoformat(found["time"]).year for found in consumer.events("commit")]


def test_a_clock_that_jumps_changes_times_in_the_log_and_costs_a_replay_at_worst(
    broker: Broker, connection: Connection, make_topic: TopicFactory, index: Path
) -> None:
    topic = make_topic(configs={"cleanup.policy": "compact"})
    where = ["--topic", topic, "--bootstrap-servers", broker.bootstrap_servers]
    with ConsumerProcess(str(index), *where, module="tests.faults.jumping") as consumer:
        send(connection, topic, replace(item("deleted"), version=4), Delete("deleted", 6))
        for number, name in enumerate(["before", "ahead", "back"]):
            if number:
                consumer.process.send_signal(signal.SIGUSR1)
            for sent in (name, f"{name} again"):
                # Ten years are more than delete markers are kept for; an older version that comes
                # late is known to be stale all the same.
                send(connection, topic, replace(item("deleted"), version=5), *items(sent))
                wait_until(lambda sent=sent: sent in ids(index))  # type: ignore[misc]
                assert "deleted" not in ids(index)
        assert status(str(index), *where)["lag"] == 0
        assert consumer.terminate() == 0, consumer.lines
        before, ahead, back = sorted(set(years(consumer)), key=years(consumer).index)
        assert back < before < ahead
    # Whatever was stored of when it was caught up, the next start brings the index in order.
    with ConsumerProcess(str(index), *where, "--until-end") as again:
        assert again.wait() == 0, again.lines
    fresh = new_index(index.with_name("fresh"))
    with ConsumerProcess(str(fresh), *where, "--until-end") as anew:
        assert anew.wait() == 0, anew.lines
    with streamlsh.open(index) as jumped, streamlsh.open(fresh) as replayed:
        assert jumped.digest() == replayed.digest()
        assert dict(jumped.positions) == dict(replayed.positions)
        jumped.verify()
