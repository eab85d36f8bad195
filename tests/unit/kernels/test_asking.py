"""The whole way of a query in one call, against one kernel after the other."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from streamlsh.buckets.layout import WORDS, Entries
from streamlsh.config import METRICS
from streamlsh.families.base import Family
from streamlsh.families.registry import FAMILIES
from streamlsh.kernels.answer import NOTES, answer_queries
from streamlsh.kernels.asking import SHORT, UNUSUAL, find_hits, probe_buckets
from streamlsh.kernels.axes import probe_axes
from streamlsh.kernels.cell_probes import probe_cells
from streamlsh.kernels.encode import plain_queries
from streamlsh.kernels.floors import probe_floors
from streamlsh.kernels.naming import name_hits
from streamlsh.kernels.probes import probe_signs
from streamlsh.metrics import as_queries
from tests.unit.kernels.memory import I64, NOTHING, Memory, Store, split

F32 = NDArray[np.float32]
ITEMS, DIM, QUERIES = 600, 40, 7
PROBES, RERANK, ENTRIES, EXACT, K = 12, 60, 240, 15, 9
PAIRS = [(name, metric) for name in FAMILIES for metric in FAMILIES[name].metrics]
pairs = pytest.mark.parametrize(("name", "metric"), PAIRS)
SMALL: dict[str, dict[str, object]] = {
    "hyperplane": {"bits": 5, "tables": 4},
    "pstable": {"hashes": 2, "tables": 4},
}
"""Few buckets, so that a query finds enough items in some of them."""
OWN_KERNELS = {
    "voronoi": probe_cells,
    "hyperplane": probe_signs,
    "crosspolytope": probe_axes,
    "pstable": probe_floors,
}


class Index(NamedTuple):
    """Items in buckets of a family, in segments and a tail."""

    family: Family
    store: Store
    memory: Memory
    where: I64


class Found(NamedTuple):
    """What ``find_hits`` writes and returns."""

    size: int
    slots: NDArray[np.uint32]
    scores: F32
    notes: I64
    text: NDArray[np.uint8]

    @staticmethod
    def empty(count: int, room: int) -> Found:
        return Found(
            0, np.full((count, EXACT), 7, np.uint32), np.full((count, EXACT), 7, np.float32),
            np.full((count, 4), 7, np.int64), np.full(room, 7, np.uint8),
        )  # fmt: skip


def normal(rows: int, seed: int) -> F32:
    return np.random.default_rng(seed).standard_normal((rows, DIM), dtype=np.float32)


@cache
def index_of(name: str, metric: str) -> Index:
    rows = normal(ITEMS, 0)
    rows[1::20] = rows[::20]
    kind = FAMILIES[name]
    hashed = as_queries(metric, rows)
    family = kind.fit(DIM, metric, 3, hashed, SMALL.get(name, {}))
    store = Store(rows, block_shift=7)
    encoded = family.encode(hashed)
    copies = encoded.buckets.shape[1]
    entries = Entries(
        encoded.buckets.reshape(-1), encoded.bits.reshape(-1, WORDS), encoded.f.reshape(-1),
        encoded.a.reshape(-1), np.repeat(np.arange(ITEMS, dtype=np.uint32), copies),
    )  # fmt: skip
    memory = Memory()
    *parts, rest = split(entries, np.random.default_rng(1), 2, 300)
    tables = memory.tables(parts, rest, blocks_per_chunk=4)
    where = store.where(METRICS.index(metric), buckets=family.buckets, **tables)
    return Index(family, store, memory, where)


def ask(
    index: Index, vectors: F32, checked: bool = False, wanted: int = 0, room: int = 9_999,
    probes: int = PROBES, last: int = -1,
) -> Found:  # fmt: skip
    count = len(vectors)
    empty = Found.empty(count, room)
    sheet = np.concatenate(
        [part.ravel().view(np.uint8) for part in (empty.notes, empty.slots, empty.text)]
    )
    size = find_hits(
        index.family.frozen, index.where, index.store.pages, NOTHING, vectors.copy(), checked,
        index.family.columns(probes), np.inf, last, 1, RERANK, ENTRIES, wanted, K, empty.scores,
        sheet,
    )  # fmt: skip
    notes, slots, text = np.split(sheet, np.cumsum([empty.notes.nbytes, empty.slots.nbytes]))
    return Found(
        size, slots.view(np.uint32).reshape(count, EXACT), empty.scores,
        notes.view(np.int64).reshape(count, NOTES), text,
    )  # fmt: skip


def step_by_step(index: Index, queries: F32, last: int = -1) -> Found:
    """The same by one kernel after the other, for queries as the metric wants them."""
    found = Found.empty(len(queries), 9_999)
    probed = index.family.probe(queries, PROBES, np.inf)
    if last >= 0:
        probed.buckets[:, 0], probed.bases[:, 0], probed.counts[:] = last, 0, -1
    fewest = answer_queries(
        index.where, index.store.pages, NOTHING, queries, *probed, 1, RERANK, ENTRIES,
        found.slots, found.scores, found.notes,
    )  # fmt: skip
    assert fewest == found.notes[:, 0].min()
    size = name_hits(
        index.where,
        found.slots,
        found.scores,
        found.notes,
        K,
        found.text,
        np.empty(len(queries) * K, np.int64),
    )
    return found._replace(size=size)


def assert_same(found: Found, expected: Found) -> None:
    assert found.size == expected.size
    for ours, theirs in zip(found[1:], expected[1:], strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pairs
def test_the_kind_decides_which_kernel_probes(name: str, metric: str) -> None:
    family = index_of(name, metric).family
    queries = as_queries(metric, normal(QUERIES, 2))
    columns = family.columns(PROBES)

    def empty() -> tuple[NDArray[np.uint64], F32, NDArray[np.uint32], F32, I64]:
        return (
            np.zeros((QUERIES, 4, WORDS), np.uint64), np.zeros(QUERIES, np.float32),
            np.zeros((QUERIES, columns), np.uint32), np.ones((QUERIES, columns), np.float32),
            np.zeros(QUERIES, np.int64),
        )  # fmt: skip

    found, expected = empty(), empty()
    probe_buckets(family.frozen, queries, np.inf, *found)
    OWN_KERNELS[name](family.frozen, queries, np.inf, *expected)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    planes, deltas, buckets, bases, counts = found
    assert planes.any()
    assert (deltas > 0).all()
    assert (counts == columns).all()
    assert all(len(set(row)) == columns for row in buckets.tolist())
    assert name == "voronoi" or not bases.any()


@pairs
def test_one_call_finds_what_one_kernel_after_the_other_does(name: str, metric: str) -> None:
    index = index_of(name, metric)
    vectors = 3 * normal(QUERIES, 2)
    queries = np.empty_like(vectors)
    assert plain_queries(vectors, metric == "cosine", queries)
    expected = step_by_step(index, queries)
    found = ask(index, vectors)
    assert_same(found, expected)
    assert_same(ask(index, queries, checked=True), expected)
    held = found.notes[:, 0]
    assert held.max() == K
    names = [
        index.store.ids[slot]
        for row, count in zip(found.slots, held.tolist(), strict=True)
        for slot in row[:count].tolist()
    ]
    assert found.text[: found.size].tobytes() == b"".join(name + b"\0" for name in names)
    for row in range(QUERIES):
        alone = ask(index, vectors[row : row + 1])
        np.testing.assert_array_equal(alone.notes[0], found.notes[row])
        count = int(alone.notes[0, 0])
        np.testing.assert_array_equal(alone.slots[0, :count], found.slots[row, :count])
        np.testing.assert_array_equal(alone.scores[0, :count], found.scores[row, :count])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e20, 0.0, 1e-20])
def test_a_vector_that_needs_a_closer_look_stops_everything_before_it_begins(
    metric: str, value: float
) -> None:
    index = index_of("voronoi", metric)
    vectors = normal(QUERIES, 2)
    vectors[-1] = value if value in (0, 1e-20) else vectors[-1]
    vectors[-1, 3] = value
    found = ask(index, vectors)
    assert_same(found, Found.empty(QUERIES, 9_999)._replace(size=UNUSUAL))
    assert ask(index, vectors[:-1]).size > 0


@pairs
def test_a_query_that_finds_fewer_than_wanted_is_told_and_nothing_is_named(
    name: str, metric: str
) -> None:
    index = index_of(name, metric)
    vectors = normal(QUERIES, 2)
    fewest = int(ask(index, vectors, probes=1, wanted=0).notes[:, 0].min())
    least = fewest if fewest < K else EXACT
    for wanted, short in ((0, False), (fewest, False), (least + 1, True), (ITEMS, True)):
        found = ask(index, vectors, probes=1, wanted=wanted)
        assert (found.size == SHORT) == short
        if short:
            assert (found.text == 7).all()
            assert found.size < 0


def test_names_beyond_the_room_for_them_are_counted_and_not_written() -> None:
    index = index_of("voronoi", "cosine")
    vectors = normal(QUERIES, 2)
    whole = ask(index, vectors)
    ends = np.flatnonzero(whole.text[: whole.size] == 0) + 1
    for room in (whole.size, whole.size - 1, whole.size // 2, 1, 0):
        found = ask(index, vectors, room=room)
        assert found.size == whole.size
        upto = int(ends[ends <= room].max(initial=0))
        np.testing.assert_array_equal(found.text[:upto], whole.text[:upto])
        assert (found.text[upto:] == 7).all()
        text = np.empty(found.size, np.uint8)
        again = name_hits(
            index.where,
            found.slots,
            found.scores,
            found.notes,
            K,
            text,
            np.empty(QUERIES * K, np.int64),
        )
        assert again == whole.size
        np.testing.assert_array_equal(text, whole.text[: whole.size])


@pytest.mark.parametrize("name", ["hyperplane", "crosspolytope"])
def test_all_buckets_up_to_one_are_looked_into_if_that_is_asked(name: str) -> None:
    index = index_of(name, "cosine")
    queries = as_queries("cosine", normal(QUERIES, 2))
    span = index.family.buckets // index.family.tables
    for last, items in ((span - 1, ITEMS), (0, None)):
        found = ask(index, queries, checked=True, probes=1, last=last)
        assert_same(found, step_by_step(index, queries, last))
        assert items is None or (found.notes[:, 1] == items).all(), "each once: one table"
    assert (found.notes[:, 1] < ITEMS).all()
