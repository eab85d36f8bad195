"""Calibration: the recall that is asked for is the recall that comes back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import streamlsh
from streamlsh.calibration import Calibration
from streamlsh.datasets import glosses
from streamlsh.errors import InvalidInputError, SampleError
from tests.conftest import spread_rows

ITEMS = 20_000
DIM = 48
ROWS = spread_rows(ITEMS + 3_000, DIM)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20,000 items that are probed by tables, calibrated on 1,500 queries."""
    path = tmp_path_factory.mktemp("calibrated") / "index"
    streamlsh.create(path, dim=DIM, sample=ROWS[:ITEMS], cells=512)
    with streamlsh.writer(path) as writer:
        tags = [("tenth",) if row % 10 == 0 else () for row in range(ITEMS)]
        writer.upsert([str(row) for row in range(ITEMS)], ROWS[:ITEMS], tags=tags)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("streamlsh.calibrating.QUERIES", 1_500)
        streamlsh.calibrate(path, queries=ROWS[ITEMS : ITEMS + 1_500])
    return path


@pytest.fixture
def reader(index: Path, monkeypatch: pytest.MonkeyPatch) -> streamlsh.Reader:
    """Of that index, small as it is not scanned."""
    monkeypatch.setattr("streamlsh.families.voronoi.SCAN_BELOW", 0)
    return streamlsh.open(index)


def mean_recall(found: list[list[str]], expected: list[list[str]]) -> float:
    shares = [len(set(a) & set(b)) / len(b) for a, b in zip(found, expected, strict=True)]
    return float(np.mean(shares))


@pytest.mark.parametrize("recall", [0.9, 0.95, 0.98])
@pytest.mark.parametrize("k", [10, 40])
def test_a_recall_is_kept_on_queries_that_calibration_never_saw(
    reader: streamlsh.Reader, recall: float, k: int
) -> None:
    unseen = ROWS[ITEMS + 1_500 :]
    hits = reader.search(unseen, k, recall=recall)
    assert hits.plan.route == "tables" or k == 40, "with so few items 40 are found by a scan"
    assert hits.plan.recall is not None
    assert hits.plan.recall >= recall
    assert mean_recall(hits.ids, reader.exact(unseen, k).ids) >= recall - 0.005


def test_more_recall_takes_more_work(reader: streamlsh.Reader) -> None:
    candidates = [
        reader.search(ROWS[ITEMS:], recall=recall).plan.candidates for recall in (0.8, 0.95, 0.99)
    ]
    assert candidates == sorted(candidates)
    assert candidates[0] < candidates[-1]


def test_a_filter_that_passes_a_tenth_keeps_the_recall(reader: streamlsh.Reader) -> None:
    unseen = ROWS[ITEMS + 1_500 : ITEMS + 2_500]
    free = mean_recall(reader.search(unseen).ids, reader.exact(unseen).ids)
    hits = reader.search(unseen, tags=["tenth"])
    expected = reader.exact(unseen, tags=["tenth"]).ids
    assert all(int(name) % 10 == 0 for names in hits.ids for name in names)
    assert all(len(names) == 10 for names in hits.ids)
    assert mean_recall(hits.ids, expected) >= free - 0.01


def test_a_filter_that_passes_next_to_nothing_finds_all_of_it(index: Path) -> None:
    with streamlsh.open(index) as reader:
        assert reader.search(ROWS[0], tags=["unknown"]).ids == []
        assert reader.search(ROWS[0], tags=["tenth", "unknown"]).ids == []
        everything = reader.search(ROWS[0], 10_000, tags=[("unknown", "tenth")]).ids
        assert sorted(map(int, everything)) == list(range(0, ITEMS, 10))


def test_threads_and_batches_change_no_answer(reader: streamlsh.Reader) -> None:
    queries = ROWS[ITEMS : ITEMS + 400]
    one = reader.search(queries)
    two = reader.search(queries, threads=2)
    assert one.ids == two.ids
    for a, b in zip(one.scores, two.scores, strict=True):
        np.testing.assert_array_equal(a, b)
    assert [reader.search(query).ids for query in queries[:50]] == one.ids[:50]
    for threads in (0, -1, 1.5, 10_000):
        with pytest.raises(InvalidInputError, match="threads"):
            reader.search(queries, threads=threads)  # type: ignore[arg-type]


def test_full_recall_is_an_exact_scan(reader: streamlsh.Reader) -> None:
    hits = reader.search(ROWS[ITEMS], recall=1.0)
    assert hits.plan.route == "exact"
    assert hits.ids == reader.exact(ROWS[ITEMS]).ids


@pytest.mark.parametrize("recall", [0, -0.5, 1.01, "0.9", True, float("nan")])
def test_what_is_no_share_is_no_recall(reader: streamlsh.Reader, recall: object) -> None:
    with pytest.raises(InvalidInputError, match="recall"):
        reader.search(ROWS[0], recall=recall)  # type: ignore[arg-type]


def test_recall_and_probes_exclude_each_other(reader: streamlsh.Reader) -> None:
    with pytest.raises(InvalidInputError, match="exclude each other"):
        reader.search(ROWS[0], recall=0.9, probes=3)


def test_calibration_only_adds_its_result(tmp_path: Path) -> None:
    sample = glosses()
    path = tmp_path / "index"
    streamlsh.create(path, dim=384, family="hyperplane")
    with streamlsh.writer(path) as writer:
        writer.upsert(sample.ids[:2_000], sample.vectors[:2_000])
        writer.commit()
        with streamlsh.open(path) as reader:
            digest, commit = reader.digest(), reader.commit
            assert isinstance(streamlsh.calibrate(path), Calibration)  # beside a writer
            assert (reader.digest(), reader.commit) == (digest, commit)
            reader.verify()
        writer.upsert(["more"], sample.vectors[2_000:2_001])
        assert writer.commit().inserted == 1


def test_too_little_to_calibrate_on_is_said(tmp_path: Path) -> None:
    path = tmp_path / "index"
    streamlsh.create(path, dim=8)
    with pytest.raises(SampleError, match="too few items"):
        streamlsh.calibrate(path)
    with streamlsh.writer(path) as writer:
        writer.upsert([str(row) for row in range(1_200)], ROWS[:1_200, :8])
    with pytest.raises(SampleError, match="too few queries"):
        streamlsh.calibrate(path, queries=ROWS[:3, :8])
    with pytest.raises(InvalidInputError):
        streamlsh.calibrate(path, queries=ROWS[:100])
