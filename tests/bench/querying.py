"""Queries at a stated recall: everybody takes turns over the same held-out vectors."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from threadpoolctl import threadpool_limits

from tests.bench.building import Arena
from tests.bench.choosing import Chooser
from tests.bench.dataset import Dataset
from tests.bench.figures import Figure, Unmeasured
from tests.bench.interpreter import interpreter_us
from tests.bench.outcomes import FIRST, GROUP, OURS, RECALLS, figures_of, speed_table
from tests.bench.peers import OTHERS, QUICK
from tests.bench.peers.base import Peer
from tests.bench.peers.hnsw import Hnsw
from tests.bench.peers.ours import Ours, OursCrosspolytope
from tests.bench.plots import curve_plot
from tests.bench.racing import Contestant, Race, race
from tests.bench.workbench import Workbench

MEANING = """\
Raw vector in, names or numbers of the ten nearest out, one query a call unless "batched" is said;
one thread unless two are said. streamlsh is asked with `recall=R` and nothing else: it calibrates
itself on its own items. Every peer's parameters are swept on a thousand held-out queries (each
knob in steps of a tenth, for each size of its refinement), and the cheapest setting that reaches R
there is what runs; both are then timed and scored on another thousand, and that recall is what is
printed. It may end up a little below R or above. All contestants take turns, pass by pass, each
pass in a new random order; slow ones answer fewer queries a pass. "Of one query's time, what the
interpreter adds" is a call less the kernel within it, the same query again and again. A figure
against a floor counts only if our recall on the scored queries is no more than 0.002 below R.

Building: what was taken in with every core; then the last 2,000 items by one thread, which
streamlsh commits durably and nobody else does. Private memory is what the process holds for
itself: streamlsh maps its file, whose pages all processes share. On disk is what a restart needs.

The peers: hnswlib with M=16 and ef_construction=200; ScaNN with a tree, SOAR, anisotropic hashing
and bfloat16 reordering; faiss with its graph over eight bits, and its inverted files, fast scan
refined by float16; SVS's Vamana graph in float16, and in int8 re-ranked by float32 (its LVQ and
LeanVec refuse processors that are not Intel's); usearch in float16; LSH as in the literature, one
bucket in each of up to 100 tables of random hyperplanes; the same in a real Redis, as many shops
run it: bucket -> items, item -> buckets, union, re-rank; and the exact scan."""

CURVE = (0.80, 0.85, 0.90, 0.93, 0.95, 0.97, 0.98, 0.99)
SLOW_CURVE = (0.80, 0.90, *RECALLS)
PASSES_A_REPEAT = 2


def measure(bench: Workbench) -> list[Figure]:
    """Set by set: build everybody, choose settings, race."""
    figures: list[Figure] = []
    for dataset in bench.sets:
        try:
            figures += _measure(bench, dataset)
        except Exception as error:  # noqa: BLE001 - one set must not cost the others
            traceback.print_exc()
            reason = f"{dataset.name}: {type(error).__name__}"
            bench.unmeasured.append(Unmeasured(GROUP, reason, failed=True))
    return figures


def _measure(bench: Workbench, dataset: Dataset) -> list[Figure]:
    with ExitStack() as stack:
        arena = _assembled(bench, stack, dataset)
        run = _race(bench, arena, dataset)
    bench.tables += [speed_table(run, RECALLS), arena.table(GROUP)]
    if bench.full:
        bench.plots.append(curve_plot(run))
    bench.unmeasured += [
        Unmeasured(GROUP, f"{title} on {dataset.name}: {why}", failed=False)
        for title, why in arena.missing.items()
    ]
    is_largest = dataset is max(bench.sets, key=len)
    return figures_of(run, bench.cores, is_largest=is_largest)


def _assembled(bench: Workbench, stack: ExitStack, dataset: Dataset) -> Arena:
    bench.bars.say(f"  building the contestants of {dataset.describe()}")
    others = tuple(OTHERS) if bench.full else QUICK
    folder = Path(bench.folder)
    arena = Arena(dataset, folder, others, bench.cores)
    ours, graph = bench.contestants(dataset)
    arena.assemble(stack, ours, graph, bench.bars.say)
    if dataset is bench.dataset:
        arena.take(stack, OursCrosspolytope(folder / "crosspolytope"), bench.bars.say)
    return arena


def _race(bench: Workbench, arena: Arena, dataset: Dataset) -> Race:
    run = Race(dataset)
    targets = CURVE if bench.full else RECALLS
    bench.bars.say("  choosing settings")
    with threadpool_limits(1), bench.bars.bar("choosing settings", len(arena.peers)) as advance:
        for peer in arena.peers:
            _enter(run, peer, Chooser(peer, arena.choosing), targets, bench)
            advance(1)
    run.contestants.sort(key=lambda one: (one.target, one.threads))
    passes = PASSES_A_REPEAT * bench.repeats
    bench.bars.say("  queries")
    with bench.bars.bar("queries", len(run.contestants) * (1 + passes)) as advance:
        race(run.contestants, arena.scored, passes, advance)
    ours = run.find(OURS, FIRST)
    if ours is not None and isinstance(ours.peer, Ours):
        run.interpreter = interpreter_us(ours.peer.reader, arena.scored.queries, FIRST)
    return run


def _enter(
    run: Race, peer: Peer, chooser: Chooser, targets: Sequence[float], bench: Workbench
) -> None:
    """Choose a peer's settings and put it on the list, once a recall and way of asking."""
    if peer.fixed is not None:
        run.contestants.append(Contestant(peer, peer.fixed))
        return
    for target in SLOW_CURVE if peer.slow else targets:
        setting = chooser.cheapest(target)
        if setting is None:
            best = chooser.best()
            run.short[peer.title, target] = f"{best.recall:.3f} at most, {best.setting.text}"
            continue
        run.contestants.append(Contestant(peer, setting, target))
        if not peer.batches or target not in RECALLS:
            continue
        compared = isinstance(peer, Hnsw | Ours) and type(peer) is not OursCrosspolytope
        if bench.full or compared or peer.title == "ScaNN":
            run.contestants.append(Contestant(peer, setting, target, 1))
        if bench.cores > 1 and compared and target == FIRST:
            run.contestants.append(Contestant(peer, setting, target, bench.cores))
