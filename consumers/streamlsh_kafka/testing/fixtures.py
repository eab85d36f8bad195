"""pytest fixtures on a real broker.

A ``conftest.py`` makes them available with
``config.pluginmanager.import_plugin("streamlsh_kafka.testing.fixtures")`` in its
``pytest_configure``, so that one broker serves a whole test session.

Where no broker can be had, tests that need one are skipped with one loud line; with ``CI`` set
in the environment they fail instead.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from kafka import KafkaAdminClient
from kafka.admin import NewTopic

from streamlsh_kafka.errors import NoBrokerError
from streamlsh_kafka.testing.broker import Broker, kafka_broker
from streamlsh_kafka.testing.jars import JarBroker, SecureListener, java_is_there

TopicFactory = Callable[..., str]


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    """A broker for the whole session, wherever it comes from."""
    try:
        with kafka_broker(secure=True) as found:
            yield found
    except NoBrokerError as error:
        _go_without(str(error))


@pytest.fixture(scope="session")
def secure_listener(broker: Broker) -> Iterator[SecureListener]:
    """A SASL_SSL listener with a user; needs a broker from the jars."""
    if isinstance(broker, JarBroker) and broker.secure is not None:
        yield broker.secure
        return
    own = _own_broker(secure=True)
    try:
        assert own.secure is not None
        yield own.secure
    finally:
        own.stop()


@pytest.fixture
def own_broker() -> Iterator[JarBroker]:
    """A broker of this test's own, which it may crash."""
    broker = _own_broker(secure=False)
    try:
        yield broker
    finally:
        broker.stop()


@pytest.fixture(scope="session")
def admin(broker: Broker) -> Iterator[KafkaAdminClient]:
    """An admin client of the session's broker."""
    client = KafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)
    try:
        yield client
    finally:
        client.close()


@pytest.fixture
def make_topic(admin: KafkaAdminClient) -> Iterator[TopicFactory]:
    """A function that creates a topic and returns its name; deleted after the test.

    Arguments: ``partitions`` (1) and ``configs``, a dictionary of topic settings.
    """
    with _topics(admin) as make:
        yield make


@pytest.fixture(scope="module")
def module_topics(admin: KafkaAdminClient) -> Iterator[TopicFactory]:
    """The same for topics that all tests of a module share."""
    with _topics(admin) as make:
        yield make


@contextmanager
def _topics(admin: KafkaAdminClient) -> Iterator[TopicFactory]:
    names: list[str] = []

    def make(*, partitions: int = 1, configs: dict[str, str] | None = None) -> str:
        name = f"items-{uuid.uuid4().hex[:12]}"
        admin.create_topics(
            [NewTopic(name, partitions, 1, topic_configs=configs or {})], timeout_ms=15_000
        )
        admin.wait_for_topics([name], timeout_ms=15_000)
        names.append(name)
        return name

    try:
        yield make
    finally:
        if names:
            admin.delete_topics(names, raise_errors=False)


def _own_broker(*, secure: bool) -> JarBroker:
    if not java_is_there():
        _go_without("this test needs a broker of its own: install Java 17 or newer and Maven")
    return JarBroker(secure=secure)


def _go_without(why: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(f"CI is set, so tests on a real broker must not be skipped: {why}")
    pytest.skip(f"NOT TESTED ON A REAL BROKER: {why}")
