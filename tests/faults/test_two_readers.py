"""Two readers under load: no answer mixes two commits, no snapshot moves, no second writer.

``STREAMLSH_SOAK_SECONDS`` is for how long; `make soak` makes it minutes.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

import streamlsh
from tests.integration.generations import DIM, check
from tests.integration.processes import start

SOAK_SECONDS = float(os.environ.get("STREAMLSH_SOAK_SECONDS", "4"))

pytestmark = [pytest.mark.slow, pytest.mark.timeout(SOAK_SECONDS + 300)]


def counted(process: subprocess.Popen[str]) -> dict[str, int]:
    """Ask a process to end; what it counted. It must not have failed."""
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    counts: dict[str, int] = json.loads(output.splitlines()[-1])
    return counts


@pytest.mark.parametrize("family", ["hyperplane", "voronoi"])
def test_two_readers_never_see_two_generations_while_a_writer_commits_under_load(
    tmp_path: Path, family: str
) -> None:
    path = tmp_path / "index"
    sample = np.random.default_rng(1).standard_normal((200, DIM))
    streamlsh.create(path, dim=DIM, family=family, sample=sample)
    processes = []
    try:
        for role in ("write", "read", "read", "intrude"):  # the writer holds the index before
            process = start("generations", role, path)
            processes.append(process)
            assert process.stdout is not None
            first = process.stdout.readline()
            assert first == "ready\n", first + process.communicate()[0]
        deadline = time.monotonic() + SOAK_SECONDS
        while time.monotonic() < deadline:
            ended = [process for process in processes if process.poll() is not None]
            assert not ended, ended[0].communicate()[0]
            time.sleep(0.1)
        intruder, *readers, writer = [counted(process) for process in reversed(processes)]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    print(f"{family}: writer {writer}, readers {readers}, second writer {intruder}")
    assert intruder["refused"] > 0
    assert writer["removed"] > 0
    for reader in readers:
        assert reader["different commits"] > 1
        assert reader["held"] > 0
    with streamlsh.open(path) as after, after.snapshot() as snapshot:
        assert snapshot.commit == writer["commits"]
        check(snapshot)
        snapshot.verify()
