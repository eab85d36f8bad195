"""Who reads an index, how outdated what they pin is, and what becomes of the dead."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import lmdb
import numpy as np
import pytest

import streamlsh
from streamlsh.cli.app import main
from streamlsh.readers import describe_pin, oldest_snapshot
from streamlsh.storage.presence import FOLDER
from streamlsh.storage.times import MOST, note_time, outdated_seconds
from streamlsh.writing import READER_CHECK_COMMITS
from tests.integration.processes import start

DIM = 4
IDS = [f"{row}" for row in range(20)]
ROWS = np.random.default_rng(3).standard_normal((20, DIM)).astype(np.float32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    streamlsh.create(tmp_path / "index", dim=DIM, family="hyperplane", bits=4, tables=2)
    return tmp_path / "index"


def commit(writer: streamlsh.Writer, times: int = 1) -> None:
    for _ in range(times):
        writer.upsert(IDS, ROWS + writer.commit_number)
        writer.commit()


def pinned_by(writer: streamlsh.Writer, pid: int) -> list[streamlsh.ReaderInfo]:
    return [r for r in writer.readers() if r.pid == pid and r.transaction >= 0]


def test_a_reader_is_described_in_one_line_whatever_its_command_line_holds() -> None:
    line = describe_pin(streamlsh.ReaderInfo(7, "here", "python -c 'a\nb\x1b[2J'", 3, 61.0))
    assert line == ("outdated for 61 s, kept open by PID 7 on host here (python -c 'a?b?[2J')")


def test_the_newest_state_is_not_outdated_and_an_older_one_is(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1e9
    monkeypatch.setattr(time, "time", lambda: now)
    with streamlsh.writer(path) as writer, streamlsh.open(path) as reader:
        commit(writer)
        assert pinned_by(writer, os.getpid()) == []
        with reader.snapshot():
            (pinning,) = pinned_by(writer, os.getpid())
            assert pinning.host == os.uname().nodename
            assert pinning.command
            now += 1000.0
            assert pinned_by(writer, os.getpid())[0].outdated_seconds == 0.0
            commit(writer, 3)
            now += 500.0
            commit(writer)
            (pinning,) = pinned_by(writer, os.getpid())
            assert pinning.outdated_seconds == 500.0
            with reader.snapshot():
                assert oldest_snapshot(writer.readers()) == pinning
        assert oldest_snapshot(writer.readers()) is None


def test_info_names_the_oldest_snapshot_but_not_its_own(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with streamlsh.writer(path) as writer, streamlsh.open(path) as reader:
        assert reader.info()["oldest_snapshot"] is None
        assert main(["info", str(path)]) == 0
        assert "oldest snapshot: none is open" in capsys.readouterr().out
        with reader.snapshot():
            # The same commit is pinned twice now, by the snapshot and by the call.
            assert reader.info()["oldest_snapshot"]["pid"] == os.getpid()
            commit(writer)
            facts = reader.info()
            assert facts["oldest_snapshot"] in facts["readers"]
            assert set(facts["oldest_snapshot"]) == {
                "pid", "host", "command", "transaction", "outdated_seconds",
            }  # fmt: skip
            assert main(["info", str(path)]) == 0
            said = capsys.readouterr().out
            assert f"kept open by PID {os.getpid()} on host {os.uname().nodename} (" in said
            assert "oldest snapshot: outdated for 0 s" in said


def test_a_killed_process_is_named_until_its_slot_is_recovered(path: Path) -> None:
    with streamlsh.writer(path) as writer:
        commit(writer)
        pinning = start("pinning", path)
        assert pinning.stdout is not None
        assert pinning.stdout.readline() == "pinned\n"
        (row,) = pinned_by(writer, pinning.pid)
        assert "tests.integration.pinning" in row.command
        assert row.outdated_seconds == 0.0
        commit(writer)
        (row,) = pinned_by(writer, pinning.pid)
        assert row.outdated_seconds is not None
        assert row.outdated_seconds > 0.0
        os.kill(pinning.pid, signal.SIGKILL)
        pinning.communicate(timeout=60)
        # Nobody holds its presence any more, but its slot still keeps pages.
        assert [r.command for r in pinned_by(writer, pinning.pid)] == [""]
        commit(writer, READER_CHECK_COMMITS)
        assert pinned_by(writer, pinning.pid) == []


def test_a_reader_without_a_presence_is_known_by_its_pid(path: Path) -> None:
    with streamlsh.open(path) as reader, reader.snapshot():
        for file in (path / FOLDER).iterdir():
            file.unlink()
        oldest = reader.info()["oldest_snapshot"]
        assert (oldest["pid"], oldest["host"], oldest["command"]) == (os.getpid(), "", "")


@pytest.mark.parametrize("pause", [0.004, 1.0, 3600.0])
def test_ages_are_right_within_a_third_whatever_their_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pause: float
) -> None:
    now, moments = 1e9, {}
    monkeypatch.setattr(time, "time", lambda: now)
    with lmdb.open(str(tmp_path), max_dbs=1, sync=False) as handle:
        meta = handle.open_db(b"meta")
        for _ in range(1500):
            with handle.begin(write=True) as transaction:
                note_time(transaction, meta)
                moments[transaction.id()] = now
            now += pause
        with handle.begin() as transaction:
            newest = transaction.id()
            assert newest == max(moments)
            assert len(transaction.get(b"times", db=meta) or b"") <= 16 * MOST
            for pinned in range(min(moments), newest):
                age = now - moments[pinned + 1]
                told = outdated_seconds(transaction, meta, pinned, now)
                assert told is not None
                assert age * 2 / 3 - 0.5 <= told <= age
            assert outdated_seconds(transaction, meta, newest, now) == 0.0


def test_a_clock_that_is_set_back_makes_ages_too_small_but_never_negative(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1e9
    monkeypatch.setattr(time, "time", lambda: now)
    with lmdb.open(str(tmp_path), max_dbs=1, sync=False) as handle:
        meta = handle.open_db(b"meta")
        for step in (0.0, 100.0, -5000.0, 10.0):
            now += step
            with handle.begin(write=True) as transaction:
                note_time(transaction, meta)
        with handle.begin() as transaction:
            newest = transaction.id()
            ages = [
                outdated_seconds(transaction, meta, newest - back, now + 7) for back in range(4)
            ]
            assert ages == [0.0, 7.0, 17.0, 17.0]
            assert outdated_seconds(transaction, meta, newest - 1, now - 60) == 0.0


def test_an_index_without_times_says_that_it_does_not_know(tmp_path: Path) -> None:
    with lmdb.open(str(tmp_path), max_dbs=1, sync=False) as handle:
        meta = handle.open_db(b"meta")
        with handle.begin(write=True) as transaction:
            transaction.put(b"a", b"b", db=meta)
        with handle.begin() as transaction:
            assert outdated_seconds(transaction, meta, transaction.id() - 1, 1e9) is None
