"""From a topic on a real broker to an index: what arrives, and what does not."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from kafka import KafkaAdminClient
from kafka.admin import NewPartitions

import streamlsh
from streamlsh import Delete, Upsert
from streamlsh_kafka import (
    Connection,
    GroupMirror,
    KafkaSource,
    encode_update,
    new_producer,
)
from streamlsh_kafka.loop import BatchReport
from streamlsh_kafka.source import Source
from streamlsh_kafka.testing import Broker, ConsumerProcess
from streamlsh_kafka.testing.fixtures import TopicFactory
from tests.integration.kafka.topics import (
    DIM,
    catch_up,
    item,
    produce,
    send,
    wait_until,
)

pytestmark = pytest.mark.broker


def contents(index: Path) -> dict[str, float]:
    with streamlsh.open(index) as reader:
        return {found.id: float(found.vector[0]) for found in reader.items()}


def offsets(index: Path) -> dict[int, int]:
    with streamlsh.open(index) as reader:
        return {partition: p.offset for (_, partition), p in reader.positions.items()}


def test_the_command_line_takes_a_file_to_a_topic_to_an_index(
    broker: Broker, make_topic: TopicFactory, index: Path, tmp_path: Path
) -> None:
    lines = tmp_path / "items.jsonl"
    rows = [{"id": f"i{n}", "vector": [n + 1] * DIM, "attributes": {"n": n}} for n in range(500)]
    lines.write_text("\n".join(json.dumps(row) for row in rows))
    topic = make_topic(partitions=3)
    where = ["--topic", topic, "--bootstrap-servers", broker.bootstrap_servers]

    def streamlsh_kafka(*arguments: str) -> str:
        command = [sys.executable, "-m", "streamlsh_kafka", *arguments, *where]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "500 updates produced" in streamlsh_kafka("produce", str(lines))
    assert json.loads(streamlsh_kafka("status", str(index), "--json"))["lag"] == 500
    streamlsh_kafka("run", str(index), "--until-end")
    status = json.loads(streamlsh_kafka("status", str(index), "--json"))
    assert status["lag"] == 0
    assert sum(row["stored"] for row in status["partitions"]) == 500
    assert contents(index) == {f"i{n}": n + 1.0 for n in range(500)}
    with streamlsh.open(index) as reader:
        found = reader.get("i7")
        [first, *_] = reader.search_ids("i7", k=3).ids
    assert found is not None
    assert found.attributes == {"n": 7}
    assert first != "i7"


def test_json_by_header_and_msgpack_mix_on_one_topic(
    connection: Connection, make_topic: TopicFactory, index: Path
) -> None:
    topic = make_topic()
    with closing(new_producer(connection)) as producer:
        produce(producer, topic, [item("a", 1), item("b", 2)], "json")
        produce(producer, topic, [item("c", 3), item("a", 4)])
    catch_up(connection, topic, index)
    assert contents(index) == {"a": 4.0, "b": 2.0, "c": 3.0}


def test_a_tombstone_removes_and_a_versioned_one_keeps_older_updates_out(
    connection: Connection, make_topic: TopicFactory, index: Path
) -> None:
    topic = make_topic()
    newer = Upsert("v", np.ones(DIM, np.float32), 3)
    send(connection, topic, item("a"), item("b"), Delete("a"), newer, Delete("v", 9), newer)
    catch_up(connection, topic, index)
    assert contents(index) == {"b": 1.0}
    assert offsets(index) == {0: 6}


def test_compaction_gaps_are_passed_and_the_index_equals_the_compacted_topic(
    connection: Connection, make_topic: TopicFactory, index: Path
) -> None:
    topic = make_topic(
        configs={
            "cleanup.policy": "compact",
            "segment.ms": "100",
            "min.cleanable.dirty.ratio": "0.01",
            "delete.retention.ms": "100",
        }
    )
    with closing(new_producer(connection)) as producer:
        produce(producer, topic, [item("a", n + 1) for n in range(50)])

        def compacted() -> bool:
            # Segments roll, and so become compactable, only when something is written.
            produce(producer, topic, [item("b")])
            with closing(KafkaSource(connection, topic)) as source:
                source.start({})
                end = source.end_offsets()[0]
                read: list[int] = []
                while source.positions()[0].offset < end:
                    read += [record.offset for record in source.poll(1.0, 1000)]
                return len(read) < end - 40

        wait_until(compacted)
    catch_up(connection, topic, index)
    assert contents(index) == {"a": 50.0, "b": 1.0}
    with closing(KafkaSource(connection, topic)) as source:
        assert offsets(index) == dict(source.end_offsets())


def test_transactions_appear_when_committed_and_never_when_aborted(
    connection: Connection, make_topic: TopicFactory, index: Path
) -> None:
    topic = make_topic()
    transactional = {"transactional_id": f"t-{uuid.uuid4().hex}"}
    with closing(new_producer(connection, **transactional)) as producer:
        producer.init_transactions()
        producer.begin_transaction()
        produce(producer, topic, [item("aborted"), item("a", 9)])
        producer.abort_transaction()
        producer.begin_transaction()
        produce(producer, topic, [item("a", 2)])
        assert catch_up(connection, topic, index) == 0
        producer.commit_transaction()
    assert catch_up(connection, topic, index) == 1
    assert contents(index) == {"a": 2.0}
    # Three records and two markers: the position passes what no consumer ever sees.
    assert offsets(index) == {0: 5}
    assert catch_up(connection, topic, index) == 0


def test_what_is_produced_while_the_consumer_runs_becomes_visible(
    broker: Broker, connection: Connection, make_topic: TopicFactory, index: Path
) -> None:
    topic = make_topic()
    where = ["--topic", topic, "--bootstrap-servers", broker.bootstrap_servers]
    with ConsumerProcess(str(index), *where) as consumer, streamlsh.open(index) as reader:
        consumer.wait_for("started")
        with closing(new_producer(connection)) as producer:
            for n in range(5):
                produce(producer, topic, [item(f"i{n}")])
                wait_until(lambda name=f"i{n}": name in reader)  # type: ignore[misc]
        assert consumer.terminate() == 0
        assert consumer.events("stopped")[0]["records"] == 5


def test_partitions_that_are_added_while_the_consumer_runs_are_read_too(
    broker: Broker,
    connection: Connection,
    make_topic: TopicFactory,
    index: Path,
    admin: KafkaAdminClient,
) -> None:
    topic = make_topic()
    send(connection, topic, item("before"))
    where = ["--topic", topic, "--bootstrap-servers", broker.bootstrap_servers]
    with ConsumerProcess(str(index), *where) as consumer, streamlsh.open(index) as reader:
        consumer.wait_for("commit")
        admin.create_partitions({topic: NewPartitions(3)})
        consumer.wait_for("partitions_added")
        with closing(new_producer(connection)) as producer:
            for partition in range(3):
                key, value, _ = encode_update(item(f"p{partition}"))
                producer.send(topic, key=key, value=value, partition=partition)
            producer.flush(30)
        wait_until(lambda: len(reader) == 4)
        assert consumer.terminate() == 0
    assert offsets(index) == {0: 2, 1: 1, 2: 1}


def test_the_offsets_are_mirrored_to_a_group_for_lag_tools(
    connection: Connection, make_topic: TopicFactory, index: Path, admin: KafkaAdminClient
) -> None:
    topic = make_topic()
    group = f"g-{uuid.uuid4().hex}"
    send(connection, topic, item("a"), item("b"))
    catch_up(connection, topic, index, observers=[GroupMirror(connection, group)])
    mirrored = admin.list_group_offsets({group: None})[group]
    assert {tp.partition: entry.offset for tp, entry in mirrored.items()} == {0: 2}


def test_the_mirror_is_never_read_back(
    connection: Connection, make_topic: TopicFactory, index: Path, tmp_path: Path
) -> None:
    topic = make_topic()
    group = f"g-{uuid.uuid4().hex}"
    send(connection, topic, item("a"))
    catch_up(connection, topic, index, observers=[GroupMirror(connection, group)])
    fresh = tmp_path / "fresh.lsh"
    streamlsh.create(fresh, dim=DIM, family="hyperplane", bits=4, tables=2)
    assert catch_up(connection, topic, fresh, observers=[GroupMirror(connection, group)]) == 1


def test_a_backlog_is_committed_in_large_batches(
    connection: Connection, make_topic: TopicFactory, index: Path
) -> None:
    topic = make_topic()
    send(connection, topic, *[item(f"i{n}") for n in range(5_000)])
    reports: list[BatchReport] = []

    class Watch:
        def committed(self, report: BatchReport) -> None:
            reports.append(report)

        def polled(self, source: Source) -> None:
            pass

        def close(self) -> None:
            pass

    catch_up(connection, topic, index, observers=[Watch()])
    assert sum(report.records for report in reports) == 5_000
    assert max(report.records for report in reports) >= 1_000
