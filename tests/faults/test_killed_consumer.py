"""SIGKILL of the consumer process in the middle of a stream, at thirty seeded instants."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kafka import KafkaConsumer, TopicPartition

import streamlsh
from streamlsh import Delete, Upsert
from streamlsh_kafka import Connection, DecodeError, decode_update, encode_update, new_producer
from streamlsh_kafka.testing import Broker, ConsumerProcess
from streamlsh_kafka.testing.fixtures import TopicFactory

pytestmark = [pytest.mark.broker, pytest.mark.slow]

DIM = 16
ITEMS = 400
RECORDS = 12_000
BATCH = 20
KILLS = 30
PARTITIONS = 2
SEED = 20_260


@dataclass
class Story:
    """What happened: one entry a kill."""

    topic: str
    dead: str
    index: Path
    records: Sequence[Any]
    exit_codes: list[int] = field(default_factory=list)
    offsets: list[dict[int, int]] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)
    replays: list[str] = field(default_factory=list)


def new_index(path: Path) -> Path:
    streamlsh.create(path, dim=DIM, metric="cosine", family="hyperplane", seed=7, bits=6, tables=4)
    return path


def stream(rng: random.Random) -> Iterator[tuple[bytes, bytes | None, list[tuple[str, bytes]]]]:
    """Upserts with and without versions, deletes, repeats, and now and then a bad record."""
    for number in range(RECORDS):
        name = f"i{rng.randrange(ITEMS)}"
        kind = rng.random()
        vector = np.array([rng.gauss(0, 1) for _ in range(DIM)], np.float32)
        if kind < 0.01:
            yield name.encode(), b"\xc1 is no msgpack", []
        elif kind < 0.15:
            yield encode_update(Delete(name))
        elif kind < 0.3:
            yield encode_update(Upsert("v" + name, vector, version=rng.randrange(1000)))
        elif kind < 0.35:
            yield encode_update(Delete("v" + name, version=rng.randrange(1000)))
        else:
            yield encode_update(Upsert(name, vector, tags=("t",), attributes={"n": number}))


def read_all(broker: Broker, topic: str) -> list[Any]:
    """The topic's records by a plain client, so that the replay does not rest on our source."""
    with closing(KafkaConsumer(bootstrap_servers=broker.bootstrap_servers)) as reader:
        partitions = [
            TopicPartition(topic, number) for number in reader.partitions_for_topic(topic)
        ]
        reader.assign(partitions)
        reader.seek_to_beginning()
        ends = reader.end_offsets(partitions)
        records: list[Any] = []
        deadline = time.monotonic() + 60
        while any(reader.position(tp) < end for tp, end in ends.items()):
            assert time.monotonic() < deadline
            records += [r for batch in reader.poll(500, 5_000).values() for r in batch]
    return records


def replay(records: Sequence[Any], offsets: dict[int, int], path: Path) -> str:
    """The digest of a fresh index with the records up to these offsets, in one commit."""
    with streamlsh.writer(new_index(path)) as writer:
        for record in records:
            if record.offset >= offsets.get(record.partition, 0):
                continue
            try:
                update = decode_update(record)
            except DecodeError:
                continue
            writer.stage([update])
        writer.commit()
    with streamlsh.open(path) as reader:
        return reader.digest()


@pytest.fixture(scope="module")
def rng() -> random.Random:
    return random.Random(SEED)


@pytest.fixture(scope="module")
def story(
    broker: Broker,
    module_topics: TopicFactory,
    rng: random.Random,
    tmp_path_factory: pytest.TempPathFactory,
) -> Story:
    """Start the consumer thirty times on one index, and kill it each time; then let it finish."""
    folder = tmp_path_factory.mktemp("kills")
    topic, dead = module_topics(partitions=PARTITIONS), module_topics()
    with closing(new_producer(Connection(broker.bootstrap_servers))) as producer:
        for key, value, headers in stream(rng):
            producer.send(topic, key=key, value=value, headers=headers)
        producer.flush(60)
    told = Story(topic, dead, new_index(folder / "items.lsh"), read_all(broker, topic))
    arguments = [str(told.index), "--topic", topic, "--dead-letter-topic", dead]
    arguments += ["--bootstrap-servers", broker.bootstrap_servers, "--batch-records", str(BATCH)]
    for number in range(KILLS):
        with ConsumerProcess(*arguments) as consumer:
            # Some die before their first commit; the others after a few, at any point of the next.
            commits = rng.randrange(0, 2 * RECORDS // BATCH // KILLS)
            if commits:
                consumer.wait_for("commit", count=commits)
            else:
                consumer.wait_for("started")
            time.sleep(rng.uniform(0, 0.003))
            told.exit_codes.append(consumer.kill())
        with streamlsh.open(told.index) as reader:
            told.offsets.append({p: at.offset for (_, p), at in reader.positions.items()})
            told.digests.append(reader.digest())
        told.replays.append(replay(told.records, told.offsets[-1], folder / f"replay-{number}.lsh"))
    with ConsumerProcess(*arguments, "--until-end") as consumer:
        assert consumer.wait() == 0, consumer.lines
    return told


def test_every_process_was_killed_and_in_the_middle_of_the_stream(story: Story) -> None:
    assert story.exit_codes == [-9] * KILLS
    read = [sum(offsets.values()) for offsets in story.offsets]
    assert read == sorted(read)
    # A few may die before their first commit and so repeat a position; the rest are spread out.
    assert len(set(read)) >= KILLS * 3 // 4
    assert all(0 <= position < RECORDS for position in read)
    middle = [position for position in read if RECORDS // 10 < position < RECORDS * 9 // 10]
    assert len(middle) >= KILLS // 2


def test_after_every_kill_the_index_equals_the_topic_replayed_to_its_offsets(story: Story) -> None:
    assert story.digests == story.replays


def test_after_the_last_restart_the_index_equals_the_whole_topic(
    story: Story, tmp_path: Path
) -> None:
    ends = dict.fromkeys(range(PARTITIONS), RECORDS)
    with streamlsh.open(story.index) as reader:
        assert sum(position.offset for position in reader.positions.values()) == RECORDS
        assert reader.digest() == replay(story.records, ends, tmp_path / "replay.lsh")
        reader.verify()


def test_no_bad_record_is_lost_and_each_is_named_by_its_origin(
    story: Story, broker: Broker
) -> None:
    bad = {(r.partition, r.offset) for r in story.records if r.value == b"\xc1 is no msgpack"}
    assert bad
    found = set()
    for letter in read_all(broker, story.dead):
        headers = dict(letter.headers)
        found.add((int(headers["streamlsh-partition"]), int(headers["streamlsh-offset"])))
    assert found == bad
