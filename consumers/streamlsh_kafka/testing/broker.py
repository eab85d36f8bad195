"""Where a broker comes from, for tests, demos and benchmarks alike.

In this order: the one that ``STREAMLSH_KAFKA_BOOTSTRAP`` names; a container, if an engine
answers; Apache Kafka from its published jars, if there are Java 17 and Maven.
"""

from __future__ import annotations

import importlib
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol

from streamlsh_kafka.connection import Connection, check_connection
from streamlsh_kafka.errors import NoBrokerError
from streamlsh_kafka.testing.jars import JarBroker, java_is_there

BOOTSTRAP_VARIABLE: Final = "STREAMLSH_KAFKA_BOOTSTRAP"


class Broker(Protocol):
    """A broker that runs; a `JarBroker` can also be crashed and offers SASL_SSL."""

    @property
    def kind(self) -> str:
        """Where it comes from: ``environment``, ``container`` or ``jars``."""

    @property
    def bootstrap_servers(self) -> str:
        """Its address, for PLAINTEXT clients."""


@dataclass(frozen=True, slots=True)
class FoundBroker:
    """A broker that somebody else runs, or a container does."""

    kind: str
    bootstrap_servers: str


@contextmanager
def kafka_broker(*, secure: bool = False) -> Iterator[Broker]:
    """Find or start a broker, and stop it afterwards if it was started here.

    Args:
        secure: if it is started from the jars, also offer a SASL_SSL listener.

    Raises:
        NoBrokerError: there is none of the three; the message names them.
        ConnectionFailedError: the variable names a broker that does not answer.
    """
    named = os.environ.get(BOOTSTRAP_VARIABLE)
    if named:
        check_connection(Connection(named))
        yield FoundBroker("environment", named)
        return
    if _container_engine_answers():
        with _container() as broker:
            yield broker
        return
    if java_is_there():
        jar_broker = JarBroker(secure=secure)
        try:
            yield jar_broker
        finally:
            jar_broker.stop()
        return
    raise NoBrokerError(
        "no Kafka broker can be had here. Choose one of: "
        f"set {BOOTSTRAP_VARIABLE}=host:port to a broker that runs; "
        "start a container engine (Docker or Podman); "
        "install Java 17 or newer and Maven (Apache Kafka then comes from its published jars)"
    )


def _container_engine_answers() -> bool:
    engine = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    if engine.startswith("unix://") and not _socket_answers(engine.removeprefix("unix://")):
        return False  # the usual case, and asking the client library would leak a socket
    try:
        docker: Any = importlib.import_module("docker")
        importlib.import_module("testcontainers.community.kafka")
    except ImportError:
        return False
    try:
        client = docker.from_env(timeout=3)
    except docker.errors.DockerException:
        return False
    client.close()
    return True


def _socket_answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
    return True


@contextmanager
def _container() -> Iterator[Broker]:
    kafka: Any = importlib.import_module("testcontainers.community.kafka")
    with kafka.KafkaContainer().with_kraft() as container:
        yield FoundBroker("container", container.get_bootstrap_server())
