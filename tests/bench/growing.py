"""How the time of a query grows with the index, ours beside hnswlib's."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

import numpy as np
from threadpoolctl import threadpool_limits

from tests.bench.choosing import Chooser
from tests.bench.figures import Figure, Spread
from tests.bench.outcomes import FIRST
from tests.bench.peers.hnsw import Hnsw, new_graph
from tests.bench.peers.ours import Ours
from tests.bench.plots import growth_plot
from tests.bench.racing import Contestant, race, ratios
from tests.bench.tables import Table, number
from tests.bench.truth import Truth
from tests.bench.workbench import Workbench

GROUP = "growth"
MEANING = """\
The largest set, item by item in random order: an index of its own for each size, with a family
trained on just these items, and one hnswlib graph that grows from size to size. At each size both
are set to recall 0.95 as above and take turns. The exponent is the slope of a straight line
through the logarithms: 1 means twice the items, twice the time."""

SIZES = (10_000, 20_000, 50_000, 100_000)
PASSES_A_REPEAT = 2


def measure(bench: Workbench) -> list[Figure]:
    """Size by size."""
    dataset = max(bench.sets, key=len)
    smaller = [size for size in SIZES if size < len(dataset)]
    sizes = [*(smaller or [len(dataset) // 4, len(dataset) // 2]), len(dataset)]
    graph = Hnsw(new_graph(dataset.dim, len(dataset)))
    pairs = []
    for size in sizes:
        bench.bars.say(f"  {size:,} items")
        part = dataset.head(size)
        ours = Ours(bench.folder / f"growth-{size}")
        ours.build(part.items, size, bench.cores)
        ours.calibrate()
        graph.insert(part.items[graph.graph.get_current_count() :], bench.cores)
        choosing = Truth.of(part.items, part.choosing)
        scored = Truth.of(part.items, part.scored)
        with threadpool_limits(1):
            field = [
                Contestant(peer, setting, FIRST)
                for peer in (ours, graph)
                if (setting := Chooser(peer, choosing).cheapest(FIRST)) is not None
            ]
        passes = PASSES_A_REPEAT * bench.repeats
        with bench.bars.bar("queries", len(field) * (1 + passes)) as advance:
            race(field, scored, passes, advance)
        if len(field) < 2:
            raise AssertionError(f"hnswlib did not reach recall {FIRST} of {size:,} items")
        pairs.append((field[0], field[1]))
        ours.close()
        if size < len(dataset):
            shutil.rmtree(ours.path)
    bench.keep(dataset, bench.folder / f"growth-{len(dataset)}", graph)
    return [_result(bench, dataset.name, sizes, pairs)]


def _result(
    bench: Workbench, name: str, sizes: list[int], pairs: list[tuple[Contestant, Contestant]]
) -> Figure:
    ours, peers = zip(*pairs, strict=True)
    mine = [one.spread.middle for one in ours]
    theirs = [one.spread.middle for one in peers]
    exponent, peer_exponent = _slope(sizes, mine), _slope(sizes, theirs)
    lines: dict[str, Sequence[float]] = {ours[0].peer.title: mine, peers[0].peer.title: theirs}
    exponents = {ours[0].peer.title: exponent, peers[0].peer.title: peer_exponent}
    bench.plots.append(growth_plot(GROUP, sizes, lines, exponents))
    rows = [
        [
            f"{size:,}", number(one.spread.middle), one.described,
            number(peer.spread.middle), peer.described, f"{ratios(one, peer).middle:.2f}x",
        ]
        for size, one, peer in zip(sizes, ours, peers, strict=True)
    ]  # fmt: skip
    bench.tables.append(
        Table(
            GROUP,
            f"Growth of {name}",
            (
                "items",
                "streamlsh, us",
                "recall, setting",
                "hnswlib, us",
                "recall, setting",
                "ratio",
            ),
            rows,
            {"sizes": sizes, "microseconds": mine, "peer_microseconds": theirs},
        )
    )
    return Figure(
        GROUP, f"exponent of a query's time, {sizes[0]:,} to {sizes[-1]:,} items", "power of n",
        exponent, Spread.of([exponent]),
        peer=peer_exponent, peer_name="hnswlib", peer_spread=Spread.of([peer_exponent]),
    )  # fmt: skip


def _slope(sizes: list[int], microseconds: list[float]) -> float:
    return float(np.polyfit(np.log(sizes), np.log(microseconds), 1)[0])
