"""LSH in Redis, as many shops run it: bucket -> items, item -> buckets, union, re-rank."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import redis

from tests.bench.peers.base import F32, I64, K, Line, MissingPeerError, Peer, Setting
from tests.bench.peers.plain_lsh import Hyperplanes

TABLES = 60
STEP = 1_000
PATIENCE_SECONDS = 20.0
SAVE_SECONDS = 600.0
NOWHERE = "needs the program redis-server (Debian and Ubuntu: apt install redis-server)"


class RedisLsh(Peer):
    """A real server behind a Unix socket; hashing and re-rank happen in the client.

    A set a bucket holds the numbers of its items, a string an item holds its buckets (what a
    later delete or update needs), another its vector. A query unites the sets of its buckets on
    the server, fetches the vectors of what came out, and keeps the nearest. The knob is how many
    of the tables are asked.

    Raises:
        MissingPeerError: there is no ``redis-server``.
    """

    title = "LSH in Redis"
    packages = ("redis",)
    grows = True
    slow = True

    def __init__(self) -> None:
        program = shutil.which("redis-server")
        if program is None:
            raise MissingPeerError(NOWHERE)
        self._folder = tempfile.TemporaryDirectory(prefix="streamlsh-redis-")
        socket = f"{self._folder.name}/socket"
        options = {
            "port": "0", "unixsocket": socket, "save": "", "appendonly": "no",
            "dir": self._folder.name, "logfile": f"{self._folder.name}/log",
        }  # fmt: skip
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        self._process = subprocess.Popen([program, *arguments], stdout=subprocess.DEVNULL)
        # The client gives up on an answer early; a server that saves gigabytes answers late.
        self._client = redis.Redis(unix_socket_path=socket, socket_timeout=SAVE_SECONDS)
        self._wait()
        self._count = 0
        self._empty_bytes = self._used()

    def _wait(self) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                self._client.ping()
                return
            except redis.ConnectionError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.close()
                    raise
                time.sleep(0.02)

    def build(self, items: F32, capacity: int, threads: int) -> None:
        self._hash = Hyperplanes(items, capacity, TABLES)
        self.add(items)

    def add(self, items: F32) -> None:
        for start in range(0, len(items), STEP):
            self._add(items[start : start + STEP])

    def _add(self, items: F32) -> None:
        codes = self._hash.codes(items)
        pipeline = self._client.pipeline(transaction=False)
        strings: dict[str, bytes] = {}
        for number, (item, row) in enumerate(zip(items, codes, strict=True), self._count):
            strings[f"v:{number}"] = item.tobytes()
            strings[f"i:{number}"] = row.astype(np.uint16).tobytes()
        pipeline.mset(strings)
        for table, column in enumerate(codes.T):
            for code in np.unique(column).tolist():
                members = np.flatnonzero(column == code) + self._count
                pipeline.sadd(f"b:{table}:{code}", *members.tolist())
        pipeline.execute()
        self._count += len(items)

    def lines(self) -> Sequence[Line]:
        return [Line(1, TABLES, lambda tables: Setting(f"{tables} tables", (tables,)))]

    def asker(self, setting: Setting) -> Callable[[Any], Any]:
        return partial(self._search, int(setting.values[0]))

    def _search(self, tables: int, query: F32) -> I64:
        codes = self._hash.codes(query[np.newaxis])[0, :tables].tolist()
        keys = [f"b:{table}:{code}" for table, code in enumerate(codes)]
        members: Any = self._client.sunion(keys)
        if not members:
            return np.empty(0, np.int64)
        vectors: Any = self._client.mget([b"v:" + member for member in members])
        rows = np.frombuffer(b"".join(vectors), dtype=np.float32).reshape(-1, len(query))
        numbers = np.array([int(member) for member in members])
        found: I64 = numbers[np.argsort(-(rows @ query))[:K]]
        return found

    def labels(self, answer: Any) -> Iterable[int]:
        found: list[int] = answer.tolist()
        return found

    def save(self, folder: Path) -> bool:
        self._client.save()
        shutil.move(f"{self._folder.name}/dump.rdb", folder)
        return True

    def own_bytes(self) -> int | None:
        return self._used() - self._empty_bytes

    def _used(self) -> int:
        information: Any = self._client.info("memory")
        used: int = information["used_memory"]
        return used

    def close(self) -> None:
        self._client.close()
        self._process.terminate()
        self._process.wait(PATIENCE_SECONDS)
        self._folder.cleanup()
