"""The real store on a file system in memory, with a seam around its write transactions."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, cast

import lmdb

import streamlsh
from streamlsh.errors import DiskFullError, MapFullError
from streamlsh.storage.environment import Environment
from tests.simulation.workload import DIM

_MEMORY = Path("/dev/shm")
MARKERS_KEPT = 1e9
"""Seconds. No run lasts so long, and no clock jumps so far: deletes are never forgotten."""


class WritingProcess(Protocol):
    """The process that a writer belongs to."""

    def step(self, seam: str) -> None:
        """The consumer calls out; here it may die."""

    def storage_fails(self) -> str:
        """Why the storage refuses this transaction, or nothing."""

    def writes(self, *, begun: bool) -> None:
        """A write transaction begins, or has ended."""

    def begins_sweep(self) -> None:
        """The next transaction begins a sweep."""

    def durable(self) -> None:
        """A write transaction is durable."""


class Store:
    """A folder of indexes, all begun as copies of an empty one."""

    def __init__(self) -> None:
        folder = _MEMORY if _MEMORY.is_dir() else None
        self._folder = Path(tempfile.mkdtemp(prefix="streamlsh-simulation-", dir=folder))
        self._empty = self._folder / "empty"
        streamlsh.create(
            self._empty, dim=DIM, family="hyperplane", bits=2, tables=2, map_size=1 << 26,
            delete_retention=MARKERS_KEPT,
        )  # fmt: skip

    def new(self) -> Path:
        """An empty index; the one before it is removed."""
        path = self._folder / "index"
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
        for name in ("data.mdb", "lock.mdb"):
            shutil.copyfile(self._empty / name, path / name)
        return path

    def close(self) -> None:
        """Remove everything."""
        shutil.rmtree(self._folder, ignore_errors=True)


class WatchedEnvironment:
    """An index's environment whose write transactions the simulation sees, and may break."""

    def __init__(self, environment: Environment, process: WritingProcess) -> None:
        self._environment = environment
        self._process = process

    def __getattr__(self, name: str) -> Any:
        return getattr(self._environment, name)

    @contextmanager
    def write(self) -> Iterator[lmdb.Transaction]:
        """A write transaction; see `Environment.write`."""
        process = self._process
        process.step("begin commit")
        process.writes(begun=True)
        try:
            with self._environment.write() as transaction:
                yield transaction
                process.step("end commit")
                reason = process.storage_fails()
                if reason:
                    raise (MapFullError if reason == "map" else DiskFullError)("no room, as told")
        finally:
            process.writes(begun=False)
        process.durable()
        process.step("after commit")


def open_writer(path: Path, process: WritingProcess) -> streamlsh.Writer:
    """A writer whose commits the process sees."""
    writer = streamlsh.writer(path)
    watched = cast("Environment", WatchedEnvironment(writer._index.environment, process))
    writer._index = replace(writer._index, environment=watched)
    begin_sweep = writer.begin_sweep

    def say_and_begin() -> None:
        process.begins_sweep()
        begin_sweep()

    writer.begin_sweep = say_and_begin  # type: ignore[method-assign]
    return writer
