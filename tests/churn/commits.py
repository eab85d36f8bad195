"""How long commits take over a long run, and which of them had more to do."""

from __future__ import annotations

import gc
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import streamlsh
from tests.bench.bars import Bars
from tests.bench.dataset import Dataset
from tests.bench.figures import Figure, Spread, within
from tests.bench.tables import Plot, Table, number
from tests.churn.catalogue import Catalogue
from tests.churn.indexes import Shape, fresh_build, new_family, shape_of
from tests.churn.plots import commit_plot
from tests.churn.scale import Scale, fitting

GROUP = "commits"
MEANING = """\
A thousand updates a commit on a full index: 800 items replaced, 100 deleted, 100 inserted. The
clock runs from staging updates that are hashed already (a writer hashes the next batch while one is
committed) until the commit is durable. Python's garbage collector is off meanwhile, since the
program's own lists would be what it walks. The kind of a commit is seen from outside: it merged if
a merge was under way before it or segments are gone after it, and wrote a segment if no more than
one is new. Beside it stands what the disk alone takes: appending as many bytes as a thousand
vectors have to a plain file and making them durable, after every tenth commit."""

UPDATES = 1_000
MOST_TIMES_MEDIAN = 5
SYNC_EVERY = 10
SEED = 6
PLAIN, SEGMENT, MERGED = "plain", "wrote a segment", "merged"


@dataclass(slots=True)
class Times:
    """Milliseconds.

    Attributes:
        commits: in the order they were made.
        kinds: what each had to do.
        hashing: preparing each batch.
        syncs: of the disk alone.
    """

    commits: list[float] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    hashing: list[float] = field(default_factory=list)
    syncs: list[float] = field(default_factory=list)


def measure(
    dataset: Dataset, scale: Scale, folder: Path, bars: Bars
) -> tuple[list[Figure], list[Table], list[Plot]]:
    """Run it; what the page shows."""
    catalogue = Catalogue(dataset.items, SEED)
    items = fitting(scale.items, len(catalogue.pool))
    bars.say(f"  training the family, filling {items:,} items")
    new_family(catalogue.pool, folder / "commits-family")
    catalogue.take(catalogue.insertions(items))
    path = folder / "commits"
    fresh_build(catalogue, folder / "commits-family", path, None)
    bars.say(f"  {scale.commits:,} commits of {UPDATES:,} updates")
    times = _run(catalogue, path, scale.commits, bars)
    return _figures(times, items), [_table(times)], [commit_plot(GROUP, times.commits, times.kinds)]


def _run(catalogue: Catalogue, path: Path, commits: int, bars: Bars) -> Times:
    times = Times()
    with (
        streamlsh.writer(path) as writer,
        streamlsh.open(path) as reader,
        (path.parent / "syncs").open("wb") as plain,
        bars.bar("commits", commits) as advance,
    ):
        gc.collect()
        gc.freeze()
        gc.disable()
        try:
            before = shape_of(reader)
            for turn in range(commits):
                updates = catalogue.updates(catalogue.take(catalogue.mixed(UPDATES)))
                started = time.perf_counter()
                prepared = writer.prepare(updates)
                prepared.wait()
                hashed = time.perf_counter()
                writer.stage(prepared)
                writer.commit()
                ended = time.perf_counter()
                times.hashing.append(1_000 * (hashed - started))
                times.commits.append(1_000 * (ended - hashed))
                after = shape_of(reader)
                times.kinds.append(_kind(before, after))
                before = after
                if turn % SYNC_EVERY == 0:
                    times.syncs.append(_sync(plain.fileno(), 4 * catalogue.pool.shape[1]))
                advance(1)
        finally:
            gc.enable()
            gc.unfreeze()
    return times


def _kind(before: Shape, after: Shape) -> str:
    if before.merges or before.segments - after.segments:
        return MERGED
    return SEGMENT if after.segments - before.segments else PLAIN


def _sync(file: int, row_bytes: int) -> float:
    started = time.perf_counter()
    os.write(file, bytes(UPDATES * row_bytes))
    os.fdatasync(file)
    return 1_000 * (time.perf_counter() - started)


def _figures(times: Times, items: int) -> list[Figure]:
    p50, p90, p99 = np.percentile(times.commits, (50, 90, 99))
    longest = max(times.commits)
    return [
        Figure(GROUP, f"p99 of a commit beside its median, {items:,} items", "x", p99 / p50,
               Spread.of([p99 / p50]), floor=within(MOST_TIMES_MEDIAN, "x"),
               note=f"p50 {p50:.1f}, p90 {p90:.1f}, p99 {p99:.1f}, longest {longest:.1f} ms"),
        Figure(GROUP, f"a commit of {UPDATES:,} updates", "ms", p50, Spread.of(times.commits),
               peer=float(np.median(times.syncs)), peer_name="the disk alone",
               peer_spread=Spread.of(times.syncs),
               note=f"hashing before it: {np.median(times.hashing):.1f} ms by one thread"),
    ]  # fmt: skip


def _table(times: Times) -> Table:
    of_kind = {"every commit": times.commits}
    for kind in (PLAIN, SEGMENT, MERGED):
        of_kind[kind] = [
            ms for ms, one in zip(times.commits, times.kinds, strict=True) if one == kind
        ]
    of_kind["the disk alone"] = times.syncs
    rows = [
        [kind, f"{len(taken):,}", *(number(ms) for ms in np.percentile(taken, (50, 90, 99, 100)))]
        for kind, taken in of_kind.items()
        if taken
    ]
    columns = ("", "commits", "p50, ms", "p90", "p99", "longest")
    data = {"commits": times.commits, "kinds": times.kinds, "syncs": times.syncs}
    return Table(GROUP, f"Time of a commit of {UPDATES:,} updates", columns, rows, data)
