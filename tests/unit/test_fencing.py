"""An index has one writer: a second one is refused, and one that was taken over is fenced."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import streamlsh
from streamlsh import Position
from streamlsh.errors import FencedError, StorageError, StreamLSHError, WriterLockedError
from streamlsh.storage.positions import write_positions

VECTOR = np.ones((1, 4), np.float32)
BEFORE = Position("topic", 0, 10, "uuid")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    streamlsh.create(tmp_path / "index", dim=4)
    return tmp_path / "index"


@pytest.fixture
def writer(path: Path) -> Iterator[streamlsh.Writer]:
    writer = streamlsh.writer(path)
    writer.upsert(["a"], VECTOR)
    writer.commit([BEFORE])
    yield writer
    writer.close()


def test_a_writer_of_another_process_is_refused(path: Path, writer: streamlsh.Writer) -> None:
    script = (
        "import sys, streamlsh, streamlsh.errors\n"
        "try:\n"
        "    streamlsh.writer(sys.argv[1])\n"
        "except streamlsh.errors.WriterLockedError as error:\n"
        "    print(error.holder)\n"
    )
    held = subprocess.run(
        [sys.executable, "-c", script, path],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert held.stdout.startswith(f"pid {os.getpid()} on ")
    assert writer.commit([Position("topic", 0, 11, "uuid")]).commit == 2


def test_a_writer_of_another_process_holds_the_index_until_it_ends(path: Path) -> None:
    script = (
        "import sys, streamlsh\n"
        "writer = streamlsh.writer(sys.argv[1])\n"
        "print('ready', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, path],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as other:  # fmt: skip
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        with pytest.raises(WriterLockedError, match=f"pid {other.pid} on"):
            streamlsh.writer(path)
        other.kill()
        other.wait(timeout=60)
    with streamlsh.writer(path) as writer:
        assert writer.epoch == 2


def test_a_lock_that_cannot_be_opened_is_an_error_that_says_so(path: Path) -> None:
    (path / "writer.lock").mkdir()  # root may write anywhere, so permissions would not do
    with pytest.raises(StorageError, match=r"writer\.lock cannot be opened"):
        streamlsh.writer(path)
    with streamlsh.open(path) as reader:
        assert len(reader) == 0


def test_every_writer_has_a_larger_epoch(path: Path) -> None:
    epochs = []
    for _ in range(3):
        with streamlsh.writer(path) as writer:
            epochs.append(writer.epoch)
    assert epochs == [1, 2, 3]
    with streamlsh.open(path) as reader:
        assert reader.info()["writer_epoch"] == 3
        assert reader.commit == 0


def test_a_writer_that_was_taken_over_is_fenced_and_writes_nothing(
    path: Path, writer: streamlsh.Writer
) -> None:
    (path / "writer.lock").unlink()  # as somebody does who thinks that it is stale
    with streamlsh.writer(path) as other, streamlsh.open(path) as reader:
        writer.upsert(["b"], VECTOR)
        for _ in range(2):
            with pytest.raises(FencedError, match="another writer took") as caught:
                writer.commit([Position("topic", 0, 11, "uuid")])
            assert (caught.value.expected, caught.value.received) == ("epoch 1", "epoch 2")
            assert isinstance(caught.value, StreamLSHError)
        assert writer.staged == 1
        assert (len(reader), reader.commit) == (1, 1)
        assert reader.positions["topic", 0] == BEFORE
        other.upsert(["c"], VECTOR)
        other.commit([Position("topic", 0, 12, "uuid")])
        assert [item.id for item in reader.items()] == ["a", "c"]


@pytest.mark.parametrize(
    "moved",
    [Position("topic", 0, 11, "uuid"), Position("topic", 0, 9, "uuid"),
     Position("topic", 0, 10, "another topic of that name")],
)  # fmt: skip
def test_a_writer_whose_position_was_moved_is_fenced_and_writes_nothing(
    path: Path, writer: streamlsh.Writer, moved: Position
) -> None:
    environment = writer._index.environment
    with environment.write() as transaction:
        write_positions(transaction, environment, [moved])
    writer.upsert(["b"], VECTOR)
    with pytest.raises(FencedError, match="was moved by another writer") as caught:
        writer.commit([Position("topic", 0, 12, "uuid")])
    assert (caught.value.expected, caught.value.received) == (BEFORE, moved)
    with streamlsh.open(path) as reader:
        assert (len(reader), reader.commit) == (1, 1)
        assert reader.positions["topic", 0] == moved


def test_a_position_that_is_forgotten_goes_with_the_sweep_and_not_if_it_was_moved(
    path: Path, writer: streamlsh.Writer
) -> None:
    writer.begin_sweep()
    moved = Position("topic", 0, 12, "uuid")
    environment = writer._index.environment
    with environment.write() as transaction:
        write_positions(transaction, environment, [moved])
    with pytest.raises(FencedError):
        writer.end_sweep(forget="topic")
    assert writer.sweeping
    with environment.write() as transaction:
        write_positions(transaction, environment, [BEFORE])
    writer.commit([Position("other", 0, 3)])
    assert writer.end_sweep(forget="topic") == 1
    assert set(writer.positions) == {("other", 0)}
    with streamlsh.open(path) as reader:
        assert set(reader.positions) == {("other", 0)}
        assert len(reader) == 0


def test_a_position_that_the_batch_does_not_move_fences_nobody(
    path: Path, writer: streamlsh.Writer
) -> None:
    writer.upsert(["b"], VECTOR)
    assert writer.commit([Position("topic", 1, 5, "uuid")]).inserted == 1
    with streamlsh.open(path) as reader:
        assert set(reader.positions) == {("topic", 0), ("topic", 1)}
