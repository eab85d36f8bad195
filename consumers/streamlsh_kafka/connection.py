"""How to reach a broker, and a check that fails in seconds with one clear line.

Left to itself, kafka-python retries a wrong password or a dead address for 30 seconds and then
says "Unable to bootstrap". So the way is walked here first, one step at a time: TCP, TLS, SASL,
and the addresses that the broker advertises. This module looks inside of the client library
(its ``net`` package), to learn *why* a connection failed; beside it only `fetching` does.
"""

from __future__ import annotations

import gc
import logging
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import kafka.errors
from kafka import KafkaAdminClient
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector

from streamlsh_kafka.errors import (
    AuthenticationFailedError,
    BrokerUnreachableError,
    ConfigurationError,
    ConnectionFailedError,
    HandshakeFailedError,
)

CONNECT_SECONDS: Final = 3.0
HANDSHAKE_SECONDS: Final = 4.0
PROTOCOLS: Final = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
MECHANISMS: Final = ("SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN")


@dataclass(frozen=True, slots=True)
class Connection:
    """Where the broker is and how to log in.

    The password is left out of ``repr`` so that it cannot reach a log by accident.

    Raises:
        ConfigurationError: the parts do not fit together.
    """

    bootstrap_servers: str
    security_protocol: str = "PLAINTEXT"
    ssl_cafile: str | None = None
    sasl_mechanism: str | None = None
    sasl_username: str | None = None
    sasl_password: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.addresses()
        if self.security_protocol not in PROTOCOLS:
            raise ConfigurationError(
                f"security protocol: expected one of {', '.join(PROTOCOLS)}, "
                f"received {self.security_protocol}"
            )
        if self.security_protocol.startswith("SASL"):
            if self.sasl_mechanism not in MECHANISMS:
                raise ConfigurationError(
                    f"SASL mechanism: expected one of {', '.join(MECHANISMS)}, "
                    f"received {self.sasl_mechanism}"
                )
            if not self.sasl_username or not self.sasl_password:
                raise ConfigurationError(
                    f"{self.security_protocol} needs a user name and a password: "
                    "--sasl-username, and STREAMLSH_KAFKA_SASL_PASSWORD or --sasl-password-file"
                )
        elif self.sasl_mechanism or self.sasl_username or self.sasl_password:
            raise ConfigurationError(
                "SASL credentials are given, but the security protocol is "
                f"{self.security_protocol}: expected SASL_SSL or SASL_PLAINTEXT"
            )

    def addresses(self) -> list[tuple[str, int]]:
        """The bootstrap servers as (host, port) pairs."""
        pairs = []
        for part in self.bootstrap_servers.split(","):
            host, _, port = part.strip().rpartition(":")
            if not host or not port.isdigit() or not 0 < int(port) < 65_536:
                raise ConfigurationError(
                    f"bootstrap servers: expected HOST:PORT[,HOST:PORT], received {part.strip()!r}"
                )
            pairs.append((host.strip("[]"), int(port)))
        return pairs

    def client_settings(self) -> dict[str, Any]:
        """Settings that kafka-python's consumer, producer and admin client share."""
        settings: dict[str, Any] = {
            "bootstrap_servers": [part.strip() for part in self.bootstrap_servers.split(",")],
            "security_protocol": self.security_protocol,
            "client_id": "streamlsh",
            # A restarting broker is looked for again within a second, not after half a minute.
            "reconnect_backoff_max_ms": 1_000,
        }
        if self.ssl_cafile:
            settings["ssl_cafile"] = self.ssl_cafile
        if self.sasl_mechanism:
            settings["sasl_mechanism"] = self.sasl_mechanism
            settings["sasl_plain_username"] = self.sasl_username
            settings["sasl_plain_password"] = self.sasl_password
        return settings


def check_connection(connection: Connection) -> None:
    """Walk the way to the broker once and say precisely where it ends.

    Takes a few milliseconds when all is well, and at most a few seconds otherwise.

    Raises:
        BrokerUnreachableError: no TCP connection to the address, or to what it advertises.
        HandshakeFailedError: TLS or the protocol do not fit the listener.
        AuthenticationFailedError: user, password or mechanism were refused.
    """
    host, port = _first_reachable(connection.addresses())
    advertised = _handshake(connection, f"{host}:{port}")
    try:
        _first_reachable(advertised)
    except BrokerUnreachableError as error:
        raise BrokerUnreachableError(
            f"the broker at {host}:{port} answers, but the address that it advertises to clients "
            f"does not: {error}. Mend its advertised.listeners",
            address=error.address,
        ) from error


def _first_reachable(addresses: list[tuple[str, int]]) -> tuple[str, int]:
    failures = []
    for host, port in addresses:
        try:
            socket.create_connection((host, port), CONNECT_SECONDS).close()
        except OSError as error:
            failures.append(f"{host}:{port} ({error.strerror or error})")
        else:
            return host, port
    raise BrokerUnreachableError(
        f"no Kafka broker answers at {', '.join(failures)}",
        address=",".join(f"{host}:{port}" for host, port in addresses),
    )


def _handshake(connection: Connection, address: str) -> list[tuple[str, int]]:
    """Open one connection with TLS and SASL; return the addresses that the broker advertises."""
    if connection.security_protocol.endswith("SSL"):
        _check_tls(connection, address)
    settings = connection.client_settings() | {
        "bootstrap_servers": [address],
        "request_timeout_ms": HANDSHAKE_SECONDS * 1000,
    }
    with quiet_client():
        network = NetworkSelector(**settings)
        manager = KafkaConnectionManager(network, **settings)
        try:
            return list(network.run(_ask_for_brokers, manager))
        except _ClosedDuringLoginError as error:
            raise _refused(connection, address) from error
        except kafka.errors.KafkaError as error:
            raise _explain(connection, address, error) from error
        finally:
            manager.close()
            network.close()


async def _ask_for_brokers(manager: Any) -> list[tuple[str, int]]:
    node = manager.cluster.bootstrap_brokers()[0].node_id
    opening = manager.get_connection(
        node, timeout_ms=HANDSHAKE_SECONDS * 1000, pop_on_close=False, refresh_metadata_on_err=False
    )
    # A peer that speaks another protocol may simply never answer, so waiting needs its own bound.
    try:
        await manager.wait_for(opening.init_future, HANDSHAKE_SECONDS * 1000)
    except kafka.errors.KafkaConnectionError as error:
        # The broker says no and hangs up in one go, and the client may see only the hanging up.
        # It was logging in by then if the step before that, the API versions, is done.
        if opening.sasl_enabled and opening.broker_version_data is not None:
            raise _ClosedDuringLoginError(str(error)) from error
        raise
    await manager.cluster.refresh_metadata(node)
    return [(broker.host, broker.port) for broker in manager.cluster.brokers()]


class _ClosedDuringLoginError(Exception):
    """The broker closed the connection while the client was logging in."""


def _check_tls(connection: Connection, address: str) -> None:
    try:
        context = ssl.create_default_context(cafile=connection.ssl_cafile)
    except OSError as error:
        raise ConfigurationError(f"CA file {connection.ssl_cafile}: {error}") from error
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), HANDSHAKE_SECONDS) as plain:
            context.wrap_socket(plain, server_hostname=host).close()
    except OSError as error:  # ssl.SSLError is one
        raise _misfit(connection, address, str(error)) from error


def _refused(connection: Connection, address: str) -> AuthenticationFailedError:
    return AuthenticationFailedError(
        f"the broker at {address} refused user {connection.sasl_username!r} "
        f"({connection.sasl_mechanism}): wrong user name or password, or a mechanism that is not "
        "enabled for it",
        address=address,
    )


def _explain(
    connection: Connection, address: str, error: kafka.errors.KafkaError
) -> ConnectionFailedError:
    if isinstance(error, kafka.errors.SaslAuthenticationFailedError):
        return _refused(connection, address)
    if isinstance(error, kafka.errors.UnsupportedSaslMechanismError):
        return AuthenticationFailedError(
            f"the broker at {address} does not offer {connection.sasl_mechanism}",
            address=address,
        )
    if isinstance(error, kafka.errors.KafkaTimeoutError | kafka.errors.RequestTimedOutError):
        return _misfit(connection, address, f"no answer within {HANDSHAKE_SECONDS:g} s")
    return _misfit(connection, address, str(error) or type(error).__name__)


def _misfit(connection: Connection, address: str, detail: str) -> HandshakeFailedError:
    return HandshakeFailedError(
        f"something listens at {address}, but does not speak {connection.security_protocol} as "
        f"expected ({detail}): check the security protocol, the CA file and that the port is the "
        "right listener",
        address=address,
    )


def topic_exists(connection: Connection, topic: str) -> bool:
    """Ask the broker for a topic, without creating it.

    Raises:
        BrokerUnreachableError: no answer.
    """
    try:
        client = KafkaAdminClient(
            bootstrap_timeout_ms=HANDSHAKE_SECONDS * 1000, **connection.client_settings()
        )
        try:
            return not client.describe_topics([topic])[0]["error_code"]
        finally:
            client.close()
    except kafka.errors.KafkaError as error:
        raise lost(connection, error) from error


def lost(connection: Connection, error: Exception) -> BrokerUnreachableError:
    """What an error of the client means, after there has been a working connection."""
    servers = connection.bootstrap_servers
    return BrokerUnreachableError(
        f"the broker at {servers} stopped answering: {str(error) or type(error).__name__}",
        address=servers,
    )


def drop_refused() -> None:
    """Let go of connections that were refused; to be called now and then while a broker is away.

    The client leaves two sockets a second in reference cycles meanwhile, and too few other objects
    are made for Python to look for cycles by itself before files run out.
    """
    gc.collect()


@contextmanager
def quiet_client() -> Iterator[None]:
    """Keep kafka-python from logging what is about to be said in one line of our own."""
    logger = logging.getLogger("kafka")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)
