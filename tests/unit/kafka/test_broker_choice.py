"""Where tests get a broker from, and what happens where there is none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from streamlsh_kafka.errors import BrokerUnreachableError, NoBrokerError
from streamlsh_kafka.testing import broker as choice
from streamlsh_kafka.testing import fixtures, kafka_broker


@pytest.fixture
def bare_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("STREAMLSH_KAFKA_BOOTSTRAP", raising=False)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-engine")
    monkeypatch.setattr(choice, "java_is_there", lambda: False)


@pytest.mark.usefixtures("bare_machine")
def test_without_any_broker_the_three_choices_are_named() -> None:
    with pytest.raises(NoBrokerError) as caught, kafka_broker():
        pass
    message = str(caught.value)
    assert "STREAMLSH_KAFKA_BOOTSTRAP" in message
    assert "container engine" in message
    assert "Java 17" in message


def test_a_named_broker_that_does_not_answer_is_an_error_and_not_a_skip(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STREAMLSH_KAFKA_BOOTSTRAP", "127.0.0.1:1")
    with pytest.raises(BrokerUnreachableError), kafka_broker():
        pass


def test_tests_without_a_broker_are_skipped_loudly_on_a_laptop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="NOT TESTED ON A REAL BROKER: why"):
        fixtures._go_without("why")


def test_tests_without_a_broker_fail_where_ci_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="must not be skipped: why"):
        fixtures._go_without("why")


def test_what_is_guarded_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    directory = tmp_path / "scratch"
    directory.mkdir()
    guard = [sys.executable, "-m", "streamlsh_kafka.testing.guard", str(directory), "sleep", "600"]
    parent_code = (
        "import subprocess, sys, time\n"
        "p = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "sys.stdout.buffer.write(p.stdout.readline()); sys.stdout.flush()\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", parent_code, *guard],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert parent.stdout is not None
    guarded = int(parent.stdout.readline())
    os.kill(guarded, 0)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    wait_until(lambda: not directory.exists())
    with pytest.raises(ProcessLookupError):
        os.kill(guarded, 0)


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.02)
