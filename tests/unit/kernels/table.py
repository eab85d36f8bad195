"""Hand-built segments and tails, and what a scan of them should find."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from streamlsh.buckets.layout import WORDS, Entries
from streamlsh.kernels.runs import list_runs
from streamlsh.kernels.scan import (
    LIVE_SHIFT,
    PENDING,
    look_through,
    scan_runs,
)
from streamlsh.kernels.select import cut
from tests.unit.kernels import twins
from tests.unit.kernels.memory import I64, U32, Memory, Store, random_entries

BUCKETS = 60
SLOTS = 40_000
PER_CHUNK = 3
F32 = NDArray[np.float32]


@cache
def store() -> Store:
    """Many slots with names; page 2 of the live bitmap was never written."""
    made = Store(np.ones((SLOTS, 1), np.float32), block_shift=10)
    made.live[2 << LIVE_SHIFT :] = False
    made.pages = made.memory.live_pages(made.live, absent={2})
    return made


@cache
def ranks() -> twins.Ranks:
    """How the ids of all slots sort."""
    return twins.ranks_of(store().ids)


class Table:
    """Random entries in segments and a tail, some of them dead, and a query."""

    def __init__(self, segments: list[int], tail: int, kinds: int = 0, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        total = sum(segments) + tail
        slots = rng.choice(SLOTS, total, replace=False).astype(np.uint32)
        self.entries = random_entries(slots, BUCKETS, rng, kinds)
        cuts = np.cumsum([0, *segments]).tolist()
        self.place(
            [self.entries.take(slice(start, stop)) for start, stop in pairwise(cuts)],
            self.entries.take(slice(cuts[-1], None)),
        )
        self.planes = rng.integers(0, 2**64, (4, WORDS), np.uint64)
        self.delta = float(np.float32(0.0173))
        self.bases = rng.standard_normal(BUCKETS).astype(np.float32)
        self.live, self.pages = store().live, store().pages

    def place(self, segments: list[Entries], tail: Entries) -> None:
        self.memory = Memory()
        parts = [*segments, tail] if len(tail) else segments
        self.segments, self.chunks = self.memory.segments(parts, PER_CHUNK)

    def runs(self, buckets: U32, room: int) -> tuple[int, int, I64, F32]:
        runs, bases = np.full((room, 3), -1, np.int64), np.empty(room, np.float32)
        held, entries = list_runs(
            buckets, self.bases[buckets], len(buckets), BUCKETS, self.segments, self.chunks,
            PER_CHUNK, runs, bases,
        )  # fmt: skip
        return held, entries, runs, bases

    def scan(self, buckets: U32, excluded: U32, limit: int) -> tuple[U32, F32, int, int]:
        """The best slots, their scores, how many entries were scored, how many ties dropped."""
        held, scored, runs, run_bases = self.runs(
            buckets, len(buckets) * len(self.segments) + len(self.chunks)
        )
        slots, scores = np.empty(2 * limit, np.uint32), np.empty(2 * limit, np.float32)
        pending, blocks = np.empty(8 * PENDING, np.float32), np.empty(PENDING, np.int64)
        state, threshold = np.zeros(3, np.int64), np.full(1, -np.inf, np.float32)
        where, live = store().where(), self.pages
        scan_runs(
            runs, run_bases, held, self.planes, self.delta, live, excluded, limit, pending,
            blocks, slots, scores, state, threshold, where,
        )  # fmt: skip
        look_through(live, excluded, limit, pending, blocks, slots, scores, state, threshold, where)
        kept, _, dropped = cut(slots, scores, state[0], limit, where)
        return slots[:kept], scores[:kept], scored, int(state[1]) + dropped

    def expected(self, buckets: U32, excluded: U32, limit: int) -> tuple[dict[int, float], int]:
        """The best ``limit`` that may be returned, with their scores, and entries looked at."""
        probed = np.isin(self.entries.buckets, buckets)
        chosen = self.entries.take(
            probed & self.live[self.entries.slots] & ~np.isin(self.entries.slots, excluded)
        )
        scores = twins.entry_scores(
            chosen.bits, chosen.f, chosen.a, self.bases[chosen.buckets], self.planes, self.delta
        )
        best = twins.best_of(scores, ranks()[chosen.slots], limit)
        return dict(zip(chosen.slots[best].tolist(), scores[best].tolist(), strict=True)), int(
            probed.sum()
        )
