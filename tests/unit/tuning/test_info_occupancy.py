"""``info`` counts every entry of every bucket, wherever it lies."""

from pathlib import Path

import numpy as np
import pytest

import streamlsh
from streamlsh.families.base import Family
from streamlsh.storage.opening import open_index
from tests.unit.tuning.data import DIM, clustered


def _family(path: Path) -> Family:
    index = open_index(path)
    index.environment.close()
    return index.family


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("family", ["crosspolytope", "hyperplane", "voronoi"])
def test_occupancy_is_that_of_the_codes_in_segments_and_tail(tmp_path: Path, family: str) -> None:
    rows = clustered(100)
    path = tmp_path / "index"
    streamlsh.create(path, dim=DIM, family=family, sample=rows)
    with streamlsh.writer(path) as writer:
        for start in range(0, 100, 7):
            writer.upsert(
                [str(i) for i in range(start, min(start + 7, 100))], rows[start : start + 7]
            )
            writer.commit()
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    hashed = _family(path).encode(unit.astype(np.float32)).buckets
    with streamlsh.open(path) as reader:
        info = reader.info()
    tables = info["occupancy"]["tables"]
    assert info["segments"]
    assert len(tables) == info["family"]["tables"]
    each = info["family"]["buckets"] // len(tables)
    for table in tables:
        mine = hashed[(hashed // each) == table["table"]]
        codes, sizes = np.unique(mine, return_counts=True)
        assert (table["entries"], table["occupied"]) == (len(mine), len(codes))
        assert table["mean"] == pytest.approx(sizes.mean())
        assert table["largest"] == sizes.max()
        assert table["largest_share"] == pytest.approx(sizes.max() / len(mine))
        order = np.lexsort((codes, -sizes))[:3]
        assert table["fullest"] == [
            {"bucket": int(codes[i]), "entries": int(sizes[i])} for i in order
        ]


def test_items_outside_the_familys_range_are_counted_apart(tmp_path: Path) -> None:
    path = tmp_path / "index"
    streamlsh.create(path, dim=DIM, metric="euclidean", sample=clustered(200), cells=4)
    with streamlsh.writer(path) as writer:
        writer.upsert(["near", "far"], np.stack([clustered(1)[0], np.full(DIM, 1e6)]))
    with streamlsh.open(path) as reader:
        held = reader.info()["occupancy"]
    assert held["overflow_entries"] == 2  # two assignments
    assert [table["entries"] for table in held["tables"]] == [2]
    assert held["tables"][0]["buckets"] == 4


def test_an_empty_index_has_tables_without_entries(tmp_path: Path) -> None:
    path = tmp_path / "index"
    streamlsh.create(path, dim=DIM, family="hyperplane", tables=2, bits=5)
    with streamlsh.open(path) as reader:
        info = reader.info()
    assert [table["occupied"] for table in info["occupancy"]["tables"]] == [0, 0]
    assert info["occupancy"]["overflow_entries"] is None
    assert info["calibration"] is None


def test_a_plan_is_told_for_every_recall(tmp_path: Path) -> None:
    path = tmp_path / "index"
    streamlsh.create(path, dim=DIM)
    with streamlsh.open(path) as reader:
        plans = reader.info()["plans"]
    assert [plan["recall"] for plan in plans] == [0.9, 0.95, 0.98, 0.99]
    assert {plan["route"] for plan in plans} == {"scan"}
    assert all(plan["reason"] for plan in plans)
