"""What a race says: figures against floors, and a table of everybody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from tests.bench.figures import Figure, Spread, Target, times, within
from tests.bench.racing import Contestant, Race, ratios
from tests.bench.tables import Table, number

GROUP = "query"
RECALLS = (0.95, 0.98)
FIRST = RECALLS[0]
SHORTFALL = 0.002
"""Of our recall on the scored queries, within the noise of a thousand of them."""
MOST_OVERHEAD_US = 10

OURS, GRAPH, TREE = "streamlsh", "hnswlib", "ScaNN"
SCAN, EXACT, CROSS = "streamlsh, every sketch", "streamlsh, exact", "streamlsh crosspolytope"


def figures_of(run: Race, cores: int, *, is_largest: bool) -> list[Figure]:
    """The rows of one set."""
    name = f"{run.dataset.name} ({len(run.dataset):,})"
    graph, at = f"against hnswlib, {name}", f"recall {FIRST}"
    rows = [
        _against(run, f"recall {recall} {graph}", (OURS, GRAPH), recall, times(2), times(4))
        for recall in RECALLS
    ]
    if run.find(TREE, FIRST) is not None:
        floor, goal = (None, None) if run.dataset.is_union else (times(1.3), times(2.5))
        rows.append(_against(run, f"{at} against ScaNN, {name}", (OURS, TREE), FIRST, floor, goal))
        rows.append(_batched_tree(run, f"{at} against ScaNN in batches, {name}"))
    floor, goal = (times(4), times(10)) if is_largest else (None, None)
    scan_name = f"{at} against the scan of every sketch, {name}"
    rows.append(_against(run, scan_name, (OURS, SCAN), FIRST, floor, goal))
    if cores > 1:
        batch_name = f"{at}, batches of {len(run.dataset.scored):,} on {cores} cores {graph}"
        rows.append(
            _against(run, batch_name, (OURS, GRAPH), FIRST, times(2), times(4), threads=cores)
        )
        rows.append(_scaling(run, f"{cores} threads against one on batches, {name}", cores))
    if run.find(CROSS, FIRST) is not None:
        cross_name = f"crosspolytope with only a centre, {at} {graph}"
        rows.append(_against(run, cross_name, (CROSS, GRAPH), FIRST, times(0.5), times(1)))
    rows.append(_overhead(run, f"of one query's time, what the interpreter adds, {name}"))
    return [row for row in rows if row is not None]


def speed_table(run: Race, recalls: Sequence[float]) -> Table:
    """Everybody's speed at each recall, the quickest first."""
    titles = list(dict.fromkeys(one.title for one in run.contestants))
    titles += [title for title, _ in run.short if title not in titles]
    by_title = {
        title: {one.target: one for one in run.contestants if one.title == title}
        for title in titles
    }
    titles.sort(key=lambda title: _order(by_title[title]))
    rows = []
    for title in titles:
        cells = [title]
        for recall in recalls:
            cells += _cells(by_title[title], recall, run.short.get((title, recall)))
        rows.append(cells)
    columns = [part for recall in recalls for part in (f"queries/s at {recall}", "recall, setting")]
    data = [
        {
            "title": one.title, "target": one.target, "threads": max(1, one.threads),
            "setting": one.setting.text, "recall": one.recall, "scored": one.scored,
            "microseconds": asdict(one.spread), "passes": len(one.microseconds),
        }
        for one in run.contestants
    ]  # fmt: skip
    return Table(
        GROUP,
        f"Speed: {run.dataset.describe()}",
        ("median (slowest - fastest pass)", *columns),
        rows,
        {"set": run.dataset.name, "contestants": data},
    )


def rate_spread(one: Contestant) -> Spread:
    """Queries a second, of the passes."""
    return Spread.of([1e6 / microseconds for microseconds in one.microseconds])


def _order(mine: dict[float, Contestant]) -> float:
    first = mine.get(FIRST) or mine.get(0.0)
    return first.spread.middle if first else float("inf")


def _cells(mine: dict[float, Contestant], recall: float, short: str | None) -> list[str]:
    one = mine.get(recall) or mine.get(0.0)
    if one is None:
        return ["not reached" if short else "", short or ""]
    rate = rate_spread(one)
    speed = f"{number(rate.middle)} ({number(rate.low)} - {number(rate.high)})"
    return [speed, f"{one.recall:.3f}, {one.setting.text}"]


def _against(
    run: Race,
    name: str,
    titles: tuple[str, str],
    target: float,
    floor: Target | None,
    goal: Target | None,
    *,
    threads: int = 0,
) -> Figure | None:
    ours_title, peer_title = titles
    ours = run.find(ours_title, target, threads)
    peer = run.find(peer_title, target, threads)
    if ours is None:
        return None
    if peer is None:
        note = run.short.get((peer_title, target), "not asked")
        return _figure(name, ours, note=f"{ours.described}; {peer_title}: {note}")
    return _compared(name, ours, peer, floor, goal)


def _compared(
    name: str, ours: Contestant, peer: Contestant, floor: Target | None, goal: Target | None
) -> Figure:
    spread = ratios(ours, peer)
    peers = rate_spread(peer)
    return _figure(
        name,
        ours,
        peer=peers.middle,
        peer_name=peer.title,
        peer_spread=peers,
        ratio=spread.middle,
        ratio_spread=spread,
        floor=floor,
        goal=goal,
        valid=ours.recall >= ours.target - SHORTFALL,
        note=f"{ours.described}; {peer.title} {peer.described}",
    )


def _figure(name: str, ours: Contestant, **more: Any) -> Figure:
    spread = rate_spread(ours)
    details = {"recall": ours.recall, "setting": ours.setting.text}
    return Figure(GROUP, name, "queries/s", spread.middle, spread, details=details, **more)


def _batched_tree(run: Race, name: str) -> Figure | None:
    """ScaNN is quicker in batches; we answer one query a call all the same."""
    ours, peer = run.find(OURS, FIRST), run.find(TREE, FIRST, 1)
    return None if ours is None or peer is None else _compared(name, ours, peer, None, None)


def _scaling(run: Race, name: str, cores: int) -> Figure | None:
    many, one = run.find(OURS, FIRST, cores), run.find(OURS, FIRST, 1)
    if many is None or one is None:
        return None
    return _compared(name, many, one, times(0.9 * cores), None)


def _overhead(run: Race, name: str) -> Figure | None:
    single, batch = run.find(OURS, FIRST), run.find(OURS, FIRST, 1)
    if single is None or batch is None or not run.interpreter:
        return None
    spread = Spread.of(run.interpreter)
    return Figure(
        GROUP, name, "us", spread.middle, spread,
        floor=within(MOST_OVERHEAD_US, "us"),
        note=f"of different queries, one takes {single.spread.middle:.1f} us by one call and "
        f"{batch.spread.middle:.1f} in a batch",
    )  # fmt: skip
