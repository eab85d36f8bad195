"""Fills a disk: ``unshare --mount --map-root-user python -m tests.faults.filling_disk ...``.

The disk is a small file system in memory, mounted at a folder in a namespace that ends with this
process. ``writer FOLDER`` keeps one writer open; ``consumer FOLDER TOPIC SERVERS`` starts one
consumer after the other, of a topic that holds the rows below.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import streamlsh
from streamlsh.errors import DiskFullError
from streamlsh_kafka.testing import ConsumerProcess
from tests.integration.kafka.topics import last_line

DIM = 256
ITEMS = 3_500
SMALL, LARGE = "3m", "64m"
ROWS = np.random.default_rng(5).standard_normal((ITEMS, DIM)).astype(np.float32)
NAMES = [f"{row:05d}" for row in range(ITEMS)]


def mount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)


def make_index(path: Path) -> Path:
    streamlsh.create(path, dim=DIM, family="hyperplane", bits=4, tables=2)
    return path


def check(reader: streamlsh.Reader, items: int) -> None:
    """The index holds the first rows, soundly."""
    assert [item.id for item in reader.items()] == NAMES[:items]
    assert reader.exact(ROWS[0], 1).ids == [NAMES[0]]
    reader.verify()


def stored(index: Path, topic: str) -> int:
    """How far the index has come."""
    with streamlsh.open(index) as reader:
        offset = reader.positions[topic, 0].offset
        check(reader, offset)
    return offset


def start_consumers(folder: Path, topic: str, servers: str) -> None:
    index = make_index(folder / "index")
    where = [str(index), "--topic", topic, "--bootstrap-servers", servers]
    where += ["--until-end", "--batch-records", "100"]
    with ConsumerProcess(*where) as consumer:
        assert "the last commit stands. Free disk space" in last_line(consumer)
    before = stored(index, topic)
    assert 0 < before < ITEMS
    with ConsumerProcess(*where) as consumer:  # whoever supervises it starts it again
        assert "Free disk space" in last_line(consumer)
    assert before <= stored(index, topic) < ITEMS
    mount(folder, f"remount,size={LARGE}")
    with ConsumerProcess(*where) as consumer:
        assert consumer.wait() == 0, consumer.lines
    assert stored(index, topic) == ITEMS


def keep_a_writer(folder: Path) -> None:
    index = make_index(folder / "index")
    with streamlsh.writer(index) as writer, streamlsh.open(index) as reader:
        writer.upsert(NAMES[:100], ROWS[:100])
        writer.commit()
        writer.upsert(NAMES[100:], ROWS[100:])
        for _ in range(3):
            with pytest.raises(DiskFullError, match="last commit stands"):
                writer.commit()
            check(reader, 100)
        mount(folder, f"remount,size={LARGE}")
        assert writer.commit().inserted == ITEMS - 100
        check(reader, ITEMS)


def main(what: str, folder: str, *arguments: str) -> None:
    """Mount the disk, and play one of both."""
    mount(Path(folder), f"size={SMALL}")
    if what == "consumer":
        start_consumers(Path(folder), *arguments)
    else:
        keep_a_writer(Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
    print("held")
