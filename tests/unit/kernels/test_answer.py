"""From probed buckets to neighbours in one call, against doing all of it in NumPy."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from streamlsh.buckets.layout import WORDS, Entries
from streamlsh.kernels import where as places
from streamlsh.kernels.answer import answer_queries
from streamlsh.kernels.encode import query_bytes
from tests.unit.kernels import twins
from tests.unit.kernels.memory import I64, NOTHING, U32, Memory, Store, random_entries, split

TABLES = 3
PER_TABLE = 20
BUCKETS = TABLES * PER_TABLE
ITEMS = 1_500
DIM = 40
QUERIES = 7
F32 = NDArray[np.float32]
METRICS = {
    "cosine": places.COSINE,
    "inner_product": places.INNER_PRODUCT,
    "euclidean": places.EUCLIDEAN,
}
Answer = list[tuple[dict[int, float], list[float], int]]
"""Of each query: the slots with their scores, these in order, and how many entries it saw."""


@dataclass
class Asked:
    """Queries, and what their probing found.

    Attributes:
        vectors: (n, dim).
        planes: (n, 4, words).
        deltas: (n,).
        buckets: (n, p).
        bases: (n, p).
        counts: (n,); -1 for all buckets up to the first one.
    """

    vectors: F32
    planes: NDArray[np.uint64]
    deltas: F32
    buckets: U32
    bases: F32
    counts: I64

    def take(self, chosen: NDArray[np.intp] | slice) -> Asked:
        return Asked(
            self.vectors[chosen], self.planes[chosen], self.deltas[chosen], self.buckets[chosen],
            self.bases[chosen], self.counts[chosen],
        )  # fmt: skip

    def shuffled(self, rng: np.random.Generator) -> Asked:
        """The same probes in another order."""
        mixed = self.take(slice(None))
        mixed.buckets, mixed.bases = self.buckets.copy(), self.bases.copy()
        for buckets, bases, count in zip(mixed.buckets, mixed.bases, self.counts, strict=True):
            order = rng.permutation(count)
            buckets[:count], bases[:count] = buckets[order], bases[order]
        return mixed


class Index:
    """Items with one entry in each table, of a few kinds so that many tie, and some dead."""

    def __init__(self, kinds: int = 0, seed: int = 0) -> None:
        self.rng = rng = np.random.default_rng(seed)
        vectors = rng.standard_normal((ITEMS, DIM), dtype=np.float32)
        vectors *= rng.choice([0.5, 1, 2], (ITEMS, 1)).astype(np.float32)
        vectors[1::50] = vectors[::50]
        self.store = Store(vectors, block_shift=7, emptied=(2, 5))
        self.ranks = twins.ranks_of(self.store.ids)
        slots = np.arange(ITEMS, dtype=np.uint32)
        tables = [random_entries(slots, PER_TABLE, rng, kinds) for _ in range(TABLES)]
        for table, entries in enumerate(tables):
            entries.buckets[:] += np.uint32(table * PER_TABLE)
        # As with sign hashing: an item's sketch is the same in every table.
        for entries in tables[1:2]:
            entries.bits[:], entries.f[:], entries.a[:] = tables[0].bits, tables[0].f, tables[0].a
        self.entries = Entries.joined(tables)
        self.place(2, 500)

    def place(self, segments: int, tail: int) -> None:
        """Put the entries into so many segments and a tail of that size."""
        *parts, rest = split(self.entries, self.rng, segments, tail)
        self.memory = Memory()
        self.tables = self.memory.tables(parts, rest, blocks_per_chunk=4)

    def ask(self, metric: str, probes: int, seed: int = 1) -> Asked:
        """Random queries, the last of them with fewer probes and one with none."""
        rng = np.random.default_rng(seed)
        vectors = rng.standard_normal((QUERIES, DIM), dtype=np.float32)
        if metric == "cosine":
            vectors = np.asarray(twins.unit_rows(vectors), np.float32)
        counts = np.full(QUERIES, probes, np.int64)
        counts[-2:] = (probes + 1) // 2, 0
        bases = np.round(rng.standard_normal((QUERIES, BUCKETS)) * 2).astype(np.float32)
        buckets = np.array([rng.permutation(BUCKETS)[:probes] for _ in range(QUERIES)])
        return Asked(
            vectors,
            rng.integers(0, 2**64, (QUERIES, 4, WORDS), np.uint64),
            rng.uniform(0.001, 0.01, QUERIES).astype(np.float32),
            buckets.astype(np.uint32),
            np.take_along_axis(bases, buckets, axis=1),
            counts,
        )

    def answer(
        self, asked: Asked, metric: str, excluded: U32, copies: int, rerank: int, exact: int,
        most: int = TABLES,
    ) -> Answer:  # fmt: skip
        count = len(asked.vectors)
        slots = np.full((count, exact), 2**32 - 1, np.uint32)
        scores = np.full((count, exact), np.nan, np.float32)
        notes = np.full((count, 4), -1, np.int64)
        fewest = answer_queries(
            self.store.where(METRICS[metric], buckets=BUCKETS, **self.tables), self.store.pages,
            excluded, asked.vectors, asked.planes, asked.deltas, asked.buckets, asked.bases,
            asked.counts, copies, rerank, rerank * most, slots, scores, notes,
        )  # fmt: skip
        found: Answer = []
        assert fewest == notes[:, 0].min()
        assert (notes[:, 3] == np.abs(asked.counts)).all()
        for row, (held, scored, dropped, _) in enumerate(notes.tolist()):
            best = scores[row, :held].tolist()
            assert (slots[row, held:] == 2**32 - 1).all(), "nothing is written past the hits"
            assert dropped >= 0
            found.append((dict(zip(slots[row, :held].tolist(), best, strict=True)), best, scored))
            assert len(found[-1][0]) == held
        return found

    def expected(
        self, asked: Asked, metric: str, excluded: U32, copies: int, rerank: int, exact: int
    ) -> list[tuple[set[int], int]]:
        """The slots that each query should find, and how many entries it should score."""
        result = []
        for q in range(len(asked.vectors)):
            probed = asked.buckets[q, : asked.counts[q]]
            base_of = dict(zip(probed.tolist(), asked.bases[q].tolist(), strict=False))
            if asked.counts[q] < 0:
                probed = np.arange(asked.buckets[q, 0] + 1, dtype=np.uint32)
                base_of = dict.fromkeys(probed.tolist(), float(asked.bases[q, 0]))
            inside = np.isin(self.entries.buckets, probed)
            chosen = self.entries.take(
                inside
                & self.store.live[self.entries.slots]
                & ~np.isin(self.entries.slots, excluded)
            )
            sketches = twins.entry_scores(
                chosen.bits, chosen.f, chosen.a,
                np.array([base_of[b] for b in chosen.buckets.tolist()], np.float32),
                asked.planes[q], float(asked.deltas[q]),
            )  # fmt: skip
            slots = chosen.slots
            if copies == 1:
                best = twins.best_of(sketches, self.ranks[slots], rerank * TABLES)
                slots, sketches = slots[best], sketches[best]
            merged = twins.merged(slots.tolist(), sketches.tolist(), copies)
            slots = np.array(list(merged), np.uint32)
            sketches = np.array(list(merged.values()), np.float32)
            kept = slots[twins.best_of(sketches, self.ranks[slots], rerank)]
            if len(kept) > exact:
                codes = np.empty(2 * self.store.layout.code_width, np.int8)
                step = query_bytes(asked.vectors[q], codes)
                store = self.store
                estimates = twins.code_scores(
                    store.codes[kept], store.step[kept], store.inverse[kept], codes, step, metric
                )
                kept = kept[twins.best_of(estimates, self.ranks[kept], exact)]
            result.append((set(kept.tolist()), int(inside.sum())))
        return result


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("kinds", [0, 4], ids=["all differ", "four kinds"])
@pytest.mark.parametrize("copies", range(1, TABLES + 1))
def test_answers_are_those_of_looking_at_every_entry(metric: str, kinds: int, copies: int) -> None:
    index = Index(kinds)
    excluded = np.sort(index.rng.choice(ITEMS, 40, replace=False)).astype(np.uint32)
    for probes, (rerank, exact) in product(
        (1, 12, BUCKETS), ((1, 1), (60, 15), (15, 60), (5_000, 10))
    ):
        asked = index.ask(metric, probes)
        for barred in (NOTHING, excluded):
            arguments = (asked, metric, barred, copies, rerank, exact)
            found = index.answer(*arguments)
            for row, (slots, scored) in enumerate(index.expected(*arguments)):
                hits, scores, seen = found[row]
                assert set(hits) == slots
                assert seen == scored
                assert scores == sorted(scores, reverse=True)
                truth = twins.exact_scores(
                    index.store.vectors[list(hits)], asked.vectors[row], metric
                )
                np.testing.assert_allclose(scores, truth, atol=2e-4 * (metric != "cosine") + 1e-6)


@pytest.mark.parametrize("last", [0, PER_TABLE - 1, 31, BUCKETS - 1])
@pytest.mark.parametrize("kinds", [0, 4], ids=["all differ", "four kinds"])
def test_all_buckets_up_to_one_can_be_scanned_without_naming_them(last: int, kinds: int) -> None:
    index = Index(kinds)
    whole = index.ask("cosine", 1)
    whole.buckets[:], whole.counts[:] = last, -1
    named = index.ask("cosine", last + 1)
    named.buckets[:], named.bases[:] = np.arange(last + 1), whole.bases
    named.counts[:] = last + 1
    for segments, tail in ((2, 500), (0, 0), (1, 0)):
        index.place(segments, tail)
        for copies in (1, 2):
            arguments = ("cosine", NOTHING, copies, 60, 15)
            found = index.answer(whole, *arguments)
            assert found == index.answer(named, *arguments)
            assert [(set(hits), scored) for hits, _, scored in found] == index.expected(
                whole, *arguments
            )


@pytest.mark.parametrize("copies", [1, 2])
@pytest.mark.parametrize("kinds", [0, 4], ids=["all differ", "four kinds"])
def test_no_layout_of_the_entries_and_no_order_of_the_probes_changes_an_answer(
    kinds: int, copies: int
) -> None:
    index = Index(kinds)
    asked = index.ask("cosine", 25)
    arguments = ("cosine", NOTHING, copies, 50, 12)
    expected = index.answer(asked, *arguments)
    for segments, tail in ((0, 0), (1, 0), (1, 1), (3, 2_000), (6, 3), (2, 3 * ITEMS - 2)):
        index.place(segments, tail)
        assert index.answer(asked, *arguments) == expected
        assert hits_of(index.answer(asked.shuffled(index.rng), *arguments)) == hits_of(expected)


def hits_of(answer: Answer) -> list[dict[int, float]]:
    return [hits for hits, _, _ in answer]


def test_a_query_has_the_same_answer_alone_and_in_any_batch() -> None:
    index = Index(kinds=4)
    asked = index.ask("inner_product", 25)
    arguments = ("inner_product", NOTHING, 1, 50, 12)
    together = index.answer(asked, *arguments)
    for row in range(QUERIES):
        assert index.answer(asked.take(slice(row, row + 1)), *arguments) == [together[row]]
    order = index.rng.permutation(QUERIES)
    assert index.answer(asked.take(order), *arguments) == [together[row] for row in order]


def test_threads_that_ask_at_once_get_the_answers_of_one() -> None:
    index = Index(kinds=4)
    asked = [index.ask("cosine", probes, seed) for seed, probes in enumerate((3, 25, 40) * 8)]
    arguments = ("cosine", NOTHING, 1, 50, 12)
    expected = [index.answer(part, *arguments) for part in asked]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda part: index.answer(part, *arguments), asked))
    assert found == expected


def test_an_index_that_is_empty_or_all_dead_gives_no_hits() -> None:
    index = Index()
    asked = index.ask("cosine", 10)
    index.store.pages = index.memory.live_pages(np.zeros(ITEMS, np.bool_), absent={0})
    for copies in (1, 2):
        for segments, tail in ((2, 100), (0, 0)):
            index.place(segments, tail)
            answer = index.answer(asked, "cosine", NOTHING, copies, 50, 12)
            assert [hits for hits, _, _ in answer] == [{}] * QUERIES
    index.entries = index.entries.take(slice(0, 0))
    index.tables = index.memory.tables([], index.entries, blocks_per_chunk=4)
    answer = index.answer(asked, "cosine", NOTHING, 1, 50, 12)
    assert answer == [({}, [], 0)] * QUERIES


def test_ties_that_are_dropped_are_counted_and_none_where_all_are_kept() -> None:
    index = Index(kinds=1)
    asked = index.ask("cosine", BUCKETS)
    asked.bases[:] = 0
    where = index.store.where(buckets=BUCKETS, **index.tables)
    for rerank, some in ((5, True), (2 * ITEMS, False)):
        slots, scores = np.empty((QUERIES, rerank), np.uint32), np.empty((QUERIES, rerank), "f4")
        notes = np.empty((QUERIES, 4), np.int64)
        answer_queries(
            where, index.store.pages, NOTHING, asked.vectors, asked.planes, asked.deltas,
            asked.buckets, asked.bases, asked.counts, 1, rerank, rerank * TABLES, slots, scores,
            notes,
        )  # fmt: skip
        assert ((notes[:-1, 2] > 0) == some).all()
