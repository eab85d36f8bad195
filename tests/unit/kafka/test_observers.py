"""What the consumer says of snapshots that are kept open for long."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

import streamlsh
from streamlsh_kafka import SnapshotWatch
from streamlsh_kafka.testing.memory import MemorySource


def test_an_old_snapshot_is_warned_of_once_a_minute_with_its_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 1e9
    monkeypatch.setattr(time, "time", lambda: now)
    path = tmp_path / "index"
    streamlsh.create(path, dim=2, family="hyperplane", bits=2, tables=1)
    source = MemorySource()

    def warnings() -> list[dict[str, Any]]:
        watch.polled(source)
        said = [vars(r)["fields"] for r in caplog.records if r.getMessage() == "old_snapshot"]
        caplog.clear()
        return said

    with streamlsh.writer(path) as writer, streamlsh.open(path) as reader:
        watch = SnapshotWatch(writer, clock=lambda: now)
        with reader.snapshot():
            writer.upsert(["a"], [[1.0, 2.0]])
            writer.commit()
            now += 59.0
            assert warnings() == []
            now += 2.0
            assert warnings() == []  # it looked two seconds ago
            now += 4.0
            (said,) = warnings()
            assert (said["pid"], said["host"]) == (os.getpid(), os.uname().nodename)
            assert said["command"]
            assert said["seconds"] == 65
            now += 30.0
            assert warnings() == []
            now += 31.0
            assert len(warnings()) == 1
        now += 61.0
        assert warnings() == []
