"""Three runbooks, played by us and by peers on the same data in the same run."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from tests.bench.bars import Bars
from tests.bench.dataset import Dataset
from tests.bench.figures import Figure, Spread, Target, within
from tests.bench.peers.base import F32
from tests.bench.tables import Plot, Table, number
from tests.churn.changing import BUILT, FRESHLY, GRAPH, OURS, PEERS, REBUILT, RETUNED
from tests.churn.playing import RECALL, Played, Task, play_apart, prepare
from tests.churn.plots import cost_plot, recall_plot
from tests.churn.runbook import Runbook, read_runbook
from tests.churn.scale import Scale

GROUP = "runbooks"
MEANING = f"""\
The steps are files in the form of the streaming track of big-ann-benchmarks, in
`tests/churn/runbooks`. Everybody plays them on the same data, one after the other, with one thread
and in a process of its own. At a search step 500 held-out queries are asked one by one, three
times; recall@10 is against the exact neighbours of what is live then, and who ties with the tenth
counts. At the first search each peer gets the smallest setting that reaches recall {RECALL} on 500
other queries; we calibrate with them. Then everything is left as it is. Our updates are durable
commits of 1,000; the peers' are in memory alone, and are lost with the process. hnswlib marks
items deleted and gives their places to new ones, faiss's inverted file removes by a hash table,
usearch adds and removes. Peak memory is what was resident at most, beyond that before the first
step: for us it counts the pages of the file that are mapped, which the system may take back.
Private memory is the growth at the end without them. The file of a peer is what it saves at the
end. "A fresh build" holds the same items in an index made for that search alone, with the family
and the calibration of the index that lived through the steps: it shows that a life of updates has
left nothing behind. Where the data itself changes (the clusters that come and go), a family and a
calibration of the first items fit less and less. So there are two more: "calibrated again" is one
index under updates that is calibrated before each search, as `streamlsh calibrate` does at any
time; "built anew" is made for that search alone, with a sample of what is live then for its family
and its own calibration. These two are tuned to the same recall at every step, so what to look at is
first whether they reach it, and then what each pays for it."""

FOLDER = Path(__file__).parent / "runbooks"
QUERIES = 500
MOST_RECALL_LOST = 0.005
BY_CLUSTER = "-by-cluster"
CLUSTERS, ROUNDS, SEED = 24, 10, 8
DIVISORS = (1, 2, 5, 10, 20, 50)


def measure(
    dataset: Dataset, scale: Scale, folder: Path, bars: Bars
) -> tuple[list[Figure], list[Table], list[Plot]]:
    """Run them all; what the page shows."""
    figures: list[Figure] = []
    tables: list[Table] = []
    plots: list[Plot] = []
    for file in sorted(FOLDER.glob("*.yaml")):
        runbook = fitting_runbook(read_runbook(file), len(dataset), scale.shrunk)
        bars.say(f"  {file.stem}: {runbook.rows:,} rows, {runbook.most_points:,} live at most")
        played = play_all(dataset, runbook, folder / file.stem, tuple(PEERS), bars)
        figures += figures_of(file.stem, played)
        tables += [_table(file.stem, runbook, played), _recall_table(file.stem, played)]
        plots += [recall_plot(GROUP, file.stem, played), cost_plot(GROUP, file.stem, played)]
    return figures, tables, plots


def fitting_runbook(runbook: Runbook, rows: int, least: int) -> Runbook:
    """The runbook, or a smaller one of the same steps where the data set has too few rows.

    Raises:
        ValueError: the data set is too small for any.
    """
    for by in DIVISORS:
        if by >= least and runbook.rows <= by * rows:
            return runbook.shrunk(by)
    raise ValueError(f"expected {runbook.rows // DIVISORS[-1]} rows or more, received {rows}")


def play_all(
    dataset: Dataset, runbook: Runbook, folder: Path, titles: Sequence[str], bars: Bars
) -> list[Played]:
    """Let peers play one runbook, each in a process of its own."""
    vectors = dataset.items[: runbook.rows]
    if runbook.dataset.endswith(BY_CLUSTER):
        vectors = vectors[cluster_order(vectors)]
    folder.mkdir()
    task = Task(runbook, folder)
    prepare(task, vectors, dataset.choosing[:QUERIES], dataset.scored[:QUERIES])
    played = []
    for title in titles:
        bars.say(f"    {title}")
        with bars.bar(title, len(runbook.steps)) as advance:
            played.append(play_apart(task, title, lambda: advance(1)))
    shutil.rmtree(folder)
    return played


def cluster_order(vectors: F32) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Rows in order of their clusters, which are found by k-means from a seeded start."""
    rng = np.random.default_rng(SEED)
    centres = vectors[rng.permutation(len(vectors))[:CLUSTERS]]
    for _ in range(ROUNDS):
        nearest = np.argmax(vectors @ centres.T, axis=1)
        sums = np.stack([vectors[nearest == one].sum(axis=0) for one in range(len(centres))])
        centres = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-9)
    return np.argsort(np.argmax(vectors @ centres.T, axis=1), kind="stable")


def figures_of(name: str, played: Sequence[Played]) -> list[Figure]:
    """What is held against a floor, and ourselves beside hnswlib."""
    by_title = {one.title: one for one in played}
    ours, fresh = by_title[OURS], by_title[FRESHLY]
    pairs = list(zip(ours.searches, fresh.searches, strict=True))
    apart = [abs(one.recall - other.recall) for one, other in pairs]
    unequal = [f"step {one.step}" for one, other in pairs if one.digest != other.digest]
    figures = [
        Figure(GROUP, f"{name}: recall@10 beside a fresh build's, the largest difference", "",
               max(apart), Spread.of(apart), floor=within(MOST_RECALL_LOST, ""),
               note=f"at {len(pairs)} search steps"),
        Figure(GROUP, f"{name}: digests that differ from a fresh build's", f"of {len(pairs)}",
               len(unequal), Spread.of([len(unequal)]),
               floor=Target("ours", "at most", 0, "0"), note=", ".join(unequal)),
    ]  # fmt: skip
    if RETUNED in by_title and REBUILT in by_title:
        figures += _retuned(name, by_title[RETUNED], by_title[REBUILT])
    if GRAPH in by_title:
        figures.append(_beside(f"{name}: queries/s at the search steps", ours, by_title[GRAPH]))
    return figures


def _retuned(name: str, again: Played, anew: Played) -> list[Figure]:
    """What a family of the first items costs later on, where both are tuned to the same recall."""
    ours, theirs = ([one.recall for one in played.searches] for played in (again, anew))
    return [
        Figure(GROUP, f"{name}: recall@10 calibrated again", "", mean_recall(again),
               Spread.of(ours), peer=mean_recall(anew), peer_name=anew.title,
               peer_spread=Spread.of(theirs), note=f"asked for: {RECALL}"),
        _beside(f"{name}: queries/s calibrated again", again, anew),
    ]  # fmt: skip


def _beside(name: str, ours: Played, peer: Played) -> Figure:
    mine, theirs = _rates(ours), _rates(peer)
    ratios = [one / other for one, other in zip(mine, theirs, strict=True)]
    return Figure(
        GROUP, name, "queries/s", float(np.median(mine)),
        Spread.of(mine), peer=float(np.median(theirs)), peer_name=peer.title,
        peer_spread=Spread.of(theirs), ratio=float(np.median(ratios)),
        ratio_spread=Spread.of(ratios),
        note=f"mean recall {mean_recall(ours):.3f}; {peer.title} {mean_recall(peer):.3f}",
    )  # fmt: skip


def mean_recall(one: Played) -> float:
    """Over the search steps, as the streaming track scores."""
    return float(np.mean([search.recall for search in one.searches]))


def _rates(one: Played) -> list[float]:
    return [float(np.median(search.rates)) for search in one.searches]


def _table(name: str, runbook: Runbook, played: Sequence[Played]) -> Table:
    rows = []
    for one in played:
        lives = one.title not in BUILT
        updates = [one.rate(kind) if lives else None for kind in ("insert", "delete", "replace")]
        sizes = [size / 2**20 if lives else None for size in (one.peak, one.private, one.file)]
        rows.append([
            one.title, f"{mean_recall(one):.4f}", f"{min(s.recall for s in one.searches):.4f}",
            number(float(np.median(_rates(one)))), *map(number, updates), *map(number, sizes),
            one.setting + ("" if one.reached else f" (does not reach {RECALL})"),
        ])  # fmt: skip
    columns = (
        name, "mean recall@10", "lowest", "queries/s", "inserts/s", "deletes/s", "replaces/s",
        "peak memory, MiB", "private, MiB", "file, MiB", "setting",
    )  # fmt: skip
    title = (
        f"Runbook {name}: {runbook.dataset}, {runbook.rows:,} rows, {len(runbook.steps)} steps, "
        f"at most {runbook.most_points:,} live"
    )
    return Table(GROUP, title, columns, rows, {"played": [asdict(one) for one in played]})


def _recall_table(name: str, played: Sequence[Played]) -> Table:
    rows = [[one.title, *(f"{search.recall:.4f}" for search in one.searches)] for one in played]
    columns = [f"step {one.step} ({one.live:,} live)" for one in played[0].searches]
    return Table(GROUP, f"Runbook {name}: recall@10 at each search", ("", *columns), rows)
