"""Every family under each of its metrics: answers against brute force."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import streamlsh
from streamlsh.families.registry import FAMILIES

F32 = NDArray[np.float32]
PAIRS = [(name, metric) for name in FAMILIES for metric in FAMILIES[name].metrics]
pairs = pytest.mark.parametrize(("name", "metric"), PAIRS)
DIM = 24
SENSIBLE = {"crosspolytope": 0.8, "hyperplane": 0.8, "pstable": 0.6, "voronoi": 0.9}
"""Recall on these vectors with default probes; the weaker a family, the sooner a scan is better."""


def rows_of(count: int, seed: int = 1) -> F32:
    """Clusters, away from the origin, of lengths that differ."""
    rng = np.random.default_rng(seed)
    middles = rng.standard_normal((20, DIM)) * 3 + 1
    rows = middles[rng.integers(20, size=count)] + rng.standard_normal((count, DIM))
    return (rows * np.exp(0.3 * rng.standard_normal((count, 1)))).astype(np.float32)


def brute_force(metric: str, rows: F32, query: F32) -> NDArray[np.float64]:
    """Scores in the metric's natural form."""
    x, q = rows.astype(np.float64), query.astype(np.float64)
    if metric == "euclidean":
        return np.asarray(np.linalg.norm(x - q, axis=1))
    products = x @ q
    if metric == "cosine":
        products /= np.linalg.norm(x, axis=1) * np.linalg.norm(q)
    return np.asarray(products)


def best(metric: str, scores: NDArray[np.float64], k: int) -> list[int]:
    order = np.argsort(scores if metric == "euclidean" else -scores, kind="stable")
    return [int(i) for i in order[:k]]


def build(path: Path, name: str, metric: str, rows: F32, sample: F32, **more: Any) -> Path:
    streamlsh.create(path, dim=DIM, metric=metric, family=name, sample=sample, seed=3, **more)
    with streamlsh.writer(path) as writer:
        writer.upsert([str(i) for i in range(len(rows))], rows)
    return path


@pairs
def test_answers_are_exact_when_everything_is_looked_into(
    name: str, metric: str, tmp_path: Path
) -> None:
    rows, queries = rows_of(600), rows_of(20, 2)
    with streamlsh.open(build(tmp_path / "x", name, metric, rows, rows[:300])) as reader:
        for query in queries:
            scores = brute_force(metric, rows, query)
            wanted = best(metric, scores, 10)
            answers = [reader.search(query, 100, rerank=600), reader.exact(query, 10)]
            if name != "pstable":  # whose buckets are too many to list
                most = reader._index.family.most_probes
                answers.append(reader.search(query, 100, probes=most, rerank=600))
            for hits in answers:  # of 100 wanted so many are scored exactly
                assert [int(i) for i in hits.ids[:10]] == wanted
                np.testing.assert_allclose(hits.scores[:10], scores[wanted], rtol=2e-5, atol=2e-5)


@pairs
def test_recall_with_default_probes_is_sensible(name: str, metric: str, tmp_path: Path) -> None:
    rows, queries = rows_of(4000), rows_of(50, 2)
    path = build(tmp_path / "x", name, metric, rows, rows[:2000])
    with streamlsh.open(path) as reader:
        probes = reader._index.family.default_probes
        found = 0
        for query in queries:
            hits = reader.search(query, 10, probes=probes)
            wanted = {str(i) for i in best(metric, brute_force(metric, rows, query), 10)}
            found += len(wanted & set(hits.ids))
    assert found / (10 * len(queries)) >= SENSIBLE[name]


@pytest.mark.parametrize("metric", ["euclidean", "inner_product"])
def test_items_far_outside_the_sample_are_found_as_the_others(metric: str, tmp_path: Path) -> None:
    rows = rows_of(3000)
    far = rows_of(40, 9) * np.repeat([20, 300, 1e5, 1e12], 10)[:, None].astype(np.float32)
    every = np.concatenate([rows, far])
    path = build(tmp_path / "x", "voronoi", metric, every, rows[:1000])
    with streamlsh.open(path) as reader:
        reader.verify()
        family = reader._index.family
        assert family.overflow is not None
        outside = family.encode(every).buckets == family.overflow
        assert outside[3000:].any()
        assert not outside[:3000].mean() > 0.01
        for row in range(3000, 3040):
            query = every[row]
            wanted = best(metric, brute_force(metric, every, query), 1)
            for hits in (reader.search(query, 10), reader.search(query, 10, probes=1)):
                assert [int(i) for i in hits.ids[:1]] == wanted
                assert len(hits.ids) == 10
                assert np.isfinite(hits.scores).all()


@pytest.mark.parametrize("metric", ["euclidean", "inner_product"])
@pytest.mark.parametrize("name", ["voronoi", "pstable"])
def test_zero_vectors_are_items_and_queries_like_any_other(
    name: str, metric: str, tmp_path: Path
) -> None:
    if metric not in FAMILIES[name].metrics:
        return
    rows = rows_of(300)
    rows[7] = 0
    with streamlsh.open(build(tmp_path / "x", name, metric, rows, rows)) as reader:
        reader.verify()
        hits = reader.search(np.zeros(DIM), 5)
        assert len(hits.ids) == 5
        if metric == "euclidean":
            assert (hits.ids[0], hits.scores[0]) == ("7", 0)
        else:
            assert (hits.scores == 0).all(), "every product with a zero query is zero"


@pytest.mark.parametrize("metric", ["cosine", "euclidean", "inner_product"])
@pytest.mark.parametrize("kind", ["one", "few", "copies", "flat", "constant", "one far away"])
def test_voronoi_takes_any_sample(metric: str, kind: str, tmp_path: Path) -> None:
    rows = rows_of(500)
    sample = {
        "one": rows[:1],
        "few": rows[:5],
        "copies": np.repeat(rows[:3], 50, axis=0),
        "flat": rows * (np.arange(DIM) < 4),
        "constant": np.where(np.arange(DIM) % 3 == 0, np.float32(0.5), rows),
        "one far away": np.concatenate([rows[:99], rows[:1] * np.float32(1e15)]),
    }[kind].astype(np.float32)
    with streamlsh.open(build(tmp_path / "x", "voronoi", metric, rows, sample)) as reader:
        reader.verify()
        for query in rows[::50]:
            scores = brute_force(metric, rows, query)
            hits = reader.search(query, 100, rerank=500)
            assert [int(i) for i in hits.ids[:5]] == best(metric, scores, 5)
            assert len(reader.search(query, 5, probes=1).ids) == 5


def test_norms_that_differ_get_bands_with_cells_of_their_own() -> None:
    rng = np.random.default_rng(0)
    kind = FAMILIES["voronoi"]
    rows = rows_of(2000)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    alike = kind.fit(DIM, "inner_product", 0, rows, {})
    assert len(alike.arrays()["bounds"]) == 1
    spread = rows * np.exp(rng.standard_normal((2000, 1))).astype(np.float32)
    apart = kind.fit(DIM, "inner_product", 0, spread, {})
    bounds, first = apart.arrays()["bounds"], apart.arrays()["first_cells"]
    assert len(bounds) == 4
    assert (np.diff(bounds) > 0).all()
    assert (np.diff(first) > 0).all()
    norms = np.linalg.norm(spread, axis=1)
    buckets = apart.encode(spread).buckets
    for band in range(4):
        low = bounds[band - 1] if band else 0
        within = (norms > low * 1.0001) & (norms < bounds[band] * 0.9999)
        assert (buckets[within] >= first[band]).all()
        assert (buckets[within] < first[band + 1]).all()


@pytest.mark.parametrize("metric", ["euclidean", "inner_product"])
def test_vectors_too_long_for_finite_sums_are_refused(metric: str, tmp_path: Path) -> None:
    rows = rows_of(50)
    path = build(tmp_path / "x", "voronoi", metric, rows, rows)
    with streamlsh.writer(path) as writer:
        with pytest.raises(streamlsh.errors.NonFiniteVectorError, match="so long"):
            writer.upsert(["a"], rows[:1] * np.float32(1e25))
        writer.upsert(["b"], rows[:1] / np.linalg.norm(rows[0]) * np.float32(9.9e17))
        writer.upsert(["c"], rows[:1] * np.float32(1e-40))
    with streamlsh.open(path) as reader:
        reader.verify()
        for query in (reader.get("b"), reader.get("c")):
            assert query is not None
            hits = reader.search(query.vector, 5)
            assert len(hits.ids) == 5
            assert np.isfinite(hits.scores).all()
