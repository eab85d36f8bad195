"""The disk is full: what is committed stands, the error says what to do, and then it goes on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from streamlsh import Upsert
from streamlsh_kafka import Connection
from streamlsh_kafka.testing import Broker
from streamlsh_kafka.testing.fixtures import TopicFactory
from tests.faults.filling_disk import NAMES, ROWS
from tests.faults.namespaces import needs
from tests.integration.kafka.topics import send
from tests.integration.processes import DEADLINE, ROOT

UNSHARE = ["unshare", "--mount", "--map-root-user"]


pytestmark = needs("a file system", [*UNSHARE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"])


def play(*arguments: str) -> None:
    done = subprocess.run(
        [*UNSHARE, sys.executable, "-m", "tests.faults.filling_disk", *arguments], cwd=ROOT,
        capture_output=True, text=True, timeout=DEADLINE, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "held\n"), done.stderr


@pytest.mark.broker
def test_a_consumer_ends_on_a_full_disk_and_goes_on_where_it_was_once_there_is_space(
    broker: Broker, connection: Connection, make_topic: TopicFactory, tmp_path: Path
) -> None:
    topic = make_topic()
    send(connection, topic, *map(Upsert, NAMES, ROWS))
    play("consumer", str(tmp_path), topic, broker.bootstrap_servers)


def test_a_writer_that_is_kept_open_goes_on_with_the_same_batch(tmp_path: Path) -> None:
    play("writer", str(tmp_path))
