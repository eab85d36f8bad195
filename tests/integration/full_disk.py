"""A writer on a disk that is full: ``python -m tests.integration.full_disk PATH``.

The limit of a file's size stands in for the disk: what lies above it cannot be written.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import streamlsh
from streamlsh import Position
from streamlsh.errors import DiskFullError, StorageError

DIM = 64
BATCH = 400


def limit(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def batch(number: int) -> tuple[list[str], NDArray[np.float32]]:
    rows = np.random.default_rng(number).standard_normal((BATCH, DIM), dtype=np.float32)
    return [f"{number}-{row}" for row in range(BATCH)], rows


def refused(writer: streamlsh.Writer, number: int) -> bool:
    """Whether a commit fails for want of disk."""
    try:
        writer.commit([Position("t", 0, number + 1)])
    except StorageError as error:
        return isinstance(error, DiskFullError) and "last commit stands" in str(error)
    return False


def main(path: Path) -> None:
    streamlsh.create(path, dim=DIM, family="hyperplane", tables=2)
    with streamlsh.writer(path) as writer, streamlsh.open(path) as reader:
        writer.upsert(*batch(0))
        writer.commit([Position("t", 0, 1)])
        limit((path / "data.mdb").stat().st_size + (1 << 20))
        number = 1
        while True:
            writer.upsert(*batch(number))
            if refused(writer, number):
                break
            number += 1
        assert number > 1, "the limit came before the first commit"
        assert all(refused(writer, number) for _ in range(3)), "the disk is as full as before"
        # The last commit stands, for this writer and for readers, and the batch stays staged.
        assert writer.staged == BATCH
        assert writer.positions["t", 0].offset == number
        assert reader.commit == writer.commit_number == number
        assert len(reader) == number * BATCH
        assert f"{number}-0" not in reader
        reader.verify()
        limit(resource.RLIM_INFINITY)
        assert writer.commit([Position("t", 0, number + 1)]).inserted == BATCH
        assert len(reader) == (number + 1) * BATCH
        assert reader.positions["t", 0].offset == number + 1
        reader.verify()
    with streamlsh.open(path) as reader:
        ids, rows = batch(number)
        assert reader.search(rows[3], 1).ids == [ids[3]]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    print("held")
