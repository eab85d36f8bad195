"""Connecting to a broker: TLS, logging in, and one clear line when it does not work."""

from __future__ import annotations

import os
import time
from contextlib import closing
from pathlib import Path

import pytest

from streamlsh_kafka import (
    Connection,
    check_connection,
    new_producer,
)
from streamlsh_kafka.errors import (
    AuthenticationFailedError,
    BrokerUnreachableError,
    HandshakeFailedError,
)
from streamlsh_kafka.testing import Broker, ConsumerProcess, SecureListener
from streamlsh_kafka.testing.fixtures import TopicFactory
from tests.integration.kafka.topics import (
    ids,
    items,
    last_line,
    send,
)

pytestmark = pytest.mark.broker


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
    send(connection, topic, *items("a"))
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


def test_the_broker_variable_is_what_tests_follow(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    from streamlsh_kafka.testing import kafka_broker

    monkeypatch.setenv("STREAMLSH_KAFKA_BOOTSTRAP", broker.bootstrap_servers)
    with kafka_broker() as found:
        assert (found.kind, found.bootstrap_servers) == ("environment", broker.bootstrap_servers)
    assert os.environ["STREAMLSH_KAFKA_BOOTSTRAP"]
