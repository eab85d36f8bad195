"""A writer and a reader against a plain dictionary and an exact scan, through any history."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from numpy.typing import NDArray

import streamlsh
from streamlsh import Delete, Position, Upsert
from tests.conftest import FAMILIES
from tests.filtered import carriers, passing
from tests.properties.model import Model, by_utf8, same_item

DIM = 8
IDS = [f"item-{number:02}" for number in range(24)] + ["a", "é", "日本", "x" * 511, " ", "\0"]
POOL = np.random.default_rng(5).standard_normal((40, DIM)).astype(np.float32)
POOL[1] = POOL[0] * 3  # the same direction
POOL[2] = 0
POOL[2, 3] = 1e-9
POOL[3] = POOL[4]
POOL[3, 0] = np.nextafter(POOL[4, 0], np.float32(9))

ids = st.sampled_from(IDS)
vectors = st.integers(0, len(POOL) - 1)
versions = st.none() | st.integers(-2, 12)
TAGS = ["new", "sale", "grün"]
tags = st.just(()) | st.lists(st.sampled_from(TAGS), max_size=4)
alternatives = st.lists(st.sampled_from([*TAGS, "unknown"]), min_size=1, max_size=3)
filters = st.lists(st.sampled_from(TAGS) | alternatives, max_size=3)
attributes = st.none() | st.dictionaries(
    st.sampled_from("abc"), st.none() | st.integers(-9, 9) | st.text(max_size=3), max_size=2
)
upserts = st.builds(
    lambda name, row, version, tags, attributes: Upsert(
        name, POOL[row], version, tuple(tags), attributes
    ),
    ids, vectors, versions, tags, attributes,
)  # fmt: skip
deletes = st.builds(Delete, ids, versions)
queries = st.integers(0, 2**16).map(
    lambda seed: (
        POOL[seed % len(POOL)]
        if seed % 3 == 0
        else np.random.default_rng(seed).standard_normal(DIM).astype(np.float32)
    )
)
excluded = st.lists(ids, max_size=4)
counts = st.sampled_from([1, 2, 3, 5, 10, 40])


def new_index(folder: Path, family: str) -> Path:
    path = folder / family
    if family == "hyperplane":
        streamlsh.create(path, dim=DIM, family=family, bits=3, tables=2)
    else:
        streamlsh.create(path, dim=DIM, family=family, sample=POOL, cells=6)
    return path


class IndexMachine(RuleBasedStateMachine):
    """Updates, commits, restarts and queries in any order."""

    empty: Path  # an empty index, set by the test

    @initialize()
    def begin(self) -> None:
        self.stack = ExitStack()
        self.folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.path = self.folder / "index"
        shutil.copytree(self.empty, self.path)
        self.model = Model()
        self.staged: list[list[Upsert | Delete]] = []  # call by call
        self.epoch = 0
        self.rebuilt = 0
        self.pinned: tuple[Any, streamlsh.Snapshot, Model] | None = None
        self.open()

    def open(self) -> None:
        self.writer = streamlsh.writer(self.path)
        self.reader = streamlsh.open(self.path)
        self.epoch += 1
        assert self.writer.epoch == self.epoch
        assert dict(self.writer.positions) == self.model.positions
        self.staged = []

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            self.unpin()
            self.reader.close()
            self.writer.close()
            self.stack.close()

    @rule(rows=st.lists(upserts, max_size=14))
    def upsert(self, rows: list[Upsert]) -> None:
        self.writer.upsert(
            [row.id for row in rows],
            np.stack([row.vector for row in rows]) if rows else np.zeros((0, DIM)),
            versions=[row.version for row in rows],
            tags=[row.tags for row in rows],
            attributes=[row.attributes for row in rows],
        )
        self.keep(rows)

    @rule(rows=st.lists(st.tuples(ids, vectors), min_size=1, max_size=14))
    def upsert_plainly(self, rows: list[tuple[str, int]]) -> None:
        self.writer.upsert([name for name, _ in rows], POOL[[row for _, row in rows]])
        self.keep([Upsert(name, POOL[row]) for name, row in rows])

    @rule(rows=st.lists(deletes, max_size=8))
    def delete(self, rows: list[Delete]) -> None:
        self.writer.delete([row.id for row in rows], versions=[row.version for row in rows])
        self.keep(rows)

    @rule(rows=st.lists(upserts | deletes, max_size=14))
    def stage(self, rows: list[Upsert | Delete]) -> None:
        self.writer.stage(rows)
        self.keep(rows)

    @rule(seed=st.integers(0, 999), commits=st.integers(1, 6))
    def churn(self, seed: int, commits: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(commits):
            names = [IDS[place] for place in rng.integers(len(IDS), size=rng.integers(1, 20))]
            rows = POOL[rng.integers(len(POOL), size=len(names))]
            if rng.random() < 0.2:
                deletes = [Delete(name) for name in names]
                self.stage([*deletes])
            else:
                sets = [TAGS[: rng.integers(4)] for _ in names]
                self.stage([Upsert(*item) for item in zip(names, rows, repeat(None), sets)])
            self.commit([])

    @rule(
        moves=st.lists(
            st.builds(
                Position, st.sampled_from("tu"), st.integers(0, 1), st.integers(0, 9),
                st.sampled_from(["", "uuid"]),
            ),
            max_size=3,
        )
    )  # fmt: skip
    def commit(self, moves: list[Position]) -> None:
        assert self.writer.staged == sum(map(len, self.staged))
        expected = self.model.apply(chain.from_iterable(self.staged), moves)
        assert self.writer.commit(moves) == expected
        self.staged = []
        self.check_commit()

    @rule(later=st.lists(upserts | deletes, max_size=14))
    def commit_while_the_next_is_prepared(self, later: list[Upsert | Delete]) -> None:
        """What was prepared counts once it is staged."""
        prepared = self.writer.prepare(later)
        self.commit([])
        self.writer.stage(prepared)
        self.keep(later)

    def keep(self, updates: Sequence[Upsert | Delete]) -> None:
        if updates:
            self.staged.append(list(updates))

    def check_commit(self) -> None:
        assert self.writer.staged == sum(map(len, self.staged))
        assert dict(self.writer.positions) == self.model.positions
        assert self.writer.commit_number == self.model.commit
        report = self.reader.verify()
        assert report.items == len(self.model.items)
        assert report.markers == len(self.model.markers)
        self.check_content(self.reader, self.model)

    @rule()
    def discard(self) -> None:
        self.writer.discard()
        self.staged = []

    @rule()
    def restart(self) -> None:
        self.unpin()
        self.reader.close()
        self.writer.close()
        self.open()
        self.check_content(self.reader, self.model)

    @rule()
    def pin(self) -> None:
        self.unpin()
        context = self.reader.snapshot()
        self.pinned = context, context.__enter__(), self.model.copy()

    @precondition(lambda self: self.pinned is not None)
    @rule(query=queries, tags=filters)
    def look_at_the_pinned_snapshot(
        self, query: NDArray[np.float32], tags: list[str | list[str]]
    ) -> None:
        assert self.pinned is not None
        _, snapshot, model = self.pinned
        self.check_content(snapshot, model)
        model.check_exact(snapshot.exact(query, 5), query, 5)
        model.check_hits(snapshot.search(query, 5), query, 5)
        model.check_hits(snapshot.search(query, 5, probes=2), query, 5)
        assert passing(snapshot, tags) == carriers(model.items.values(), tags)
        snapshot.verify()

    def unpin(self) -> None:
        if self.pinned is not None:
            self.pinned[0].__exit__(None, None, None)
            self.pinned = None

    @rule(tags=filters)
    def filter_by_tags(self, tags: list[str | list[str]]) -> None:
        assert passing(self.reader, tags) == carriers(self.model.items.values(), tags)

    @rule(query=queries, k=counts, exclude=excluded)
    def exact(self, query: NDArray[np.float32], k: int, exclude: list[str]) -> None:
        hits = self.reader.exact(query, k, exclude=exclude)
        self.model.check_exact(hits, query, k, exclude)
        assert hits.plan.route == "exact"

    @rule(
        query=queries,
        k=counts,
        exclude=excluded,
        probes=st.none() | st.integers(1, 6),
        rerank=st.none() | st.sampled_from([1, 7, 500]),
    )
    def search(
        self,
        query: NDArray[np.float32],
        k: int,
        exclude: list[str],
        probes: int | None,
        rerank: int | None,
    ) -> None:
        hits = self.reader.search(query, k, exclude=exclude, probes=probes, rerank=rerank)
        self.model.check_hits(hits, query, k, exclude)
        live = len(self.model.items)
        wanted = min(k, live - len(set(exclude) & set(self.model.items)))
        assert len(hits.ids) == wanted, "fewer than k although there are more"
        assert hits.plan.route == ("tables" if probes or live > 12 else "scan")
        everything = hits.plan.route == "scan" and live <= k + 6 and rerank != 1
        if everything and (rerank or 120) >= live:
            self.model.check_exact(hits, query, k, exclude)

    @rule(query=queries, k=counts, probes=st.integers(1, 6), match=st.sampled_from(["all", 1, 2]))
    def search_for_matches_in_several_tables(
        self, query: NDArray[np.float32], k: int, probes: int, match: int | str
    ) -> None:
        if match == 2 and self.reader.info()["family"]["tables"] == 1:
            match = "all"
        hits = self.reader.search(query, k, probes=probes, match=match)
        self.model.check_hits(hits, query, k)

    @rule(rows=st.integers(0, 4), k=counts, seed=st.integers(0, 99))
    def search_a_batch(self, rows: int, k: int, seed: int) -> None:
        batch = np.random.default_rng(seed).standard_normal((rows, DIM)).astype(np.float32)
        together = self.reader.search(batch, k)
        assert len(together.ids) == len(together.scores) == rows
        for vector, names, scores in zip(batch, together.ids, together.scores, strict=True):
            alone = self.reader.search(vector, k)
            assert alone.ids == names
            assert alone.scores.tobytes() == scores.tobytes()

    @rule(names=st.lists(ids, max_size=3), k=counts, exclude=excluded)
    def search_ids(self, names: list[str], k: int, exclude: list[str]) -> None:
        one_or_many: str | list[str] = names[0] if len(names) == 1 else names
        hits = self.reader.search_ids(one_or_many, k, exclude=exclude)
        known = [self.model.items[name].vector for name in names if name in self.model.items]
        if not known:
            assert hits.ids == []
            assert hits.scores.shape == (0,)
            assert hits.commit == self.model.commit
            return
        rows = np.stack(known).astype(np.float64)
        mean = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).mean(axis=0)
        if np.linalg.norm(mean) > 0.05:
            self.model.check_hits(hits, mean, k, [*exclude, *names])

    @precondition(lambda self: self.rebuilt < 2)
    @rule()
    def equal_a_fresh_build(self) -> None:
        self.rebuilt += 1
        path = self.folder / f"fresh-{self.rebuilt}"
        shutil.copytree(self.empty, path)
        items = by_utf8(self.model.items)
        with streamlsh.writer(path) as writer:
            writer.stage(
                Upsert(item.id, item.vector, item.version, item.tags, item.attributes)
                for item in items
            )
        with streamlsh.open(path) as fresh:
            assert fresh.digest() == self.reader.digest()
            for probes in (None, 1, 3):
                one = self.reader.search(POOL[5:9], 4, probes=probes)
                two = fresh.search(POOL[5:9], 4, probes=probes)
                for ours, theirs in zip(one.scores, two.scores, strict=True):
                    assert ours.tobytes() == theirs.tobytes()

    def check_content(self, source: streamlsh.Reader | streamlsh.Snapshot, model: Model) -> None:
        assert source.commit == model.commit
        assert dict(source.positions) == model.positions
        assert len(source) == len(model.items)
        listed = list(source.items())
        assert [item.id for item in listed] == [item.id for item in by_utf8(model.items)]
        assert all(same_item(item, model.items[item.id]) for item in listed)
        for name in IDS[::5]:
            item = source.get(name)
            assert (item is not None) == (name in source) == (name in model.items)
            assert item is None or same_item(item, model.items[name])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.usefixtures("small_parts")
def test_any_history_of_updates_and_restarts_answers_like_a_dictionary(
    family: str, tmp_path: Path
) -> None:
    machine = type(family, (IndexMachine,), {"empty": new_index(tmp_path, family)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=40,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
