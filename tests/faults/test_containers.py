"""Processes in PID namespaces of their own, as those of containers on one volume are."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import streamlsh
from tests.faults.namespaces import needs
from tests.integration.processes import DEADLINE, ROOT, command

UNSHARE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
DIM = 8
ROWS = np.random.default_rng(0).standard_normal((400, DIM)).astype(np.float32)
IDS = [f"{row}" for row in range(200)]


pytestmark = needs("a PID namespace", [*UNSHARE, "true"])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    streamlsh.create(tmp_path / "index", dim=DIM, family="hyperplane", bits=4, tables=2)
    with streamlsh.writer(tmp_path / "index") as writer:
        writer.upsert(IDS, ROWS[:200])
    return tmp_path / "index"


@contextmanager
def container(path: Path, pid: int = 1) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [*UNSHARE, *command("container", path, pid)], cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def churn(path: Path, commits: int) -> None:
    with streamlsh.writer(path) as writer:
        for turn in range(commits):
            writer.upsert(IDS, ROWS[turn % 200 : turn % 200 + 200])
            writer.commit()


def held(process: subprocess.Popen[str]) -> None:
    """Let a container end: what it had pinned must still be whole."""
    process.communicate("\n", timeout=DEADLINE)
    assert process.returncode == 0


def test_equal_pids_in_two_namespaces_are_refused_with_who_the_other_is(path: Path) -> None:
    with container(path) as first:
        assert said(first).startswith("pinned 1 ")
        with container(path) as second:
            refusal = said(second)
        assert refusal.startswith("LockConflictError: ")
        assert "tests.integration.container" in refusal
        assert "--pid=container:NAME" in refusal
        assert len(list((path / "open").iterdir())) == 1
        churn(path, 40)
        held(first)
    with container(path) as third:
        assert said(third).startswith("pinned 1 ")
        held(third)


def test_a_living_reader_of_another_namespace_is_never_cleared(path: Path) -> None:
    with container(path, 7) as reader, streamlsh.open(path) as ours:
        assert said(reader).startswith("pinned 7 ")
        churn(path, 40)
        assert ours._index.environment.clear_dead_readers() == 0
        assert 7 in [row["pid"] for row in ours.info()["readers"]]
        held(reader)


def test_a_container_that_was_killed_and_starts_again_with_its_pid_frees_its_slot(
    path: Path,
) -> None:
    # Somebody else has it open all the time, or LMDB would begin its table of readers anew.
    with streamlsh.open(path) as reader:
        with container(path) as first:
            assert said(first).startswith("pinned 1 ")
        with container(path) as again:
            assert said(again).startswith("pinned 1 ")
            churn(path, 5)
            pinned = [row for row in reader.info()["readers"] if row["pid"] == 1]
            assert len(pinned) == 1
            assert len(list((path / "open").iterdir())) == 2
            held(again)


def test_a_stopped_container_holds_nobody_up(path: Path) -> None:
    with container(path) as stopped:
        assert said(stopped).startswith("pinned 1 ")
        inside = child_of(stopped.pid)
        os.kill(inside, signal.SIGSTOP)
        churn(path, 20)
        with container(path) as second:
            assert said(second).startswith("LockConflictError: ")
        os.kill(inside, signal.SIGCONT)
        held(stopped)


def child_of(pid: int) -> int:
    """The only child of a process, by its PID in this namespace."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    assert len(children) == 1
    return int(children[0])
