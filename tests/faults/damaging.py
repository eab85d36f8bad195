"""Damage an index file and see what becomes of it: ``python -m tests.faults.damaging PATH``.

Builds an index and prints its regions. Then reads trials, one a line: a JSON list of what it is
about, a place of the file, bytes to be put there, and the length that the file is cut to, if it
is. Each is tried on copies, in forked processes of their own: one reads the index in every way
there is, one writes to it. A line comes back that repeats the trial and says how these ended.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import streamlsh
from streamlsh.errors import StreamLSHError
from streamlsh.storage.pages import BIG, Pages, overflow_pages
from streamlsh.storage.schema import DATA
from streamlsh.storage.walking import Walk
from tests.integration.processes import shrink_parts

DIM = 16
ITEMS = 1500
PATIENCE = 60.0
"""Seconds after which a trial is said to hang."""

Piece = tuple[int, int]
"""First byte of the file and how many."""


def rows_of(seed: int, count: int) -> Any:
    return np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)


def build(path: Path) -> None:
    """An index in which no database is empty, nor the free list."""
    rows = rows_of(0, ITEMS)
    streamlsh.create(
        path, dim=DIM, family="voronoi", cells=24, sample=rows_of(1, 400), map_size=64 << 20
    )
    ids = [f"item-{row}" for row in range(ITEMS)]
    tags = [["even" if row % 2 == 0 else "odd", f"t{row % 40}"] for row in range(ITEMS)]
    with streamlsh.writer(path) as writer:
        for start in range(0, ITEMS, 500):
            part = slice(start, start + 500)
            writer.upsert(
                ids[part], rows[part], versions=[5] * 500, tags=tags[part],
                attributes=[{"n": row} for row in range(start, start + 500)],
            )  # fmt: skip
            writer.commit([streamlsh.Position("topic", 0, start), streamlsh.Position("t", 1, 9)])
        writer.begin_sweep()
        writer.delete(ids[::7], versions=[6] * len(ids[::7]))
        writer.commit()
        writer.upsert(ids[100:170], -rows[100:170], tags=tags[100:170])
        writer.commit([streamlsh.Position("topic", 0, ITEMS)])


def regions(path: Path) -> dict[str, list[Piece]]:
    """Where in the file what is: trees and values of each database, meta pages, free list.

    Page numbers are those that say where the values are.
    """
    pages = Pages(path / DATA)
    found: dict[str, list[Piece]] = {"meta page 0": [(0, 168)], "meta page 1": [(4096, 168)]}
    meta = max(pages.meta(0), pages.meta(1), key=lambda meta: meta.transaction)
    walk = Walk(pages, meta, deep=True)
    trees = {"main": meta.main, "free list": meta.free, **walk.databases()}
    for name, tree in trees.items():
        waiting, level = [tree.root] * (tree.depth > 0), 1
        held, values, numbers = [], [], []
        while waiting:
            kind = 2 if level == tree.depth else 1
            below = []
            for number in waiting:
                nodes = pages.nodes(number, kind, name)
                held.append((number * 4096, 4096))
                if kind == 1:
                    below += nodes.numbers.tolist()
                    continue
                for place in np.flatnonzero(nodes.flags == BIG).tolist():
                    start = int(nodes.values[place])
                    first = int.from_bytes(nodes.raw[start : start + 8], "little")
                    count = int(overflow_pages(nodes.numbers[place]))
                    values.append((first * 4096, count * 4096))
                    numbers.append((number * 4096 + start, 8))
            waiting, level = below, level + 1
        assert held, f"{name} is empty"
        found[f"{name}: tree"] = held
        if values:
            found[f"{name}: values"] = values
            found[f"{name}: page numbers"] = numbers
    return found


def readings(reader: streamlsh.Reader) -> dict[str, Callable[[], Any]]:
    """Everything that can be asked, each with an answer that can be compared."""
    queries = rows_of(2, 6)

    def hits(found: streamlsh.Hits) -> Any:
        return found.ids, np.asarray(found.scores).tolist()

    return {
        "tables": lambda: hits(reader.search(queries, 10, probes=4)),
        "all tables": lambda: hits(reader.search(queries, 10, probes=24, rerank=500)),
        "one": lambda: [hits(reader.search(query, 5)) for query in queries],
        "exact": lambda: hits(reader.exact(queries, 10)),
        "tags": lambda: hits(reader.search(queries, 10, tags=["odd", ("t3", "t5")])),
        "ids": lambda: hits(reader.search_ids(["item-5", "item-800"], 10, exclude=["item-9"])),
        "get": lambda: [
            (item.id, item.version, item.tags, item.attributes)
            for row in range(0, ITEMS, 50)
            if (item := reader.get(f"item-{row}"))
        ],
        "items": lambda: [
            (item.id, item.vector.tolist(), item.version, item.tags, item.attributes)
            for item in reader.items()
        ],
        "positions": lambda: {key: vars_of(value) for key, value in reader.positions.items()},
        "length": lambda: len(reader),
        "digest": reader.digest,
        "info": lambda: reader.info()["segments"],
    }


def vars_of(position: streamlsh.Position) -> Any:
    return position.offset, position.identity


def look(path: Path, expected: dict[str, Any] | None) -> Any:
    """Read an index in every way; how each ended, or what it answered if nothing is expected."""
    try:
        reader = streamlsh.open(path)
    except StreamLSHError as error:
        return {"open": f"{type(error).__name__}: {error}"}
    with reader:
        ends: dict[str, Any] = {"open": "ok"}
        for name, ask in readings(reader).items():
            try:
                answer = ask()
                if expected is None:
                    ends[name] = answer
                else:
                    ends[name] = "ok" if answer == expected[name] else "another answer"
            except StreamLSHError as error:
                ends[name] = f"{type(error).__name__}: {error}"
        try:
            reader.verify()
            ends["verify"] = "ok"
        except StreamLSHError as error:
            ends["verify"] = f"{type(error).__name__}: {error}"
    return ends


def write(path: Path) -> str:
    """Change a damaged index; how that ended."""
    rows = rows_of(3, 60)
    try:
        with streamlsh.writer(path) as writer:
            for start in (0, 1400):
                writer.upsert([f"item-{start + row}" for row in range(60)], rows)
                writer.commit()
            writer.delete([f"item-{row}" for row in range(0, ITEMS, 3)])
            writer.commit()
        with streamlsh.open(path) as reader:
            reader.verify()
    except StreamLSHError as error:
        return f"{type(error).__name__}: {error}"
    return "ok"


def in_child(work: Callable[[], Any]) -> Any:
    """What a forked process makes of it, or how it died."""
    read, out = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(read)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001 - that is what is to be found
                import traceback

                where = traceback.extract_tb(error.__traceback__)[-1]
                result = (
                    f"UNTYPED {type(error).__name__}: {error} at {where.filename}:{where.lineno}"
                )
            os.write(out, json.dumps(result).encode())
        finally:
            os._exit(0)
    os.close(out)
    data = b""
    try:
        while True:
            ready, _, _ = select.select([read], [], [], PATIENCE)
            if not ready:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return "HANGS"
            part = os.read(read, 1 << 16)
            if not part:
                break
            data += part
    finally:
        os.close(read)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return f"DIED of {signal.Signals(os.WTERMSIG(status)).name}"
    return json.loads(data)


def main(path: Path) -> None:
    damaged = path.with_name("damaged")
    build(path)
    expected = look(path, None)
    assert expected["verify"] == "ok"
    assert in_child(lambda: write(copy_of(path, damaged))) == "ok"
    pristine = (path / DATA).read_bytes()
    print(json.dumps(regions(path)), flush=True)
    for line in sys.stdin:
        what, place, value, length = json.loads(line)
        content = bytearray(pristine)
        changed = bytes.fromhex(value)
        content[place : place + len(changed)] = changed
        outcomes = []
        for use in (lambda: look(damaged, expected), lambda: write(damaged)):
            shutil.rmtree(damaged, ignore_errors=True)
            damaged.mkdir()
            (damaged / DATA).write_bytes(content if length is None else content[:length])
            outcomes.append(in_child(use))
        print(json.dumps([what, place, value, length, *outcomes]), flush=True)


def copy_of(path: Path, place: Path) -> Path:
    place.mkdir()
    shutil.copy(path / DATA, place)
    return place


if __name__ == "__main__":
    shrink_parts()
    main(Path(sys.argv[1]))
