"""What a query means: tables, matches, exclusions, histories, ties and the plan."""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import streamlsh
from streamlsh import Upsert
from streamlsh.families.base import Family
from streamlsh.kernels.encode import normalize_rows
from streamlsh.planning import NAME_BYTES
from streamlsh.search import TOGETHER
from tests.conftest import FAMILIES

DIM = 16
ITEMS = 400
RNG = np.random.default_rng(0)
ROWS = RNG.standard_normal((ITEMS, DIM)).astype(np.float32)
IDS = [f"item-{row:03}" for row in range(ITEMS)]
QUERY = RNG.standard_normal(DIM).astype(np.float32)


def filled(path: Path, family: str = "hyperplane") -> streamlsh.Reader:
    if family == "hyperplane":
        streamlsh.create(path, dim=DIM, family="hyperplane", bits=5, tables=4)
    else:
        streamlsh.create(path, dim=DIM, sample=ROWS, cells=32)
    with streamlsh.writer(path) as writer:
        writer.upsert(IDS[:250], ROWS[:250])
        writer.commit()
        writer.upsert(IDS[250:], ROWS[250:])
    return streamlsh.open(path)


def probed_buckets(family: Family, query: np.ndarray, count: int) -> np.ndarray:
    probed = family.probe(query[None], count, math.inf)
    return probed.buckets[0, : int(probed.counts[0])]


def cosines(query: np.ndarray = QUERY) -> dict[str, float]:
    values = ROWS @ query / np.linalg.norm(ROWS, axis=1) / np.linalg.norm(query)
    return dict(zip(IDS, values.tolist(), strict=True))


@pytest.mark.parametrize("match", [1, 2, 3, 4])
def test_a_match_is_an_item_that_shares_probed_buckets_in_so_many_tables(
    tmp_path: Path, match: int
) -> None:
    with filled(tmp_path / "index") as reader:
        family = reader._index.family
        unit = np.empty_like(ROWS)
        normalize_rows(ROWS, unit, np.empty(ITEMS, np.float32))
        buckets = family.encode(unit).buckets
        wanted = (QUERY / np.linalg.norm(QUERY)).astype(np.float32)
        for probes in (4, 20, 60, family.buckets):
            probed = probed_buckets(family, wanted, probes)
            shared = np.isin(buckets, probed).sum(axis=1)
            matches = {name for name, count in zip(IDS, shared, strict=True) if count >= match}
            hits = reader.search(QUERY, ITEMS, probes=probes, match=match, rerank=ITEMS)
            if match > 1:
                assert set(hits.ids) == matches
                assert hits.plan.probes == probes
            else:  # any match: the search goes on until it has k
                assert set(hits.ids) == set(IDS)
            assert hits.plan.route == "tables"
            if match == 4:
                every = reader.search(QUERY, ITEMS, probes=probes, match="all", rerank=ITEMS)
                assert every.ids == hits.ids
        few = reader.search(QUERY, 3, probes=20, match=2, rerank=ITEMS)
        shared = np.isin(buckets, probed_buckets(family, wanted, 20)).sum(axis=1)
        best = sorted(
            (name for name, count in zip(IDS, shared, strict=True) if count >= 2),
            key=lambda name: -cosines()[name],
        )
        assert match == 1 or few.ids == best[:3]


def test_a_search_in_tables_goes_on_until_it_has_k(tmp_path: Path) -> None:
    for family in FAMILIES:
        with filled(tmp_path / family, family) as reader:
            for k in (1, 50, ITEMS, 1_000):
                hits = reader.search(QUERY, k, probes=1)
                assert len(hits.ids) == min(k, ITEMS)
            most = IDS[: ITEMS - 3]
            hits = reader.search(QUERY, 10, probes=1, exclude=most)
            assert sorted(hits.ids) == IDS[ITEMS - 3 :]
            assert reader.search(QUERY, 10, probes=1, exclude=IDS).ids == []
            assert reader.exact(QUERY, 10, exclude=IDS).ids == []
            assert reader.search(QUERY, 10, exclude=IDS).ids == []


def test_excluding_items_that_a_filter_refuses_anyway_costs_no_hit(tmp_path: Path) -> None:
    for family in FAMILIES:
        with filled(tmp_path / family, family) as reader:
            with streamlsh.writer(tmp_path / family) as writer:
                writer.upsert(IDS[:200], ROWS[:200], tags=[("half",)] * 200)
            hits = reader.search(QUERY, 200, probes=1, tags=["half"], exclude=IDS[200:])
            assert sorted(hits.ids) == IDS[:200]


def test_unknown_ids_may_be_excluded_and_the_same_one_twice(tmp_path: Path) -> None:
    with filled(tmp_path / "index") as reader:
        best = reader.exact(QUERY, 3).ids
        hits = reader.exact(QUERY, 2, exclude=iter(["unknown", best[0], best[0]]))
        assert hits.ids == best[1:]


@pytest.mark.parametrize("family", FAMILIES)
def test_an_item_is_searched_for_without_itself(tmp_path: Path, family: str) -> None:
    with filled(tmp_path / "index", family) as reader:
        hits = reader.search_ids("item-007", 5)
        expected = reader.exact(ROWS[7], 6)
        assert expected.ids[0] == "item-007"
        assert hits.ids == expected.ids[1:]
        assert reader.search_ids(["item-007"], 5).ids == hits.ids


def test_a_history_is_searched_for_by_its_mean_direction(tmp_path: Path) -> None:
    with filled(tmp_path / "index") as reader, streamlsh.writer(tmp_path / "index") as writer:
        writer.upsert(["item-001"], ROWS[1:2] * 1_000)  # its length must not count
        writer.commit()
        history = ["item-000", "item-001", "unknown", "item-002"]
        unit = ROWS[:3] / np.linalg.norm(ROWS[:3], axis=1, keepdims=True)
        expected = reader.exact(unit.mean(axis=0), 9, exclude=history)
        hits = reader.search_ids(history, 9)
        assert hits.ids == expected.ids
        assert reader.search_ids(history, 8, exclude=[hits.ids[0]]).ids == hits.ids[1:]


def test_histories_without_a_known_id_or_a_direction_have_no_neighbours(tmp_path: Path) -> None:
    path = tmp_path / "index"
    with filled(path) as reader:
        for ids in ("unknown", ["unknown"], []):
            hits = reader.search_ids(ids)
            assert (hits.ids, len(hits.scores), hits.commit) == ([], 0, 2)
        with streamlsh.writer(path) as writer:
            writer.upsert(["east", "west"], [[1.0] + [0.0] * 15, [-1.0] + [0.0] * 15])
        assert reader.search_ids(["east", "west"]).ids == []


def test_an_empty_index_answers_with_nothing(tmp_path: Path) -> None:
    for family in FAMILIES:
        path = tmp_path / family
        streamlsh.create(path, dim=DIM, family=family, sample=ROWS)
        with streamlsh.open(path) as reader:
            for hits in (
                reader.search(QUERY),
                reader.search(QUERY, probes=1),
                reader.search(QUERY, match="all"),
                reader.exact(QUERY),
                reader.search_ids("a"),
            ):
                assert (hits.ids, hits.scores.shape, hits.commit) == ([], (0,), 0)
                assert hits.plan.share == 0
            assert reader.search(np.ones((2, DIM))).ids == [[], []]
            assert reader.get("a") is None
            assert list(reader.items()) == []
            assert reader.verify().items == len(reader) == 0


@pytest.mark.parametrize("ties", [2, 9, 40, 300])
def test_of_equal_scores_an_exact_scan_gives_the_lowest_ids(tmp_path: Path, ties: int) -> None:
    path = tmp_path / "index"
    streamlsh.create(path, dim=DIM)
    names = [f"tie-{row:03}" for row in range(ties)]
    order = np.random.default_rng(1).permutation(ties)
    with streamlsh.writer(path) as writer:
        writer.upsert([names[row] for row in order], np.repeat(ROWS[:1], ties, axis=0))
        writer.upsert(["better", "worse"], [QUERY, -QUERY])
    with streamlsh.open(path) as reader:
        for k in (1, 2, 5, ties + 1, ties + 2):
            assert reader.exact(QUERY, k).ids == ["better", *names, "worse"][:k]


def test_equal_scores_of_a_search_come_in_order_of_their_ids(tmp_path: Path) -> None:
    path = tmp_path / "index"
    streamlsh.create(path, dim=DIM)
    with streamlsh.writer(path) as writer:
        writer.upsert(["c", "a", "b"], np.repeat(ROWS[:1], 3, axis=0))
    with streamlsh.open(path) as reader:
        assert reader.search(QUERY, 3).ids == list("abc")
        assert reader.search(QUERY, 2).ids == list("ab")


def test_one_vector_or_many_give_the_same_answers(tmp_path: Path) -> None:
    with filled(tmp_path / "index") as reader:
        for ask in (reader.search, reader.exact):
            one = ask(ROWS[3], 4)
            assert isinstance(one.ids[0], str)
            assert one.scores.dtype == np.float32
            many = ask(ROWS[3:5].tolist(), 4)
            assert many.ids[0] == one.ids
            assert many.scores[0].tobytes() == one.scores.tobytes()
            assert len(many.ids) == 2
            assert ask(ROWS[:0], 4).ids == []


ODD_IDS = [
    "a\0b", "\0", "\0\0", "a", "a\0", "\0a", "naïve", "漢字\0漢字", "🦊", "x" * 500,
    "é" * (NAME_BYTES // 2), "y" * NAME_BYTES, "z" * (NAME_BYTES - 1), "\n", " ", "🦊" * 120,
]  # fmt: skip
"""Ids with zeros, of more bytes than letters, and longer than they are expected to be."""


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "ids",
    [
        ODD_IDS,
        [name for name in ODD_IDS if "\0" not in name],
        [name * 40 for name in "abcdefgh"],
        [f"{name}\0" for name in "abcdefgh"],
    ],
    ids=["all", "without zeros", "short by bytes", "zeros at the end"],
)
def test_ids_come_back_as_they_were_given(tmp_path: Path, family: str, ids: list[str]) -> None:
    path, rows = tmp_path / "index", ROWS[: len(ids)]
    with filled(path, family):
        pass
    with streamlsh.writer(path) as writer:
        writer.delete(IDS)
        writer.upsert(ids, rows)
    with streamlsh.open(path) as reader:
        assert sorted(item.id for item in reader.items()) == sorted(ids)
        every = reader._index.family.most_probes
        for k in (1, 3, len(ids)):
            expected = []
            for row in rows:
                unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
                order = np.argsort(-(unit @ row), kind="stable")[:k]
                expected.append([ids[place] for place in order])
            for ask in (reader.exact, partial(reader.search, probes=every, rerank=ITEMS)):
                assert ask(rows, k).ids == expected
                assert [ask(row, k).ids for row in rows] == expected
                assert ask(np.repeat(rows, 9, axis=0), k).ids[::9] == expected
        for name, row in zip(ids, rows, strict=True):
            assert reader.search_ids(name, len(ids)).ids == [
                other for other in reader.exact(row, len(ids)).ids if other != name
            ]


@pytest.mark.parametrize(
    ("route", "options"),
    [
        ("exact", {}),
        ("scan", {}),
        ("tables", {"probes": 1}),
        ("tables", {"probes": 5}),
        ("tables", {"probes": 3, "match": 1, "rerank": 50}),
    ],
)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_query_of_any_kind_of_array_is_the_same_query(
    tmp_path: Path, family: str, route: str, options: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    if route == "scan":
        monkeypatch.setattr("streamlsh.planning.EXACT_DIM", 0)
    wide = np.repeat(QUERY, 3)
    fixed = QUERY.copy()
    fixed.flags.writeable = False
    unaligned = np.frombuffer(b"." + QUERY.tobytes(), np.uint8)[1:].view(np.float32)
    big_endian = QUERY.astype(">f4")
    with filled(tmp_path / "index", family) as reader:
        plain = reader.search(QUERY, 7, **options)
        assert plain.plan.route == route
        for same in (
            fixed, wide[::3], QUERY[::-1].copy()[::-1], unaligned, big_endian,
            QUERY.tolist(), tuple(QUERY.tolist()), QUERY.astype(np.float64),
            np.asfortranarray(np.stack([QUERY, QUERY]))[0], np.ma.array(QUERY),
        ):  # fmt: skip
            hits = reader.search(same, 7, **options)
            assert hits.ids == plain.ids
            assert hits.scores.tobytes() == plain.scores.tobytes()
            assert hits.plan == plain.plan
        two = np.stack([QUERY, QUERY])
        locked = two.copy()
        locked.flags.writeable = False
        for many in (
            two, locked, np.asfortranarray(two), np.repeat(two, 2, axis=1)[:, ::2],
            two[::-1], two.tolist(), [QUERY, fixed],
        ):  # fmt: skip
            batch = reader.search(many, 7, **options)
            assert batch.ids == [plain.ids] * 2
            for scores in batch.scores:
                assert scores.tobytes() == plain.scores.tobytes()


def test_a_query_is_not_written_to_nor_kept(tmp_path: Path) -> None:
    with filled(tmp_path / "index") as reader:
        query = QUERY.copy()
        first = reader.search(query, 5, probes=5)
        np.testing.assert_array_equal(query, QUERY)
        query[:] = ROWS[3]
        assert reader.search(query, 5, probes=5).ids[0] == IDS[3]
        assert reader.search(QUERY, 5, probes=5).ids == first.ids


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_of_many_queries_has_the_answers_of_one_after_the_other(
    tmp_path: Path, family: str
) -> None:
    queries = np.random.default_rng(5).standard_normal((2 * TOGETHER + 3, DIM), dtype=np.float32)
    with filled(tmp_path / "index", family) as reader:
        for k, probes in ((4, 3), (40, 1)):
            alone = [reader.search(query, k, probes=probes) for query in queries]
            for threads in (1, 3):
                batch = reader.search(queries, k, probes=probes, threads=threads)
                assert batch.ids == [hits.ids for hits in alone]
                for scores, hits in zip(batch.scores, alone, strict=True):
                    assert scores.tobytes() == hits.scores.tobytes()


def test_a_longer_query_is_the_same_query(tmp_path: Path) -> None:
    with filled(tmp_path / "index") as reader:
        one = reader.search(QUERY, 5)
        for factor in (1e-12, 8.0, 1e12):
            other = reader.search(QUERY.astype(np.float64) * factor, 5)
            assert other.ids == one.ids
            np.testing.assert_allclose(other.scores, one.scores, atol=1e-6)


def test_the_plan_says_which_way_was_taken_and_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with filled(tmp_path / "index") as reader:
        few = reader.search(QUERY).plan
        assert few.route == "exact"
        assert "dimensions are too few" in few.reason
    monkeypatch.setattr("streamlsh.planning.EXACT_DIM", 0)
    with streamlsh.open(tmp_path / "index") as reader:
        scan = reader.search(QUERY).plan
        assert (scan.route, scan.candidates, scan.share) == ("scan", ITEMS, 1.0)
        assert f"{ITEMS} items" in scan.reason
        asked = reader.search(QUERY, probes=3).plan
        assert (asked.route, asked.probes, asked.reason) == ("tables", 3, "asked for")
        assert 0 < asked.share < 1
        assert reader.exact(QUERY).plan.route == "exact"
    monkeypatch.setattr("streamlsh.families.hyperplane.SCAN_BELOW", ITEMS - 1)
    monkeypatch.setattr("streamlsh.planning.SCAN_UNCALIBRATED", ITEMS - 1)
    with streamlsh.open(tmp_path / "index") as reader:
        tables = reader.search(QUERY).plan
        assert tables.route == "tables"
        assert "not calibrated" in tables.reason
        asked = reader.search(QUERY, recall=0.9).plan  # nothing is known: better safe than fast
        assert asked.route == "scan"
        assert "streamlsh calibrate" in asked.reason
        assert reader.search(QUERY, recall=1.0).plan.route == "exact"


def test_info_can_be_written_as_json(tmp_path: Path) -> None:
    for family in FAMILIES:
        with filled(tmp_path / family, family) as reader:
            info = json.loads(json.dumps(reader.info()))
            assert (info["items"], info["commit"], info["dim"]) == (ITEMS, 2, DIM)
            assert info["family"]["name"] == family
            assert info["path"] == str(tmp_path / family)


def test_the_digest_is_of_the_content_and_the_family(tmp_path: Path) -> None:
    digests = set()
    one = Upsert("a", ROWS[0], 1, ("x",), {"k": 1})
    variants = [
        one,
        Upsert("b", ROWS[0], 1, ("x",), {"k": 1}),
        Upsert("a", ROWS[1], 1, ("x",), {"k": 1}),
        Upsert("a", ROWS[0], 2, ("x",), {"k": 1}),
        Upsert("a", ROWS[0], None, ("x",), {"k": 1}),
        Upsert("a", ROWS[0], 1, ("y",), {"k": 1}),
        Upsert("a", ROWS[0], 1, ("x",), {"k": 2}),
        Upsert("a", ROWS[0], 1, ("x",), {}),
        Upsert("a", ROWS[0], 1, ("x",), None),
    ]
    for number, update in enumerate(variants):
        path = tmp_path / f"{number}"
        streamlsh.create(path, dim=DIM)
        with streamlsh.writer(path) as writer:
            writer.stage([update])
        with streamlsh.open(path) as reader:
            digests.add(reader.digest())
    streamlsh.create(tmp_path / "seed", dim=DIM, seed=1)
    with streamlsh.writer(tmp_path / "seed") as writer:
        writer.stage([one])
    with streamlsh.open(tmp_path / "seed") as reader:
        digests.add(reader.digest())
    assert len(digests) == len(variants) + 1
