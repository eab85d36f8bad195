"""Cold open to first answer, each time in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import streamlsh
from tests.bench.figures import Figure, Spread, within
from tests.bench.loading import VORONOI
from tests.bench.workbench import Workbench

GROUP = "open"
MEANING = """\
A fresh process imports the library and loads the compiled kernels by queries on a tiny index
elsewhere; then the clock runs over `streamlsh.open(path)` and one search. The second row is a
process that does no such thing: from its start, the interpreter's included, to its first answer.
The page cache is warm, the kernels were compiled before and come from numba's cache on disk."""

FEWEST = 5
TINY_ITEMS = 200
ROOT = Path(__file__).parents[2]


def measure(bench: Workbench) -> list[Figure]:
    """Start processes of both kinds in turns."""
    dataset, path = bench.dataset, bench.loaded.path
    tiny = bench.folder / "tiny"
    streamlsh.create(
        tiny, dim=dataset.dim, family=VORONOI, sample=dataset.items[:TINY_ITEMS], cells=8
    )
    with streamlsh.writer(tiny) as writer:
        writer.upsert(dataset.ids[:TINY_ITEMS], dataset.items[:TINY_ITEMS])
    query = bench.folder / "query.npy"
    np.save(query, dataset.scored[0])
    with streamlsh.open(path) as reader:
        expected = reader.search(dataset.scored[0]).ids
    opens: list[float] = []
    searches: list[float] = []
    whole: list[float] = []
    count = max(FEWEST, bench.repeats)
    with bench.bars.bar("cold open", count) as advance:
        for _ in range(count):
            _, answer = _run(expected, path, query, tiny)
            opens.append(answer["open_ms"])
            searches.append(answer["search_ms"])
            started, answer = _run(expected, path, query)
            whole.append(1_000 * (answer["clock"] - started))
            advance(1)
    both = Spread.of([opened + asked for opened, asked in zip(opens, searches, strict=True)])
    open_ms, search_ms = float(np.median(opens)), float(np.median(searches))
    return [
        Figure(
            GROUP,
            f"cold open to first answer, {len(dataset):,} items",
            "ms",
            both.middle,
            both,
            floor=within(100, "ms"),
            goal=within(50, "ms"),
            note=f"open {open_ms:.1f}, search {search_ms:.1f} ms; page cache warm",
            details={"open_ms": open_ms, "search_ms": search_ms, "processes": count},
        ),
        Figure(
            GROUP,
            "the same from the start of the process",
            "ms",
            Spread.of(whole).middle,
            Spread.of(whole),
            floor=within(1_500, "ms"),
            goal=within(1_000, "ms"),
            note="interpreter, imports and kernels included; page cache warm",
            details={"processes": count},
        ),
    ]


def _run(expected: list[str], *arguments: Path) -> tuple[float, dict[str, Any]]:
    """When the process was started, and what it printed."""
    command = [sys.executable, "-m", "tests.bench.opened", *map(str, arguments)]
    started = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        raise RuntimeError(f"the process that opens the index ended with {done.returncode}")
    answer: dict[str, Any] = json.loads(done.stdout)
    if answer["ids"] != expected:
        raise AssertionError(f"expected {expected}, received {answer['ids']}")
    return started, answer
