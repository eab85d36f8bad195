"""SIGKILL of the consumer process at seeded instants: named points, and any time between them.

``STREAMLSH_KILLS`` says how many times: once at each point and some between them, unless told
otherwise; a long run has some hundreds.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from kafka import KafkaConsumer, TopicPartition

import streamlsh
from streamlsh import Delete, Upsert
from streamlsh_kafka import Connection, DecodeError, decode_update, encode_update, new_producer
from streamlsh_kafka.testing import Broker, ConsumerProcess
from streamlsh_kafka.testing.fixtures import TopicFactory
from tests.faults.killing import POINTS, RARE, VARIABLE

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(7_200)]

DIM = 16
ITEMS = 400
BATCH = 20
PARTITIONS = 2
ROUND_RECORDS = 300
"""Produced before each start, so that every process has something to do."""
INSTANT: Final = "any instant"
DECK: Final = (*POINTS, *[INSTANT] * 2)
KILLS = int(os.environ.get("STREAMLSH_KILLS", len(DECK)))
SEED = int(os.environ.get("STREAMLSH_KILLS_SEED", "20260"))
TRIES = 5
"""How often a point is tried at its first passage until it was met once."""
START_SECONDS = 3.0
"""Far above the median of what starts take: what they took is printed."""
BAD = b"\xc1 is no msgpack"


def new_index(path: Path) -> Path:
    streamlsh.create(path, dim=DIM, metric="cosine", family="hyperplane", seed=7, bits=6, tables=4)
    return path


def updates(
    rng: random.Random, first: int
) -> Iterator[tuple[bytes, bytes | None, list[tuple[str, bytes]]]]:
    """Upserts with and without versions, deletes, repeats, and now and then a bad record."""
    for number in range(first, first + ROUND_RECORDS):
        name = f"i{rng.randrange(ITEMS)}"
        kind = rng.random()
        vector = np.array([rng.gauss(0, 1) for _ in range(DIM)], np.float32)
        if kind < 0.02:
            yield name.encode(), BAD, []
        elif kind < 0.15:
            yield encode_update(Delete(name))
        elif kind < 0.3:
            yield encode_update(Upsert("v" + name, vector, version=rng.randrange(1000)))
        elif kind < 0.35:
            yield encode_update(Delete("v" + name, version=rng.randrange(1000)))
        else:
            yield encode_update(Upsert(name, vector, tags=("t",), attributes={"n": number}))


class Topic:
    """The topic's records as a plain client reads them, so that nothing rests on our source."""

    def __init__(self, broker: Broker, name: str, partitions: int) -> None:
        self.records: dict[int, list[Any]] = {number: [] for number in range(partitions)}
        self._reader = KafkaConsumer(bootstrap_servers=broker.bootstrap_servers)
        self._partitions = [TopicPartition(name, number) for number in range(partitions)]
        self._reader.assign(self._partitions)
        self._reader.seek_to_beginning()

    def read(self) -> None:
        """Read on to the end."""
        ends = self._reader.end_offsets(self._partitions)
        deadline = time.monotonic() + 60
        while any(self._reader.position(tp) < end for tp, end in ends.items()):
            assert time.monotonic() < deadline
            for tp, records in self._reader.poll(500, 5_000).items():
                self.records[tp.partition] += records

    def close(self) -> None:
        self._reader.close()


class Expected:
    """An index built record by record from the topic, up to the offsets that are asked for."""

    def __init__(self, path: Path, topic: Topic) -> None:
        self._path = new_index(path)
        self._topic = topic
        self.offsets = dict.fromkeys(topic.records, 0)

    def digest(self, offsets: dict[int, int], ghosts: set[str]) -> str:
        """Go on to these offsets; the digest with these items besides that no record names."""
        with streamlsh.writer(self._path) as writer:
            for partition, end in offsets.items():
                start = self.offsets[partition]
                assert end >= start, "a position went back"
                for place, record in enumerate(self._topic.records[partition][start:end], start):
                    assert record.offset == place
                    try:
                        writer.stage([decode_update(record)])
                    except DecodeError:
                        assert record.value == BAD
                self.offsets[partition] = end
            writer.commit()
            writer.upsert(sorted(ghosts), np.ones((len(ghosts), DIM)))
            writer.commit()
            with streamlsh.open(self._path) as reader:
                digest = reader.digest()
            writer.delete(sorted(ghosts))
        return digest


def schedule(rng: random.Random) -> list[tuple[str, int]]:
    """Points and passages; every point comes up before any does again."""
    deck: list[str] = []
    kills = []
    for _ in range(KILLS):
        if not deck:
            deck = list(DECK)
            rng.shuffle(deck)
        point = deck.pop()
        rare = any(word in point for word in RARE)
        kills.append((point, 1 if rare else rng.randint(1, 8)))
    return kills


@pytest.mark.usefixtures("small_parts")  # the consumer's are small too
def test_after_any_kill_the_index_is_the_topic_replayed_to_its_offsets(
    broker: Broker,
    module_topics: TopicFactory,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rng = random.Random(SEED)
    # Compacted by name: the broker leaves the newest segment alone, so that all can be compared.
    topic = module_topics(partitions=PARTITIONS, configs={"cleanup.policy": "compact"})
    dead = module_topics()
    index = new_index(tmp_path / "items.lsh")
    arguments = [str(index), "--topic", topic, "--dead-letter-topic", dead, "--until-end"]
    arguments += ["--bootstrap-servers", broker.bootstrap_servers, "--batch-records", str(BATCH)]
    died: Counter[str] = Counter()
    starts: list[tuple[float, float]] = []
    began = time.monotonic()
    with (
        closing(new_producer(Connection(broker.bootstrap_servers))) as producer,
        closing(Topic(broker, topic, PARTITIONS)) as records,
    ):
        expected = Expected(tmp_path / "expected.lsh", records)
        kills = [("", 0), *schedule(rng)]  # the first start has nothing to merge or to sweep
        for number, (point, passage) in enumerate(kills):
            for key, value, headers in updates(rng, number * ROUND_RECORDS):
                producer.send(topic, key=key, value=value, headers=headers)
            producer.flush(60)
            records.read()
            if "sweep" in point:
                leave_a_ghost(index, f"ghost-{number}")
            said = f"kill {number}: {point}:{passage}"
            code, moments = run_and_kill(arguments, point, passage, rng)
            assert code in {-9, 0}, said
            died[point] += code == -9
            if point in POINTS and not died[point] and kills.count((point, 1)) < TRIES:
                kills.append((point, 1))  # nothing was merged this time, for one
            starts += moments
            check(index, expected, said, deep=number % 16 == 0)
        with ConsumerProcess(*arguments, module="tests.faults.killing") as consumer:
            assert consumer.wait() == 0, consumer.lines
        check(index, expected, "the last start", deep=True)
        assert expected.offsets == {p: len(found) for p, found in records.records.items()}
    with streamlsh.open(index) as reader:
        assert not [found.id for found in reader.items() if found.id.startswith("ghost")]
    check_dead_letters(broker, dead, records)
    seconds = (time.monotonic() - began) / len(kills)
    with capsys.disabled():
        print(f"\n{died.total()} of {len(kills) - 1} runs killed, {seconds:.1f} s for each")
        for what, took in zip(
            ("loading", "until it polls"), zip(*starts, strict=True), strict=True
        ):
            print(f"{what}: median {np.median(took):.2f} s, longest {max(took):.2f} s")
        for point in (*POINTS, INSTANT):
            print(f"{died[point]:4}  {point}")
    if len(DECK) <= KILLS:
        assert [point for point in POINTS if not died[point]] == []
    assert np.median([sum(pair) for pair in starts]) < START_SECONDS


def leave_a_ghost(index: Path, name: str) -> None:
    """An item that no record names, in an index that was away for too long."""
    with streamlsh.writer(index) as writer:
        writer.upsert([name], np.ones((1, DIM)))
        writer.commit(caught_up=1.0)


def run_and_kill(
    arguments: list[str], point: str, passage: int, rng: random.Random
) -> tuple[int, list[tuple[float, float]]]:
    """Run the consumer until it dies, or is done.

    Returns:
        The exit code; and, if it came that far, what its start took in seconds: from the start of
        the process until everything was loaded, and from there until it first asked for records.
    """
    trap = {VARIABLE: f"{point}:{passage}"} if point in POINTS else {}
    began = time.time()
    with ConsumerProcess(*arguments, module="tests.faults.killing", environment=trap) as consumer:
        if point == INSTANT:
            consumer.wait_for("begins")
            time.sleep(rng.uniform(0, 1.0))
            consumer.process.kill()
        code = consumer.wait()
        moments = [
            datetime.fromisoformat(found["time"]).timestamp()
            for name in ("begins", "polls")
            for found in consumer.events(name)
        ]
    if len(moments) < 2:
        return code, []
    return code, [(moments[0] - began, moments[1] - moments[0])]


def check(index: Path, expected: Expected, said: str, *, deep: bool) -> None:
    with streamlsh.open(index) as reader:
        at = dict.fromkeys(expected.offsets, 0)
        for (stream, partition), position in reader.positions.items():
            if not stream.endswith("(replay)"):
                at[partition] = position.offset
        held = [found.id for found in reader.items()]
        assert len(reader) == len(held), said
        ghosts = {name for name in held if name.startswith("ghost")}
        assert reader.digest() == expected.digest(at, ghosts), said
        if deep:
            reader.verify()


def check_dead_letters(broker: Broker, dead: str, records: Topic) -> None:
    """Every bad record was set aside, and named by its origin; perhaps twice."""
    with closing(Topic(broker, dead, 1)) as letters:
        letters.read()
    found = set()
    for letter in letters.records[0]:
        headers = dict(letter.headers)
        found.add((int(headers["streamlsh-partition"]), int(headers["streamlsh-offset"])))
    bad = {(r.partition, r.offset) for of in records.records.values() for r in of if r.value == BAD}
    assert bad
    assert found == bad
