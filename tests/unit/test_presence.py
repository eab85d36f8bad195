"""Who has an index open: the lock on a file tells, never its name or content."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import streamlsh
from streamlsh.errors import LockConflictError
from streamlsh.storage.presence import FOLDER, RECORD_BYTES, announce, living

HOLDER = """
import sys
from pathlib import Path
from streamlsh.storage.presence import announce
presence = announce(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def names(path: Path) -> list[str]:
    return sorted(file.name for file in (path / FOLDER).iterdir())


def test_a_process_is_listed_while_it_has_the_index_open(tmp_path: Path) -> None:
    path = tmp_path / "index"
    streamlsh.create(path, dim=4)
    assert names(path) == []
    with streamlsh.open(path), streamlsh.open(path):
        (process,) = living(path)
        assert process.pid == os.getpid()
        assert process.namespace == Path("/proc/self/ns/pid").stat().st_ino
        assert process.host == os.uname().nodename
        assert process.command
        assert process.started > 0
    assert names(path) == []


def test_a_file_whose_process_is_dead_is_removed_whatever_pid_it_names(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as holder:  # fmt: skip
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert [process.pid for process in living(tmp_path)] == [holder.pid]
        holder.kill()
        holder.wait(timeout=60)
    folder = tmp_path / FOLDER
    (folder / "1-1").touch()  # of a living PID, but nobody holds it
    (folder / f"{os.getpid()}-1").write_text("{}")
    (folder / "notes").touch()
    assert living(tmp_path) == []
    presence = announce(tmp_path)
    assert presence is not None
    assert [process.pid for process in living(tmp_path)] == [os.getpid()]
    assert len(names(tmp_path)) == 2
    presence.withdraw()
    assert names(tmp_path) == ["notes"]


def test_an_equal_pid_of_another_namespace_is_refused_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = announce(tmp_path)
    assert other is not None
    before = names(tmp_path)
    monkeypatch.setattr("streamlsh.storage.presence._namespace", lambda: 5)
    monkeypatch.setattr("streamlsh.storage.presence.PAUSE", 0.0)
    with pytest.raises(LockConflictError, match="same PID"):
        announce(tmp_path)
    assert names(tmp_path) == before
    other.withdraw()
    again = announce(tmp_path)
    assert again is not None
    again.withdraw()


def test_a_child_does_not_keep_its_parents_presence(tmp_path: Path) -> None:
    """Nor does it take the parent's file away when it ends."""
    path = tmp_path / "index"
    streamlsh.create(path, dim=4)
    with streamlsh.open(path) as reader:
        pid = os.fork()
        if pid == 0:
            before = [process.pid for process in living(path)]
            len(reader)
            after = [process.pid for process in living(path)]
            reader.close()
            left = [process.pid for process in living(path)]
            mother = os.getppid()
            sound = before == left == [mother] and after == sorted([mother, os.getpid()])
            os._exit(0 if sound else 1)
        assert os.waitpid(pid, 0)[1] == 0
        assert [process.pid for process in living(path)] == [os.getpid()]


def test_a_presence_ends_with_its_process_although_a_forked_child_lives_on(tmp_path: Path) -> None:
    path = tmp_path / "index"
    streamlsh.create(path, dim=4)
    script = """
import os, sys, streamlsh
reader = streamlsh.open(sys.argv[1])
if os.fork():
    os._exit(0)
print("child", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", script, path],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as parent:  # fmt: skip
        assert parent.stdout is not None
        assert parent.stdout.readline() == "child\n"
        parent.wait(timeout=60)
        assert living(path) == []


def test_an_index_opens_where_no_presence_can_be_left(tmp_path: Path) -> None:
    path = tmp_path / "index"
    streamlsh.create(path, dim=4)
    (path / FOLDER).rmdir()
    (path / FOLDER).touch()  # root may write anywhere, so permissions would not do
    with streamlsh.open(path) as reader:
        assert len(reader) == 0
    assert living(path) == []


def test_a_damaged_presence_counts_by_its_name(tmp_path: Path) -> None:
    presence = announce(tmp_path)
    assert presence is not None
    (file,) = (tmp_path / FOLDER).iterdir()
    for content in (b"", b"[]", b'{"host": 1}', b"\xff" * (2 * RECORD_BYTES)):
        file.write_bytes(content)
        (process,) = living(tmp_path)
        assert (process.pid, process.host, process.command) == (os.getpid(), "", "")
    presence.withdraw()
