"""When the consumer stops, with which error, and that it says so in one line."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import NewTopic

import streamlsh
from streamlsh import Position
from streamlsh_kafka import (
    Connection,
    KafkaSource,
    new_producer,
)
from streamlsh_kafka.errors import (
    OffsetBelowStartError,
    OffsetBeyondEndError,
    TopicNotFoundError,
    TopicRecreatedError,
)
from streamlsh_kafka.testing import Broker, ConsumerProcess
from streamlsh_kafka.testing.fixtures import TopicFactory
from tests.integration.kafka.topics import (
    catch_up,
    ids,
    items,
    last_line,
    send,
    wait_until,
)

pytestmark = pytest.mark.broker


def recreate(admin: KafkaAdminClient, topic: str) -> None:
    admin.delete_topics([topic])

    def created() -> bool:
        admin.create_topics([NewTopic(topic, 1, 1)], raise_errors=False)
        [found] = admin.describe_topics([topic])
        return not found["error_code"]

    wait_until(lambda: bool(admin.describe_topics([topic])[0]["error_code"]))
    wait_until(created)
    admin.wait_for_topics([topic])


def test_a_recreated_topic_stops_the_next_start(
    connection: Connection, make_topic: TopicFactory, index: Path, admin: KafkaAdminClient
) -> None:
    topic = make_topic()
    send(connection, topic, *items("a"))
    catch_up(connection, topic, index)
    recreate(admin, topic)
    send(connection, topic, *items("b", "c"))
    with pytest.raises(TopicRecreatedError, match="Build a new index"):
        catch_up(connection, topic, index)
    assert ids(index) == ["a"]


def test_a_topic_recreated_under_a_running_consumer_stops_it(
    broker: Broker,
    connection: Connection,
    make_topic: TopicFactory,
    index: Path,
    admin: KafkaAdminClient,
) -> None:
    topic = make_topic()
    send(connection, topic, *items("a"))
    where = ["--topic", topic, "--bootstrap-servers", broker.bootstrap_servers]
    with ConsumerProcess(str(index), *where) as consumer:
        consumer.wait_for("commit")
        recreate(admin, topic)
        line = last_line(consumer)
    assert topic in line
    assert "deleted and created again" in line or "cannot be read" in line


def test_records_removed_before_they_were_read_stop_the_consumer_until_the_gap_is_accepted(
    connection: Connection, make_topic: TopicFactory, index: Path, admin: KafkaAdminClient
) -> None:
    topic = make_topic()
    send(connection, topic, *items("a"))
    catch_up(connection, topic, index)
    send(connection, topic, *items("lost", "b"))
    admin.delete_records({TopicPartition(topic, 0): 2})
    with pytest.raises(OffsetBelowStartError, match="--accept-gap") as caught:
        catch_up(connection, topic, index)
    assert (caught.value.stored, caught.value.limit) == (1, 2)
    assert ids(index) == ["a"]
    assert catch_up(connection, topic, index, accept_gap=True) == 1
    assert ids(index) == ["a", "b"]


def test_an_accepted_gap_with_nothing_behind_it_is_accepted_for_good(
    connection: Connection, make_topic: TopicFactory, index: Path, admin: KafkaAdminClient
) -> None:
    topic = make_topic()
    send(connection, topic, *items("a"))
    catch_up(connection, topic, index)
    send(connection, topic, *items("lost"))
    admin.delete_records({TopicPartition(topic, 0): 2})
    assert catch_up(connection, topic, index, accept_gap=True) == 0
    assert catch_up(connection, topic, index) == 0
    with streamlsh.open(index) as reader:
        assert reader.positions[topic, 0].offset == 2


def test_records_removed_under_a_reader_are_an_error_and_not_skipped(
    connection: Connection, make_topic: TopicFactory, admin: KafkaAdminClient
) -> None:
    topic = make_topic()
    send(connection, topic, *items("a", "b", "c"))
    with closing(KafkaSource(connection, topic)) as source:
        source.start({})
        admin.delete_records({TopicPartition(topic, 0): 2})
        with pytest.raises(OffsetBelowStartError):
            poll_until_it_raises(source)


def test_a_position_past_the_end_stops_the_consumer(
    connection: Connection, make_topic: TopicFactory, index: Path
) -> None:
    topic = make_topic()
    send(connection, topic, *items("a"))
    catch_up(connection, topic, index)
    with streamlsh.writer(index) as writer:
        [stored] = writer.positions.values()
        writer.commit([Position(stored.stream, 0, 99, stored.identity)])
    with pytest.raises(OffsetBeyondEndError, match="Build a new index"):
        catch_up(connection, topic, index)


def test_an_empty_new_topic_is_no_error(
    connection: Connection, make_topic: TopicFactory, index: Path
) -> None:
    assert catch_up(connection, make_topic(), index) == 0


def test_a_topic_whose_beginning_was_removed_is_read_from_its_start(
    connection: Connection, make_topic: TopicFactory, index: Path, admin: KafkaAdminClient
) -> None:
    topic = make_topic()
    send(connection, topic, *items("old", "a"))
    admin.delete_records({TopicPartition(topic, 0): 1})
    assert catch_up(connection, topic, index) == 1
    assert ids(index) == ["a"]


def test_a_missing_topic_is_one_clear_error(connection: Connection) -> None:
    with pytest.raises(TopicNotFoundError, match="no-such-topic"):
        KafkaSource(connection, "no-such-topic")


def test_dead_letters_carry_record_reason_and_origin(
    broker: Broker, connection: Connection, make_topic: TopicFactory, index: Path
) -> None:
    topic, dead = make_topic(), make_topic()
    send(connection, topic, *items("a"))
    with closing(new_producer(connection)) as producer:
        sent = producer.send(topic, key=b"bad", value=b"\xc1", headers=[("own", b"h")], partition=0)
        metadata = sent.get(30)
    send(connection, topic, *items("b"))
    where = ["--topic", topic, "--bootstrap-servers", broker.bootstrap_servers]
    with ConsumerProcess(
        str(index), *where, "--dead-letter-topic", dead, "--until-end"
    ) as consumer:
        assert consumer.wait() == 0, consumer.lines
        assert consumer.events("dead_letters")[0]["reason"] == "bad-msgpack"
    assert ids(index) == ["a", "b"]
    with closing(
        KafkaConsumer(
            dead, bootstrap_servers=broker.bootstrap_servers, auto_offset_reset="earliest"
        )
    ) as reader:
        letters = [r for batch in reader.poll(30_000).values() for r in batch]
    [letter] = letters
    assert (letter.key, letter.value) == (b"bad", b"\xc1")
    headers = dict(letter.headers)
    assert headers["own"] == b"h"
    assert headers["streamlsh-reason"] == b"bad-msgpack"
    assert headers["streamlsh-error-class"] == b"DecodeError"
    assert headers["streamlsh-topic"] == topic.encode()
    assert headers["streamlsh-partition"] == b"0"
    assert headers["streamlsh-offset"] == b"1"
    assert headers["streamlsh-timestamp"] == str(metadata.timestamp).encode()


def test_a_missing_dead_letter_topic_is_an_error_before_anything_is_read(
    broker: Broker, connection: Connection, make_topic: TopicFactory, index: Path
) -> None:
    topic = make_topic()
    send(connection, topic, *items("a"))
    where = ["--topic", topic, "--bootstrap-servers", broker.bootstrap_servers]
    with ConsumerProcess(str(index), *where, "--dead-letter-topic", "no-such-topic") as consumer:
        assert "no dead-letter topic no-such-topic" in last_line(consumer)
    assert ids(index) == []


def test_policy_stop_ends_at_the_bad_record_with_all_before_it_committed(
    broker: Broker, connection: Connection, make_topic: TopicFactory, index: Path
) -> None:
    topic = make_topic()
    send(connection, topic, *items("a"))
    with closing(new_producer(connection)) as producer:
        producer.send(topic, key=b"bad", value=b"\xc1").get(30)
    send(connection, topic, *items("b"))
    where = ["--topic", topic, "--bootstrap-servers", broker.bootstrap_servers]
    with ConsumerProcess(str(index), *where) as consumer:
        line = last_line(consumer)
    assert f"{topic}[0] offset 1 cannot be applied (bad-msgpack" in line
    assert ids(index) == ["a"]


def test_a_second_consumer_on_the_same_index_ends_at_once(
    broker: Broker, make_topic: TopicFactory, index: Path
) -> None:
    where = ["--topic", make_topic(), "--bootstrap-servers", broker.bootstrap_servers]
    with ConsumerProcess(str(index), *where) as first:
        first.wait_for("started")
        with ConsumerProcess(str(index), *where) as second:
            line = last_line(second)
        assert str(index) in line
        assert first.terminate() == 0


@pytest.mark.parametrize("busy", [False, True])
def test_sigterm_finishes_the_batch_in_hand_and_exits_with_zero(
    broker: Broker, connection: Connection, make_topic: TopicFactory, index: Path, busy: bool
) -> None:
    topic = make_topic()
    if busy:
        send(connection, topic, *items(*[f"i{n}" for n in range(5_000)]))
    where = ["--topic", topic, "--bootstrap-servers", broker.bootstrap_servers]
    with ConsumerProcess(str(index), *where, "--batch-records", "100") as consumer:
        consumer.wait_for("commit" if busy else "started")
        asked = time.monotonic()
        assert consumer.terminate() == 0, consumer.lines
        assert time.monotonic() - asked < 5.0
        [stopped] = consumer.events("stopped")
    with streamlsh.open(index) as reader:
        assert len(reader) == stopped["records"]
        assert len(reader) == sum(commit["records"] for commit in consumer.events("commit"))
        at = ",".join(f"0:{position.offset}" for position in reader.positions.values())
        assert stopped["positions"] == at
        reader.verify()


def poll_until_it_raises(source: KafkaSource) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert not source.poll(0.2, 100), "records were skipped in silence"


def test_a_client_that_delivers_nothing_although_there_is_something_is_replaced(
    connection: Connection, make_topic: TopicFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = make_topic()
    send(connection, topic, *items("a"))
    with closing(KafkaSource(connection, topic, stall_seconds=0.2)) as source:
        source.start({})
        # Clients have stalled like this for real; there is no way to make one do it on purpose.
        monkeypatch.setattr(source._consumer, "poll", lambda **_: {})
        wait_until(lambda: len(source.poll(0.1, 10)) == 1)
        assert source.stalls >= 1


def test_a_client_with_nothing_to_deliver_is_left_alone(
    connection: Connection, make_topic: TopicFactory
) -> None:
    with closing(KafkaSource(connection, make_topic(), stall_seconds=0.0)) as source:
        source.start({})
        assert not any(source.poll(0.05, 10) for _ in range(3))
        assert source.stalls == 0


def test_a_topic_counts_as_deleted_only_when_it_stays_missing(
    connection: Connection, make_topic: TopicFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = make_topic()
    monkeypatch.setattr("streamlsh_kafka.kafka_source.TOPIC_CHECK_SECONDS", 0.0)
    with closing(KafkaSource(connection, topic)) as source:
        source.start({})
        # What a broker says of a topic while it starts and does not know it yet.
        missing: list[dict[str, object]] = [{"error_code": 3, "topic_id": None, "partitions": []}]
        monkeypatch.setattr(source._topic._admin, "describe_topics", lambda _: missing)
        assert list(source.poll(0.0, 10)) == []
        monkeypatch.setattr("streamlsh_kafka.topic.MISSING_SECONDS", 0.0)
        with pytest.raises(TopicNotFoundError, match=topic):
            source.poll(0.0, 10)
