"""When the consumer stops, with which error, and that it says so in one line."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import NewTopic

import streamlsh
from streamlsh import Position, Upsert
from streamlsh_kafka import (
    Connection,
    KafkaSource,
    check_connection,
    consume,
    encode_update,
    new_producer,
)
from streamlsh_kafka.errors import (
    AuthenticationFailedError,
    BrokerUnreachableError,
    HandshakeFailedError,
    OffsetBelowStartError,
    OffsetBeyondEndError,
    TopicNotFoundError,
    TopicRecreatedError,
)
from streamlsh_kafka.testing import Broker, ConsumerProcess, SecureListener
from streamlsh_kafka.testing.fixtures import TopicFactory

pytestmark = pytest.mark.broker
DIM = 8


@pytest.fixture
def connection(broker: Broker) -> Connection:
    return Connection(broker.bootstrap_servers)


@pytest.fixture
def index(tmp_path: Path) -> Path:
    path = tmp_path / "items.lsh"
    streamlsh.create(path, dim=DIM, metric="cosine", bits=4, tables=2)
    return path


def send(connection: Connection, topic: str, *names: str) -> None:
    with closing(new_producer(connection)) as producer:
        for name in names:
            key, value, headers = encode_update(Upsert(name, np.ones(DIM, np.float32)))
            producer.send(topic, key=key, value=value, headers=headers)
        producer.flush(30)


def catch_up(connection: Connection, topic: str, index: Path, *, accept_gap: bool = False) -> int:
    with (
        streamlsh.writer(index) as writer,
        closing(KafkaSource(connection, topic, accept_gap=accept_gap)) as source,
    ):
        return consume(writer, source, until_end=True).records


def ids(index: Path) -> list[str]:
    with streamlsh.open(index) as reader:
        return [item.id for item in reader.items()]


def recreate(admin: KafkaAdminClient, topic: str) -> None:
    admin.delete_topics([topic])

    def created() -> bool:
        admin.create_topics([NewTopic(topic, 1, 1)], raise_errors=False)
        [found] = admin.describe_topics([topic])
        return not found["error_code"]

    wait_until(lambda: bool(admin.describe_topics([topic])[0]["error_code"]))
    wait_until(created)
    admin.wait_for_topics([topic])


def last_line(consumer: ConsumerProcess) -> str:
    """The error of a consumer that ended by itself: one line, no traceback."""
    assert consumer.wait() == 1
    [line] = [line for line in consumer.lines if not line.startswith("{")]
    assert line.startswith("streamlsh-kafka: error: ")
    return line


def test_a_recreated_topic_stops_the_next_start(
    connection: Connection, make_topic: TopicFactory, index: Path, admin: KafkaAdminClient
) -> None:
    topic = make_topic()
    send(connection, topic, "a")
    catch_up(connection, topic, index)
    recreate(admin, topic)
    send(connection, topic, "b", "c")
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
    send(connection, topic, "a")
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
    send(connection, topic, "a")
    catch_up(connection, topic, index)
    send(connection, topic, "lost", "b")
    admin.delete_records({TopicPartition(topic, 0): 2})
    with pytest.raises(OffsetBelowStartError, match="--accept-gap") as caught:
        catch_up(connection, topic, index)
    assert (caught.value.stored, caught.value.limit) == (1, 2)
    assert ids(index) == ["a"]
    assert catch_up(connection, topic, index, accept_gap=True) == 1
    assert ids(index) == ["a", "b"]


def test_records_removed_under_a_reader_are_an_error_and_not_skipped(
    connection: Connection, make_topic: TopicFactory, admin: KafkaAdminClient
) -> None:
    topic = make_topic()
    send(connection, topic, "a", "b", "c")
    with closing(KafkaSource(connection, topic)) as source:
        source.start({})
        admin.delete_records({TopicPartition(topic, 0): 2})
        with pytest.raises(OffsetBelowStartError):
            poll_until_it_raises(source)


def test_a_position_past_the_end_stops_the_consumer(
    connection: Connection, make_topic: TopicFactory, index: Path
) -> None:
    topic = make_topic()
    send(connection, topic, "a")
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
    send(connection, topic, "old", "a")
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
    send(connection, topic, "a")
    with closing(new_producer(connection)) as producer:
        sent = producer.send(topic, key=b"bad", value=b"\xc1", headers=[("own", b"h")], partition=0)
        metadata = sent.get(30)
    send(connection, topic, "b")
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
    send(connection, topic, "a")
    where = ["--topic", topic, "--bootstrap-servers", broker.bootstrap_servers]
    with ConsumerProcess(str(index), *where, "--dead-letter-topic", "no-such-topic") as consumer:
        assert "no dead-letter topic no-such-topic" in last_line(consumer)
    assert ids(index) == []


def test_policy_stop_ends_at_the_bad_record_with_all_before_it_committed(
    broker: Broker, connection: Connection, make_topic: TopicFactory, index: Path
) -> None:
    topic = make_topic()
    send(connection, topic, "a")
    with closing(new_producer(connection)) as producer:
        producer.send(topic, key=b"bad", value=b"\xc1").get(30)
    send(connection, topic, "b")
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
        send(connection, topic, *[f"i{n}" for n in range(5_000)])
    where = ["--topic", topic, "--bootstrap-servers", broker.bootstrap_servers]
    with ConsumerProcess(str(index), *where, "--batch-records", "100") as consumer:
        consumer.wait_for("commit" if busy else "started")
        assert consumer.terminate() == 0, consumer.lines
        [stopped] = consumer.events("stopped")
    with streamlsh.open(index) as reader:
        assert len(reader) == stopped["records"]
        reader.verify()


def secure(listener: SecureListener, mechanism: str, password: str | None = None) -> Connection:
    return Connection(
        listener.bootstrap_servers,
        security_protocol="SASL_SSL",
        ssl_cafile=listener.cafile,
        sasl_mechanism=mechanism,
        sasl_username=listener.username,
        sasl_password=password or listener.password,
    )


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "PLAIN"])
def test_tls_with_sasl_reads_a_topic_and_writes_dead_letters(
    secure_listener: SecureListener,
    make_topic: TopicFactory,
    index: Path,
    mechanism: str,
) -> None:
    topic, dead = make_topic(), make_topic()
    connection = secure(secure_listener, mechanism)
    send(connection, topic, "a")
    with closing(new_producer(connection)) as producer:
        producer.send(topic, key=b"bad", value=b"\xc1").get(30)
    arguments = [str(index), "--topic", topic, "--dead-letter-topic", dead, "--until-end"]
    arguments += ["--bootstrap-servers", secure_listener.bootstrap_servers]
    arguments += ["--security-protocol", "SASL_SSL", "--ssl-cafile", secure_listener.cafile]
    arguments += ["--sasl-mechanism", mechanism, "--sasl-username", secure_listener.username]
    password = {"STREAMLSH_KAFKA_SASL_PASSWORD": secure_listener.password}
    with ConsumerProcess(*arguments, environment=password) as consumer:
        assert consumer.wait() == 0, consumer.lines
        assert secure_listener.password not in "".join(consumer.lines)
    assert ids(index) == ["a"]


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "PLAIN"])
def test_a_wrong_password_is_one_clear_line_within_seconds(
    secure_listener: SecureListener, index: Path, mechanism: str
) -> None:
    started = time.monotonic()
    arguments = [str(index), "--topic", "t", "--sasl-mechanism", mechanism]
    arguments += ["--bootstrap-servers", secure_listener.bootstrap_servers]
    arguments += ["--security-protocol", "SASL_SSL", "--ssl-cafile", secure_listener.cafile]
    arguments += ["--sasl-username", secure_listener.username]
    password = {"STREAMLSH_KAFKA_SASL_PASSWORD": "not-it"}
    with ConsumerProcess(*arguments, environment=password) as consumer:
        line = last_line(consumer)
    assert time.monotonic() - started < 10
    assert "wrong user name or password" in line
    assert "not-it" not in line


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "PLAIN"])
def test_a_wrong_password_is_told_from_other_failures_every_time(
    secure_listener: SecureListener, mechanism: str
) -> None:
    for _ in range(5):
        with pytest.raises(AuthenticationFailedError):
            check_connection(secure(secure_listener, mechanism, "not-it"))
    check_connection(secure(secure_listener, mechanism))


def test_a_mechanism_that_is_not_offered_is_an_authentication_error(
    secure_listener: SecureListener,
) -> None:
    with pytest.raises(AuthenticationFailedError, match="SCRAM-SHA-256"):
        check_connection(secure(secure_listener, "SCRAM-SHA-256"))


def test_a_certificate_that_is_not_trusted_is_named(secure_listener: SecureListener) -> None:
    untrusting = Connection(
        secure_listener.bootstrap_servers,
        security_protocol="SASL_SSL",
        sasl_mechanism="PLAIN",
        sasl_username=secure_listener.username,
        sasl_password=secure_listener.password,
    )
    with pytest.raises(HandshakeFailedError, match="certificate verify failed"):
        check_connection(untrusting)


def test_a_listener_of_another_protocol_is_named(
    secure_listener: SecureListener, broker: Broker
) -> None:
    with pytest.raises(HandshakeFailedError, match="does not speak PLAINTEXT"):
        check_connection(Connection(secure_listener.bootstrap_servers))
    with pytest.raises(HandshakeFailedError, match="does not speak SSL"):
        check_connection(Connection(broker.bootstrap_servers, security_protocol="SSL"))


def test_an_unreachable_broker_is_one_clear_line_within_seconds(index: Path) -> None:
    started = time.monotonic()
    with ConsumerProcess(
        str(index), "--topic", "t", "--bootstrap-servers", "127.0.0.1:1,localhost:2"
    ) as consumer:
        line = last_line(consumer)
    assert time.monotonic() - started < 10
    assert "no Kafka broker answers at 127.0.0.1:1" in line
    assert "localhost:2" in line


def test_a_broker_that_accepts_and_never_answers_is_given_up_within_seconds() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        started = time.monotonic()
        with pytest.raises(HandshakeFailedError, match="no answer within"):
            check_connection(Connection(f"127.0.0.1:{port}"))
        assert time.monotonic() - started < 10


def test_of_several_addresses_one_that_answers_is_enough(broker: Broker) -> None:
    check_connection(Connection(f"127.0.0.1:1,{broker.bootstrap_servers}"))


def test_a_name_that_does_not_resolve_is_named() -> None:
    with pytest.raises(BrokerUnreachableError, match=r"no-such-host\.invalid:9092"):
        check_connection(Connection("no-such-host.invalid:9092"))


def poll_until_it_raises(source: KafkaSource) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert not source.poll(0.2, 100), "records were skipped in silence"


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.02)


def test_the_broker_variable_is_what_tests_follow(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    from streamlsh_kafka.testing import kafka_broker

    monkeypatch.setenv("STREAMLSH_KAFKA_BOOTSTRAP", broker.bootstrap_servers)
    with kafka_broker() as found:
        assert (found.kind, found.bootstrap_servers) == ("environment", broker.bootstrap_servers)
    assert os.environ["STREAMLSH_KAFKA_BOOTSTRAP"]


def test_a_client_that_delivers_nothing_although_there_is_something_is_replaced(
    connection: Connection, make_topic: TopicFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = make_topic()
    send(connection, topic, "a")
    monkeypatch.setattr("streamlsh_kafka.kafka_source.STALL_SECONDS", 0.0)
    with closing(KafkaSource(connection, topic)) as source:
        source.start({})
        # Clients have stalled like this for real; there is no way to make one do it on purpose.
        monkeypatch.setattr(source._consumer, "poll", lambda **_: {})
        wait_until(lambda: len(source.poll(0.1, 10)) == 1)


def test_a_topic_counts_as_deleted_only_when_it_stays_missing(
    connection: Connection, make_topic: TopicFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = make_topic()
    monkeypatch.setattr("streamlsh_kafka.kafka_source.TOPIC_CHECK_SECONDS", 0.0)
    with closing(KafkaSource(connection, topic)) as source:
        source.start({})
        # What a broker says of a topic while it starts and does not know it yet.
        missing: list[dict[str, object]] = [{"error_code": 3, "topic_id": None, "partitions": []}]
        monkeypatch.setattr(source._admin, "describe_topics", lambda _: missing)
        assert source.poll(0.0, 10) == ()
        monkeypatch.setattr("streamlsh_kafka.kafka_source.MISSING_SECONDS", 0.0)
        with pytest.raises(TopicNotFoundError, match=topic):
            source.poll(0.0, 10)
