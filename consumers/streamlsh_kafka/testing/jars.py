"""Apache Kafka from its published jars: one broker in KRaft mode, on Java and nothing else."""

from __future__ import annotations

import base64
import fcntl
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import kafka.errors
from kafka import KafkaAdminClient

from streamlsh_kafka.connection import quiet_client
from streamlsh_kafka.errors import NoBrokerError

KAFKA_VERSION: Final = "4.3.1"
SLF4J_VERSION: Final = "2.0.20"
OLDEST_JAVA: Final = 17
DOWNLOAD_SECONDS: Final = 600.0
START_SECONDS: Final = 60.0

_POM: Final = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>streamlsh</groupId><artifactId>kafka-jars</artifactId><version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId>
      <version>{KAFKA_VERSION}</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-api</artifactId>
      <version>{SLF4J_VERSION}</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId>
      <version>{SLF4J_VERSION}</version></dependency>
  </dependencies>
</project>
"""

_SERVER: Final = """process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}{secure_listener}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}{secure_advertised}
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
log.dirs={directory}/log
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
log.cleaner.dedupe.buffer.size=2097152
log.cleaner.backoff.ms=100
log.retention.check.interval.ms=500
"""

_SECURE: Final = """ssl.keystore.type=PEM
ssl.keystore.location={directory}/broker.pem
sasl.enabled.mechanisms=SCRAM-SHA-512,PLAIN
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_ssl.plain.sasl.jaas.config=\
org.apache.kafka.common.security.plain.PlainLoginModule required user_{user}="{password}";
"""


@dataclass(frozen=True, slots=True)
class SecureListener:
    """A SASL_SSL listener: where it is, its certificate authority, and a user for it."""

    bootstrap_servers: str
    cafile: str
    username: str
    password: str


def java_is_there() -> bool:
    """Whether this machine has Java 17 or newer, and Maven or the jars already."""
    java = shutil.which("java")
    if java is None:
        return False
    answer = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    found = re.search(r'version "(\d+)', answer.stderr)
    if found is None or int(found[1]) < OLDEST_JAVA:
        return False
    return shutil.which("mvn") is not None or _jars_directory().is_dir()


def fetch_jars() -> Path:
    """Return the directory with Kafka's jars, downloading them once per user (44 MB).

    Raises:
        NoBrokerError: the download failed.
    """
    target = _jars_directory()
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / "download.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs that start together download once
        if target.is_dir():
            return target
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            Path(scratch, "pom.xml").write_text(_POM)
            command = ["mvn", "-q", "-B", "dependency:copy-dependencies"]
            command += ["-DincludeScope=runtime", "-DoutputDirectory=lib"]
            try:
                subprocess.run(
                    command, cwd=scratch, check=True, capture_output=True, timeout=DOWNLOAD_SECONDS
                )
            except (OSError, subprocess.SubprocessError) as error:
                output = getattr(error, "stdout", None) or b""
                raise NoBrokerError(
                    f"Maven could not fetch Apache Kafka {KAFKA_VERSION}: {error}\n"
                    + output.decode(errors="replace")[-2000:]
                ) from error
            Path(scratch, "lib").rename(target)
    return target


def _jars_directory() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache, "streamlsh", f"kafka-{KAFKA_VERSION}")


class JarBroker:
    """One broker of our own, started on free ports in a directory of its own.

    It ends when it is stopped, and also when the process that started it dies in whatever way.

    Args:
        secure: also offer a SASL_SSL listener with SCRAM-SHA-512 and PLAIN.

    Attributes:
        directory: its configuration, its log, and under ``log`` the data of its topics.

    Raises:
        NoBrokerError: it did not come up; the end of its log is in the message.
    """

    kind = "jars"

    def __init__(self, *, secure: bool = False) -> None:
        self._jars = fetch_jars()
        self.directory = Path(tempfile.mkdtemp(prefix="streamlsh-kafka-"))
        self._process: subprocess.Popen[str] | None = None
        self._java = 0
        port, controller, secure_port = _free_ports(3)
        self.bootstrap_servers = f"127.0.0.1:{port}"
        self.secure: SecureListener | None = None
        if secure:
            self.secure = SecureListener(
                f"localhost:{secure_port}",
                str(self.directory / "certificate.pem"),
                "streamlsh",
                secrets.token_hex(12),
            )
        try:
            self._format(port, controller, secure_port)
            self.start()
        except BaseException:
            self.stop()
            raise

    def start(self) -> None:
        """Start the process on the directory as it is, and wait until it answers."""
        command = [sys.executable, "-m", "streamlsh_kafka.testing.guard", str(self.directory)]
        command += ["java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        command += ["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f"{self._jars}/*"]
        command += ["kafka.Kafka", str(self.directory / "server.properties")]
        with (self.directory / "broker.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                # Ctrl-C in a terminal goes to the parent, which then stops the broker in order.
                start_new_session=True,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        assert self._process.stdout is not None
        self._java = int(self._process.stdout.readline())
        self._wait_until_ready()

    def kill(self) -> None:
        """Crash the broker (SIGKILL); `start` brings it back on the same directory."""
        assert self._process is not None
        os.kill(self._java, signal.SIGKILL)
        self._process.wait()
        self._close_pipes()

    def pause(self) -> None:
        """Let the broker hang (SIGSTOP) until `resume`: it takes connections, and never answers."""
        os.kill(self._java, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on (SIGCONT)."""
        os.kill(self._java, signal.SIGCONT)

    def stop(self) -> None:
        """Stop the broker and remove its directory; may be called twice."""
        if self._process is not None:
            self._close_pipes()
            self._process.wait()
            self._process = None
        shutil.rmtree(self.directory, ignore_errors=True)

    def _close_pipes(self) -> None:
        assert self._process is not None
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def _format(self, port: int, controller: int, secure_port: int) -> None:
        properties = _SERVER.format(
            port=port,
            controller=controller,
            directory=self.directory,
            secure_listener=f",SASL_SSL://127.0.0.1:{secure_port}" if self.secure else "",
            secure_advertised=f",SASL_SSL://localhost:{secure_port}" if self.secure else "",
        )
        # Kafka wants a UUID that does not begin with a dash, which a command line would misread.
        cluster = base64.urlsafe_b64encode(b"\0" + uuid.uuid4().bytes[1:])[:22].decode()
        command = ["java", "-cp", f"{self._jars}/*", "kafka.tools.StorageTool", "format"]
        command += ["--standalone", "-t", cluster, "-c", str(self.directory / "server.properties")]
        if self.secure:
            user, password = self.secure.username, self.secure.password
            properties += _SECURE.format(directory=self.directory, user=user, password=password)
            command += ["--add-scram", f"SCRAM-SHA-512=[name={user},password={password}]"]
            self._make_certificate()
        (self.directory / "server.properties").write_text(properties)
        _run(command)

    def _make_certificate(self) -> None:
        key, certificate = self.directory / "key.pem", self.directory / "certificate.pem"
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
        command += ["-keyout", str(key), "-out", str(certificate), "-subj", "/CN=localhost"]
        command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        _run(command)
        (self.directory / "broker.pem").write_text(key.read_text() + certificate.read_text())

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        host, port = self.bootstrap_servers.split(":")
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                # The port first: it costs nothing to ask again, the client backs off.
                socket.create_connection((host, int(port)), 1.0).close()
                with quiet_client():
                    settings = {"bootstrap_timeout_ms": 5_000}
                    KafkaAdminClient(bootstrap_servers=self.bootstrap_servers, **settings).close()
            except (OSError, kafka.errors.KafkaError):
                time.sleep(0.05)
            else:
                return
        log = (self.directory / "broker.log").read_text(errors="replace")
        raise NoBrokerError(f"Apache Kafka did not come up in {START_SECONDS:g} s:\n{log[-2000:]}")


def _run(command: list[str]) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        output = getattr(error, "stderr", "") or ""
        raise NoBrokerError(f"{command[0]} failed: {error}\n{output[-2000:]}") from error


def _free_ports(count: int) -> list[int]:
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [listener.getsockname()[1] for listener in listeners]
    finally:
        for listener in listeners:
            listener.close()
